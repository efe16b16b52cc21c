"""Products with the Jacobians of softmax and log-softmax of NumPy arrays: all layouts come down to one scheme, with one order.

Short rows stand side by side in panels, or are worked on some at a time; longer ones with strides are copied. product_rows.py and
short_rows.py have the formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from backproof.arrays import Array
from backproof.kernels.compiled import pointer
from backproof.kernels.cpu import calls
from backproof.kernels.cpu.copies import gather, scatter
from backproof.kernels.cpu.lanes import at, is_double, lanes_of
from backproof.kernels.cpu.limits import LOG_SOFTMAX, SOFTMAX
from backproof.kernels.cpu.panels import fill, offset_of, pour
from backproof.kernels.cpu.product_rows import ROOM, log_softmax_panel, product_rows, softmax_panel
from backproof.kernels.cpu.short_rows import SHORT, batch
from backproof.kernels.cpu.values import LARGE
from backproof.kernels.rows import panel_width, vector_bytes

PAST = 512  # classes from which on a large result goes past the caches
COPY = 1 << 15  # numbers of each array that are copied at a time


@register_jitable  # for Python and compiled code
def room_of(width: int) -> int:
    """The doubles of work that come before the copies."""
    return (width + ROOM) * width


def rows(
    like: Any, kind: int, h_address: int, ho: int, hi: int, hc: int, u_address: int, uo: int, ui: int, uc: int,
    out_address: int, oo: int, oi: int, oc: int, inner: int, n: int, first: int, last: int, far: bool, past: bool,
    work: int,
) -> None:  # fmt: skip
    """The rows first to last - 1; strides as in sweeps.py."""
    width = lanes_of(like)
    h, u, out = pointer(h_address, like), pointer(u_address, like), pointer(out_address, like)
    room = pointer(work, 1.0)
    beside = hc == 1 and uc == 1 and oc == 1
    copied = pointer(work + 8 * room_of(width), like)
    if n < (width if is_double(like) else SHORT):
        other = at(copied, n * width)
        for r in range(first, last, width):
            count = min(width, last - r)
            if kind == SOFTMAX and beside and n >= width // 2 and not is_double(like) and r % inner + count <= inner:
                from_h, from_u, to = offset_of(r, inner, ho, hi), offset_of(r, inner, uo, ui), offset_of(r, inner, oo, oi)
                batch(like, at(h, from_h), hi, at(u, from_u), ui, at(out, to), oi, count, n, room)
                continue
            fill(like, h, r, count, inner, ho, hi, hc, n, copied)
            fill(like, u, r, count, inner, uo, ui, uc, n, other)
            if kind == SOFTMAX:
                softmax_panel(like, copied, other, n, room)
            else:
                log_softmax_panel(like, copied, other, n, room)
            pour(like, other, out, r, count, inner, oo, oi, oc, n)
        return
    if beside:
        product_rows(like, kind, h, ho, hi, u, uo, ui, out, oo, oi, inner, n, first, last, far, past, room)
        return
    many = max(1, min(width, COPY // n))
    other = at(copied, many * n)
    for r in range(first, last, many):
        count = min(many, last - r)
        gather(like, h, r, count, inner, ho, hi, hc, n, copied)
        gather(like, u, r, count, inner, uo, ui, uc, n, other)
        product_rows(like, kind, copied, 0, n, other, 0, n, other, 0, n, count, n, 0, count, False, False, room)
        scatter(like, other, out, r, count, inner, oo, oi, oc, n)


def softmax_vjp(h: Array, u: Array, axis: int, out: Array) -> None:
    """h * (u - <h, u>) along `axis`, to `out`, which may be u (or h)."""
    _product(SOFTMAX, h, u, axis, out)


def log_softmax_vjp(log_h: Array, u: Array, axis: int, out: Array) -> None:
    """u - exp(log_h) sum(u) along `axis`, to `out`, which may be u."""
    _product(LOG_SOFTMAX, log_h, u, axis, out)


@lru_cache(maxsize=256)
def _swept(item: int, n: int) -> tuple[calls.Sweep, int]:
    """For rows of n numbers of so many bytes: the compiled function, and the doubles of work."""
    dtype, width = np.dtype(np.float32 if item == 4 else np.float64), panel_width(item)
    many = max(1, min(width, COPY // n))
    return calls.sweep(rows, "i" * 15 + "flbbw", dtype), room_of(width) + 2 * max(many * n, SHORT * width)


def _reach(kind: int, item: int, numbers: int, n: int) -> tuple[bool, bool]:
    """Whether so many numbers, n a row, come from memory, and whether their result may go past the caches: in single precision, and
    where memory is what is waited for, not exponentials (values.goes_past)."""
    far = item * numbers >= LARGE
    return far, far and item == 4 and n >= PAST and (kind == SOFTMAX or vector_bytes() == 64)


@lru_cache(maxsize=256)
def product_by_address(kind: int, item: int, number: int, n: int) -> Callable[[int, int, int], None]:
    """A function (out, h, u) of the addresses of rows without gaps. What calls of a shape share is settled."""
    sweep, doubles = _swept(item, n)
    far, past = _reach(kind, item, number * n, n)

    def fill(out: int, h: int, u: int) -> None:
        sweep.over(number, n, doubles, (kind, h, 0, n, 1, u, 0, n, 1, out, 0, n, 1, number, n), (far, past and out != h))

    return fill


def _product(kind: int, h: Array, u: Array, axis: int, out: Array) -> None:
    if h.size == 0:
        return
    if h.dtype == np.float16:
        made = np.empty(h.shape, dtype=np.float32)
        _product(kind, h.astype(np.float32), u.astype(np.float32), axis, made)
        out[...] = made
        return
    x, s, to = calls.plain(h), calls.plain(u), calls.plain(out)
    n, item = x.shape[axis], x.itemsize
    view = calls.rows_of(axis, x, s, to)
    far, past = _reach(kind, item, to.size, n)
    past = past and not any(np.may_share_memory(to, a) for a in (x, s))
    (sweep, doubles), steps = _swept(item, n), [a.strides[axis] // item for a in (x, s, to)]
    begins = x.ctypes.data, s.ctypes.data, to.ctypes.data
    for start in view.starts:
        described = [
            number for a in range(3) for number in (begins[a] + start[a], view.outer_steps[a], view.inner_steps[a], steps[a])
        ]
        sweep.over(view.number, n, doubles, (kind, *described, view.inner, n), (far, past))
    if to is not out:
        out[...] = to
