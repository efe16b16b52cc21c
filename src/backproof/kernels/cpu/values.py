"""Softmax, log-softmax and logsumexp of NumPy arrays, any axis and strides; float16 by way of float32, rounded twice (2^-13)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from backproof.arrays import Array
from backproof.kernels import cancelled
from backproof.kernels.cpu import calls, sweeps
from backproof.kernels.cpu.limits import LOG_SOFTMAX, LOGSUMEXP, SOFTMAX
from backproof.kernels.cpu.refined import refined
from backproof.kernels.rows import panel_width, vector_bytes

LARGE = 16 << 20  # bytes of output that the caches would not hold until they are read
ERROR = {4: 2.0**-34, 8: 1.1 * 2.0**-53}  # of an exponential and of its share in a sum, by the bytes of a number
LONG = 256  # classes of a row from which on a line of the cache is seldom written in two parts


def softmax(z: Array, axis: int, out: Array) -> None:
    """h_i = exp(z_i) / sum_j exp(z_j) along `axis`, to `out`, which may be z."""
    _values(SOFTMAX, z, axis, out)


def log_softmax(z: Array, axis: int, out: Array) -> None:
    """log h_i = d_i - log1p(s) along `axis`, to `out`, which may be z."""
    _values(LOG_SOFTMAX, z, axis, out)


def logsumexp_vjp(z: Array, u: Array, axis: int, out: Array) -> None:
    """u softmax(z) along `axis`, rounded once, to `out`, which may be z; u has z's shape without `axis`."""
    _values(SOFTMAX, z, axis, out, np.ascontiguousarray(u, dtype=np.float64))


def logsumexp(z: Array, axis: int) -> Array:
    """z_k + log1p(s) along `axis`, which the result lacks."""
    shape = z.shape[:axis] + z.shape[axis + 1 :]
    out = np.empty(shape, dtype=z.dtype)
    if z.shape[axis] == 0:
        out[...] = -np.inf
    else:
        _values(LOGSUMEXP, z, axis, out)
        if z.dtype != np.float16:
            cancelled.settle(out, z, axis, ERROR[z.dtype.itemsize], refined)
    return out


def goes_past(item: int, numbers: int, n: int) -> bool:
    """Whether a result of so many numbers of `item` bytes, n a row, goes past the caches: where it is large, and made so fast (long
    vectors) that memory is what it waits for.

    With vectors of 256 bits the exponentials are, and past the caches softmax took 5 % longer, in double precision up to 40.
    """
    return vector_bytes() == 64 and item == 4 and item * numbers >= LARGE and n >= LONG


@lru_cache(maxsize=256)
def _swept(item: int, n: int) -> tuple[calls.Sweep, int]:
    """For rows of n numbers of so many bytes: the compiled function, and the doubles of work."""
    dtype = np.dtype(np.float32 if item == 4 else np.float64)
    return calls.sweep(sweeps.values, "iiiiiiiiiiiiflbw", dtype), sweeps.work_size(n, panel_width(item))


@lru_cache(maxsize=256)
def values_by_address(kind: int, item: int, rows: int, n: int) -> Callable[[int, int], None]:
    """A function (out, z) of the addresses of rows without gaps: softmax or log-softmax. What calls of a shape share is settled."""
    sweep, doubles = _swept(item, n)
    large = goes_past(item, rows * n, n)

    def fill(out: int, z: int) -> None:
        sweep.over(rows, n, doubles, (kind, z, 0, n, 1, out, 0, n, 1, 0, rows, n), (large and out != z,))

    return fill


def _values(kind: int, z: Array, axis: int, out: Array, weights: Array | None = None) -> None:
    """`weights`, one a row in their order: what the softmax is multiplied with."""
    if z.size == 0:
        return
    if z.dtype == np.float16:
        wide = z.astype(np.float32)
        made = np.empty(out.shape, dtype=np.float32) if kind == LOGSUMEXP else wide
        _values(kind, wide, axis, made, weights)
        out[...] = made
        return
    x = calls.plain(z)
    to = x if out is z else calls.plain(out)
    n, item = x.shape[axis], x.itemsize
    rows = calls.rows_of(axis, x) if kind == LOGSUMEXP else calls.rows_of(axis, x, to)
    begin = x.ctypes.data  # asked for once: it takes as long as a hundred numbers
    end = begin if to is x else to.ctypes.data
    past = kind != LOGSUMEXP and begin != end and goes_past(item, to.size, n)
    xc = x.strides[axis] // item
    oo, oi, oc = (0, 0, 0) if kind == LOGSUMEXP else (rows.outer_steps[1], rows.inner_steps[1], to.strides[axis] // item)
    sweep, doubles = _swept(item, n)
    outer, inner = rows.outer_steps[0], rows.inner_steps[0]
    for number, start in enumerate(rows.starts):
        source = begin + start[0]
        target = end + (number * rows.number * item if kind == LOGSUMEXP else start[1])
        given = 0 if weights is None else weights.ctypes.data + number * rows.number * weights.itemsize
        arguments = (kind, source, outer, inner, xc, target, oo, oi, oc, given, rows.inner, n)
        sweep.over(rows.number, n, doubles, arguments, (past,))
    if to is not out:
        out[...] = to
