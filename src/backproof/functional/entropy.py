"""Softmax cross-entropy from logits, with its gradient in one pass."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, LabelError, ShapeError
from backproof.arrays import Array, Guest, Shape, alike, is_numpy, is_traced, namespace, widened
from backproof.functional import ordinary
from backproof.functional.arguments import (
    destination,
    floats,
    floats_beside,
    number,
    one_axis,
    require_finite,
    require_shape,
    returned,
)
from backproof.functional.reduction import Reduction, reduction_of
from backproof.kernels import dispatch
from backproof.kernels.reference_losses import Options


def cross_entropy(
    z: Any,
    target: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
) -> Any:
    """-sum_k w_k t_k log softmax(z)_k, reduced over the rows; `cross_entropy_and_grad` describes arguments and errors.

    Source: Bishop 1995, section 6.9.

    >>> import numpy as np
    >>> cross_entropy(np.log([[1.0, 3.0], [1.0, 1.0]]), [1, 0], reduction="none").round(4).tolist()
    [0.2877, 0.6931]
    """
    asked = weight, ignore_index, label_smoothing, z_loss, softcap, temperature
    if sample_weight is None and _is_simple(asked):
        short = ordinary.cross_entropy(z, target, axis, ignore_index, reduction, False)
        if short is not None:
            return short[0]
    problem = _problem(z, target, axis, asked)
    how = reduction_for(problem.guest.array, problem.target, problem.options, problem.shape, reduction, sample_weight)
    rows, _ = dispatch.cross_entropy(problem.rows, problem.target, problem.options, None, False)
    return returned(how.value(rows, problem.shape, problem.guest.array), problem.guest)


def cross_entropy_and_grad(
    z: Any,
    target: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
    out: Any = None,
) -> tuple[Any, Any]:
    """(loss, dloss/dz): cross-entropy of softmax(z) along `axis`, and its gradient, `h - t` for one row and a distribution t.

    `target`: whole-number labels, of z's shape without `axis`, or probabilities of z's shape (they need not sum to 1: with
    T = sum(t) the gradient is T h - t). `weight`, (classes,), multiplies each class's term; `sample_weight`, one number a row,
    multiplies rows (an upstream gradient, say). In this order: logits become `softcap` tanh(z / softcap) (-inf stays), are divided
    by `temperature`, and pass the softmax; targets become (1 - e) t + e / classes, e = `label_smoothing` (Szegedy et al., CVPR
    2016); each row's value gains `z_loss` logsumexp^2 (PaLM, arXiv 2204.02311, section 5). Rows with the label `ignore_index`
    count nothing, whatever they hold, and so do rows of sample weight 0.

    `reduction`: "mean" divides by the sum of sample weight times class weight of the labels that count (for probabilities: the sum
    of sample weights), over nothing it is 0; "sum"; "none" gives one value a row, and the gradient of their sum. The loss has z's
    dtype, at least single precision; the gradient has z's dtype, and goes to `out` if given, which may be z itself.

    A masked class (-inf) with no target mass costs nothing and has gradient 0; with mass the loss is +inf. Source: Bishop 1995,
    section 6.9; the rounding: `kernels.reference_losses`.

    Raises `LabelError` for a label outside the classes, `ShapeError`, `ArgumentTypeError` for labels that are not whole numbers,
    `ArgumentError` for options out of range and for `ignore_index` with probabilities. `out` is untouched then.

    >>> import numpy as np
    >>> loss, dz = cross_entropy_and_grad(np.log([[1.0, 2.0, 5.0]]), [2])
    >>> round(float(loss), 4), dz.round(3).tolist()
    (0.47, [[0.125, 0.25, -0.375]])
    """
    asked = weight, ignore_index, label_smoothing, z_loss, softcap, temperature
    if sample_weight is None and _is_simple(asked):
        short = ordinary.cross_entropy(z, target, axis, ignore_index, reduction, True, out)
        if short is not None:
            return short
    problem = _problem(z, target, axis, asked)
    how = reduction_for(problem.guest.array, problem.target, problem.options, problem.shape, reduction, sample_weight)
    logits = problem.guest.array
    place = destination(out, tuple(logits.shape), logits.dtype, logits)
    direct = None if place is None else _view_of_rows(place, problem.axis, problem.rows.shape)
    rows, slopes = dispatch.cross_entropy(problem.rows, problem.target, problem.options, how.scale(), True, direct)
    loss = returned(how.value(rows, problem.shape, logits), problem.guest)
    gradient = _from_rows(slopes, problem) if direct is None else place
    if place is not None and direct is None:
        place[...] = gradient
    return loss, returned(gradient, problem.guest, out)


class _Problem(NamedTuple):
    guest: Guest
    axis: int
    shape: Shape  # of the rows: z's without the axis
    rows: Array  # (N, C)
    target: Array  # (N,) labels or (N, C) probabilities
    options: Options


Asked = tuple[object, object, object, object, object, object]
"""weight, ignore_index, label_smoothing, z_loss, softcap and temperature as the caller gave them."""


def _is_simple(asked: Asked) -> bool:
    """Whether all options but `ignore_index` are as they are by default."""
    weight, _, label_smoothing, z_loss, softcap, temperature = asked
    plain = weight is None and softcap is None and type(label_smoothing) is type(z_loss) is type(temperature) is float
    return plain and (label_smoothing, z_loss, temperature) == (0.0, 0.0, 1.0)


def _problem(z: object, target: object, axis: object, asked: Asked) -> _Problem:
    guest = floats(z, "z")
    logits = guest.array
    if logits.ndim == 0:
        raise ShapeError("z: expected logits with an axis of classes, received shape ()")
    where = one_axis(axis, logits.ndim)
    shape = (*logits.shape[:where], *logits.shape[where + 1 :])
    options = options_of(logits, logits.shape[where], asked)
    given = rows_of_target(target, logits, shape, where, logits.shape[where], options.ignore_index)
    return _Problem(guest, where, shape, to_rows(logits, where), given if given.ndim == 1 else widened(given), options)


def options_of(guide: Array, classes: int, asked: Asked) -> Options:
    """The options, checked, for logits of `classes` that are numbers like those of `guide`."""
    weight, ignore_index, label_smoothing, z_loss, softcap, temperature = asked
    return Options(
        _class_weight(weight, guide, classes),
        None if ignore_index is None else whole(ignore_index, "ignore_index"),
        number(label_smoothing, "label_smoothing", 0.0, high=1.0),
        number(z_loss, "z_loss", 0.0),
        None if softcap is None else number(softcap, "softcap", 0.0, open_low=True),
        number(temperature, "temperature", 0.0, open_low=True),
    )


def rows_of_target(target: object, guide: Array, shape: Shape, where: int, classes: int, ignored: int | None) -> Array:
    """Labels (N,) or probabilities (N, C), checked against logits with rows of `shape` and the classes along axis `where`."""
    full = (*shape[:where], classes, *shape[where:])
    given = alike(target, guide, "target")
    if is_numpy(given) and given.dtype.kind not in "iubfc" and given.dtype.name != "bfloat16":
        raise ArgumentTypeError(f"target: expected whole-number labels or probabilities, received dtype {given.dtype}")
    if tuple(given.shape) == full:
        if ignored is not None:
            raise ArgumentError("ignore_index: expected None with probabilities as targets; it names a label")
        return to_rows(floats_beside(given, guide, "target"), where)
    if tuple(given.shape) == shape:
        return namespace(given).reshape(_labels(given, classes, ignored), (-1,))
    raise ShapeError(f"target: expected labels of shape {shape} or probabilities of shape {full}, received {tuple(given.shape)}")


def _class_weight(weight: object, logits: Array, classes: int) -> Array | None:
    if weight is None:
        return None
    array = floats_beside(weight, logits, "weight")
    require_shape(array, (classes,), "weight")
    require_finite(array, "weight")
    return widened(array)


def whole(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"{name}: expected a whole number, received {value!r}") from None


def _labels(labels: Array, classes: int, ignored: int | None) -> Array:
    """Labels as int64, each a class or the ignored one."""
    xp = namespace(labels)
    whole = labels.dtype.kind in "iu" if is_numpy(labels) else xp.isdtype(labels.dtype, "integral")
    if not whole:
        raise ArgumentTypeError(f"target: expected whole-number labels (dtype int), received dtype {labels.dtype}")
    if is_traced(labels):
        return labels
    if is_numpy(labels) and (not labels.size or (labels.min() >= 0 and labels.max() < classes)):  # two passes, no array
        return labels.astype(np.int64, copy=False)
    bad = (labels < 0) | (labels >= classes)
    if ignored is not None:
        bad = bad & (labels != ignored)
    if bool(xp.any(bad)):
        received = int(labels[bad][0])
        expected = f"labels from 0 to {classes - 1}" if classes else "no labels, as z has no classes"
        raise LabelError(f"target: expected {expected}, received {received}")
    return labels.astype(np.int64, copy=False) if is_numpy(labels) else xp.astype(labels, xp.int64, copy=False)


def reduction_for(z: Array, target: Array, options: Options, shape: Shape, kind: object, sample_weight: object) -> Reduction:
    """The reduction of the rows of logits like z, and what each counts in it."""
    counts = None
    if target.ndim == 1:
        xp = namespace(target)
        kept = None if options.ignore_index is None else target != options.ignore_index
        if options.class_weight is not None:
            where = target if kept is None else xp.where(kept, target, xp.zeros_like(target))
            counts = xp.take(options.class_weight, where, axis=0) if options.class_weight.shape[0] else widened(target)
            counts = counts if kept is None else xp.where(kept, counts, xp.zeros_like(counts))
        elif kept is not None:
            counts = widened(kept)
    return reduction_of(kind, sample_weight, counts, shape, z, target.shape[0])


# --- rows ------------------------------------------------------------------------------------------------------------------
def to_rows(array: Array, axis: int) -> Array:
    """`array` as (N, C), C the length of `axis`: a view where there is one."""
    if array.ndim == 2 and axis == 1:
        return array
    xp = namespace(array)
    moved = xp.moveaxis(array, axis, -1)
    return xp.reshape(moved, (math.prod(moved.shape[:-1]), moved.shape[-1]))


def _view_of_rows(place: Array, axis: int, shape: Any) -> Array | None:
    """(N, C) rows that share `place`'s memory; None if there is no such view."""
    if place.ndim == 2 and axis == 1:
        return place
    if not is_numpy(place):
        return None
    rows = np.moveaxis(place, axis, -1).view()
    try:
        rows.shape = tuple(shape)  # refuses to copy
    except AttributeError:
        return None
    return rows


def _from_rows(rows: Any, problem: _Problem) -> Array:
    xp = namespace(rows)
    return xp.moveaxis(xp.reshape(rows, (*problem.shape, rows.shape[-1])), -1, problem.axis)
