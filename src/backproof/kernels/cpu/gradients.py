"""Cross-entropy of NumPy arrays with its gradient: labels without options at once, everything else by general.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from backproof.arrays import Array
from backproof.kernels.cpu import calls, general, sweeps
from backproof.kernels.cpu.labelled import COUNTED, FACTOR, LOSSES, NO_LABEL, VALUE, WRONG, labelled_rows
from backproof.kernels.cpu.nearest_sum import PARTS
from backproof.kernels.cpu.values import goes_past
from backproof.kernels.rows import panel_width


def cross_entropy(
    z: Array, target: Array, *, scale: Array | None, class_weight: Array | None, ignore_index: int | None, label_smoothing: float,
    z_loss: float, softcap: float | None, temperature: float, loss: Array, grad: Array | None,
) -> None:  # fmt: skip
    """-sum_i t_i log h_i of each row of z (N, C) to `loss` (N,), and scale times its gradient to `grad`, which may be z."""
    if z.dtype == np.float16:
        wide = z.astype(np.float32)
        cross_entropy(
            wide, target, scale=scale, class_weight=class_weight, ignore_index=ignore_index, label_smoothing=label_smoothing,
            z_loss=z_loss, softcap=softcap, temperature=temperature, loss=loss, grad=None if grad is None else wide,
        )  # fmt: skip
        if grad is not None:
            grad[...] = wide
        return
    if loss.shape[0] == 0:
        return
    x = calls.plain(z)
    to = grad if grad is None or grad is z else calls.plain(grad)
    if grad is z:
        to = x
    weights = None if scale is None else scale.astype(np.float64, copy=False)  # one for all rows has a stride of 0, and keeps it
    losses = loss if loss.flags.c_contiguous and loss.flags.aligned else np.empty(loss.shape)
    ignored = NO_LABEL if ignore_index is None else int(ignore_index)
    plain = class_weight is None and not label_smoothing and not z_loss and softcap is None and temperature in (None, 1.0)
    if target.ndim == 1 and plain:
        _labels(x, np.ascontiguousarray(target, dtype=np.int64), weights, ignored, losses, to)
    elif plain:
        _probabilities(x, target, weights, losses, to)
    else:
        general.cross_entropy(
            x, target, weights, class_weight, ignored, label_smoothing, z_loss, softcap, temperature or 1.0, losses, to
        )  # fmt: skip
    if losses is not loss:
        loss[...] = losses
    if to is not None and to is not grad and grad is not None:
        grad[...] = to


def _probabilities(x: Array, target: Array, weights: Array | None, losses: Array, to: Array | None) -> None:
    """Each row whose probability is 1 for one class and 0 for all others as a label, with the bits of one."""
    certain = (np.count_nonzero(target, axis=1) == 1) & (target.max(axis=1) == 1)
    for labelled in (True, False):
        rows = np.flatnonzero(certain == labelled)
        if not len(rows):
            continue
        every = len(rows) == len(x)
        some = slice(None) if every else rows
        z, t, loss = x[some], target[some], losses if every else np.empty(len(rows))
        scale = weights if every or weights is None else weights[rows]
        gradient = to if every or to is None else np.empty_like(z)
        if labelled:
            _labels(z, np.argmax(t, axis=1), scale, NO_LABEL, loss, gradient)
        else:
            general.cross_entropy(z, t, scale, None, NO_LABEL, 0.0, 0.0, None, 1.0, loss, gradient)
        if not every:
            losses[rows] = loss
            if to is not None and gradient is not None:
                to[rows] = gradient


@lru_cache(maxsize=256)
def _swept(item: int, n: int) -> tuple[calls.Sweep, int]:
    """For rows of n numbers of so many bytes: the compiled function, and the doubles of work."""
    dtype = np.dtype(np.float32 if item == 4 else np.float64)
    return calls.sweep(labelled_rows, "i" * 14 + "flbbbw", dtype), sweeps.work_size(n, panel_width(item))


def _labels(x: Array, labels: Array, weights: Array | None, ignored: int, losses: Array, to: Array | None) -> None:
    n, item = x.shape[1], x.itemsize
    sweep, doubles = _swept(item, n)
    source, (xi, xc) = x.ctypes.data, x.strides
    out, oi, oc = (0, 0, 0) if to is None else (to.ctypes.data, *to.strides)
    past = to is not None and source != out and goes_past(item, to.size, n)
    given, filled = labels.ctypes.data, losses.ctypes.data
    weighted, step = (0, 0) if weights is None else (weights.ctypes.data, weights.strides[0] // 8)
    described = source, xi // item, xc // item, out, oi // item, oc // item, given, weighted, step, ignored, filled, n, 0, 0
    sweep.over(len(labels), n, doubles, described, (past, False, False))


@lru_cache(maxsize=256)
def few_labelled(item: int, rows: int, n: int, mean: bool) -> Callable[..., float]:
    """A function of addresses and strides, as `labelled_by_address` has them, that returns the reduced loss of few rows, and puts
    it at an address if that is not 0; WRONG or what is not finite, where that one has to tell more.

    All that calls have in common is done here: where code has left the first cache, a step of Python's costs as much as some
    hundred numbers.
    """
    sweep, doubles = _swept(item, n)
    function, like, behind, size = sweep.function, sweep.like, 8 * doubles, doubles + LOSSES + rows + PARTS
    spare = calls.spare

    def reduced_loss(source: int, xi: int, xc: int, labels: int, ignored: int, out: int, loss: int) -> float:
        try:  # calls.borrowed
            work = spare.pop()
            if work.size < size:
                work = calls.Work(size)
        except IndexError:
            work = calls.Work(size)
        place = work.address
        function(
            like, source, xi, xc, out, n, 1, labels, 0, 0, ignored, 0, n, place + behind, loss, 0, rows, False, mean, True, place
        )  # fmt: skip
        value: float = work.array.item(doubles)
        spare.append(work)
        return value

    return reduced_loss


def labelled_by_address(
    item: int, rows: int, n: int, source: int, xi: int, xc: int, labels: int, ignored: int, mean: bool, added: bool, out: int,
    shared: int,
) -> float | tuple[int, Array] | None:  # fmt: skip
    """The reduced loss of some rows; if it is not wanted (`added`) or not finite: how many labels count, and the losses. None: a
    label is no class.

    Without arrays: addresses of n numbers a row and of int64 labels in order, strides in numbers of `item` bytes. The gradient,
    with the mean's factor or without, goes to `out`, one row after the other (0: it is not wanted).
    `shared`: the numbers from which on threads are called.
    """
    alone = rows * n < shared
    if alone and added:
        value = few_labelled(item, rows, n, mean)(source, xi, xc, labels, ignored, out, 0)
        if 0.0 <= value < math.inf:
            return value
    sweep, doubles = _swept(item, n)
    work = calls.borrowed(doubles + LOSSES + rows + PARTS)
    place = work.address
    answer, described = place + 8 * doubles, (source, xi, xc, out, n, 1, labels)
    sweep.function(
        sweep.like, *described, 0, 0, ignored, 0, n, answer, 0, 0 if alone else rows, rows, False, mean, False, place
    )  # fmt: skip
    wrong = work.array[doubles + VALUE] == WRONG
    if not alone and not wrong:
        weighted = answer + 8 * FACTOR if mean else 0
        sweep.over(rows, n, doubles, (*described, weighted, 0, ignored, answer + 8 * LOSSES, n, 0, 0), (False, False, False))
    found = work.array[doubles : doubles + LOSSES + rows].copy()
    work.back()
    return None if wrong else (int(found[COUNTED]), found[LOSSES:])
