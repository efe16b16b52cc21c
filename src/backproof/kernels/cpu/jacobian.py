"""Products with the Jacobians of softmax and log-softmax, one row at a time.

    softmax       c = u - u_k, k the largest h:   m = sum_j h_j c_j,   g_i = h_i (c_i - m)
    log-softmax   g_i = u_i - h_i S,   S = sum_j u_j;            at k, if h_k > 1/2:   g_k = -(S - u_k) - S expm1(log h_k)

Centred on u_k, a constant u gives exactly 0, a common offset costs no digits, and g_k = -h_k m holds nothing of h_k's rounding.
Of equally large h the one with the largest u is k, so that no order of the row matters.

All layouts come down to one scheme with one order of summation: rows shorter than a vector stand side by side in panels (for
log-softmax they are filled up with h = 0), longer ones with strides are copied. Double precision carries what its sums lose; single
precision is summed in double.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu import calls
from backproof.kernels.cpu.exponential import exponentials
from backproof.kernels.cpu.lanes import (
    address,
    at,
    every,
    every_narrow,
    fetch,
    fetch_to_write,
    is_double,
    itemsize,
    lanes_of,
    larger,
    last_lanes,
    pointer,
    product,
    store_past,
    two_largest,
)
from backproof.kernels.cpu.long_rows import LINE
from backproof.kernels.cpu.panels import fill, offset_of, pour
from backproof.kernels.cpu.values import LARGE, LONG
from backproof.kernels.rows import load, panel_width, store, total, where_equal, where_greater, wide

SOFTMAX, LOG_SOFTMAX = range(2)
NEAR = 1 << 12  # classes up to which a row's output finds room in the second cache beside all else
COPY = 1 << 15  # numbers of each array that are copied at a time


@compiled()
def largest_pair(like: Any, h: Any, u: Any, n: int) -> tuple[float, float]:
    """The largest h and the u beside it."""
    width = lanes_of(like)
    lowest = every_narrow(like, -np.inf)
    one, beside = lowest, lowest
    for i in range(0, n - width + 1, width):
        row, other = load(h, i), load(u, i)
        beside = where_greater(row, one, other, where_equal(row, one, larger(other, beside), beside))
        one = larger(row, one)
    if n % width:
        row, other = load(h, n - width), load(u, n - width)
        beside = where_greater(row, one, other, where_equal(row, one, larger(other, beside), beside))
        one = larger(row, one)
    top, _ = two_largest(one, one)
    beside = where_equal(one, every_narrow(like, np.float64(top)), beside, lowest)
    at_top, _ = two_largest(beside, beside)
    return np.float64(top), np.float64(at_top)


@compiled()
def summed(sums: Any, rests: Any, row: Any) -> Any:
    """One row more, with what rounding takes from the sums (Knuth's TwoSum)."""
    new = sums + row
    back = new - sums
    return new, rests + ((sums - (new - back)) + (row - back))


@compiled()
def whole_sum(sums: Any, rests: Any, lanes: int, work: Any) -> tuple[float, float]:
    """All lanes together, and the rest."""
    store(work, 0, sums)
    store(work, lanes, rests)
    new, rest = 0.0, 0.0
    for i in range(lanes):
        term, old = get(work, i), new
        new = old + term
        back = new - old
        rest += ((old - (new - back)) + (term - back)) + get(work, lanes + i)
    return new, rest


@compiled()
def softmax_row(like: Any, h: Any, u: Any, n: int, out: Any, ahead_h: int, ahead_u: int, past: bool, work: Any) -> None:
    width = lanes_of(like)
    _, at_top = largest_pair(like, h, u, n)
    centre, zero = every(like, at_top), every(like, 0.0)
    sums, rests = zero, zero
    near = out if n <= NEAR and not past else u
    for i in range(0, n - width + 1, width):
        row = product(wide(load(h, i)), wide(load(u, i)) - centre)
        fetch(h, ahead_h + i)
        fetch(u, ahead_u + i)
        fetch_to_write(near, i)
        if is_double(like):
            sums, rests = summed(sums, rests, row)
        else:
            sums += row
    if n % width:
        row = product(last_lanes(wide(load(h, n - width)), n % width, zero), wide(load(u, n - width)) - centre)
        if is_double(like):
            sums, rests = summed(sums, rests, row)
        else:
            sums += row
    if is_double(like):
        mean, rest = whole_sum(sums, rests, width, work)
        mean += rest
    else:
        mean = total(sums)
    m = every(like, mean)
    last = wide(load(h, n - width)) * (wide(load(u, n - width)) - centre - m)
    begin = 0
    if past:
        store(out, 0, wide(load(h, 0)) * (wide(load(u, 0)) - centre - m))
        begin = (-address(out) & (LINE - 1)) // itemsize(like)
        for i in range(begin, n - width + 1, width):
            store_past(out, i, wide(load(h, i)) * (wide(load(u, i)) - centre - m))
    else:
        for i in range(begin, n - width + 1, width):
            store(out, i, wide(load(h, i)) * (wide(load(u, i)) - centre - m))
    store(out, n - width, last)


@compiled()
def log_softmax_row(like: Any, log_h: Any, u: Any, n: int, out: Any, work: Any) -> None:
    width = lanes_of(like)
    top, at_top = largest_pair(like, log_h, u, n)
    if top == -np.inf:  # wholly masked
        for i in range(n):
            put(out, i, 0.0)
        return
    zero = every(like, 0.0)
    sums, rests = zero, zero
    for i in range(0, n - width + 1, width):
        sums, rests = summed(sums, rests, wide(load(u, i)))
    if n % width:
        sums, rests = summed(sums, rests, last_lanes(wide(load(u, n - width)), n % width, zero))
    whole, rest = whole_sum(sums, rests, width, work)
    k, at_k = -1, 0.0
    if top > -0.69:  # h_k > 1/2: there u_k - h_k S would cancel
        k = 0
        while get(log_h, k) != top:
            k += 1
        at_k = -((whole - at_top) + rest) - (whole + rest) * math.expm1(top)
    share = every(like, -(whole + rest))
    last = wide(load(u, n - width)) + exponentials(like, wide(load(log_h, n - width)), zero) * share
    for i in range(0, n - width + 1, width):
        store(out, i, wide(load(u, i)) + exponentials(like, wide(load(log_h, i)), zero) * share)
    store(out, n - width, last)
    if k >= 0:
        put(out, k, at_k)


@compiled()
def one_row(
    like: Any, kind: int, h: Any, u: Any, n: int, out: Any, ahead_h: int, ahead_u: int, past: bool, work: Any
) -> None:  # fmt: skip
    if kind == SOFTMAX:
        softmax_row(like, h, u, n, out, ahead_h, ahead_u, past, work)
    else:
        log_softmax_row(like, h, u, n, out, work)


@compiled()
def softmax_panel(like: Any, h: Any, u: Any, n: int) -> None:
    """softmax_row for rows side by side in two panels; the products take the place of u."""
    width = lanes_of(like)
    one, beside = load(h, 0), load(u, 0)
    for c in range(1, n):
        row, other = load(h, c * width), load(u, c * width)
        beside = where_greater(row, one, other, where_equal(row, one, larger(other, beside), beside))
        one = larger(row, one)
    centre = wide(beside)
    sums, rests = every(like, 0.0), every(like, 0.0)
    for c in range(n):
        row = product(wide(load(h, c * width)), wide(load(u, c * width)) - centre)
        if is_double(like):
            sums, rests = summed(sums, rests, row)
        else:
            sums += row
    if is_double(like):
        sums += rests
    for c in range(n):
        store(u, c * width, wide(load(h, c * width)) * (wide(load(u, c * width)) - centre - sums))


def rows(
    like: Any, kind: int, h_address: int, ho: int, hi: int, hc: int, u_address: int, uo: int, ui: int, uc: int,
    out_address: int, oo: int, oi: int, oc: int, inner: int, n: int, first: int, last: int, past: bool, work: int,
) -> None:  # fmt: skip
    """The rows first to last - 1; strides as in sweeps.py."""
    width = lanes_of(like)
    h, u, out = pointer(h_address, like), pointer(u_address, like), pointer(out_address, like)
    room = pointer(work, 1.0)
    beside = hc == 1 and uc == 1 and oc == 1
    size = max(n, width)
    many = 1 if beside and n >= width else max(1, min(width, COPY // size))
    filling = 0.0 if kind == SOFTMAX else -np.inf
    copied = pointer(work + 16 * width, like)
    other = at(copied, many * size)
    if n < width and kind == SOFTMAX:
        for r in range(first, last, width):
            count = min(width, last - r)
            fill(like, h, r, count, inner, ho, hi, hc, n, copied)
            fill(like, u, r, count, inner, uo, ui, uc, n, other)
            softmax_panel(like, copied, other, n)
            pour(like, other, out, r, count, inner, oo, oi, oc, n)
        return
    outer, place = first // inner, first % inner  # counted on: a division takes as long as a short row
    for r in range(first, last, many):
        count = min(many, last - r)
        run = place + count <= inner
        from_h, from_u, to = outer * ho + place * hi, outer * uo + place * ui, outer * oo + place * oi
        place += count
        if place >= inner:
            outer, place = outer + place // inner, place % inner
        if beside and n >= width:
            one_row(
                like, kind, at(h, from_h), at(u, from_u), n, at(out, to),
                hi if r + 1 < last else 0, ui if r + 1 < last else 0, past, room,
            )  # fmt: skip
            continue
        for j in range(count):
            if not run:
                from_h, from_u = offset_of(r + j, inner, ho, hi), offset_of(r + j, inner, uo, ui)
            for i in range(n, size):
                put(copied, j * size + i, filling)
                put(other, j * size + i, 0.0)
            if not run:
                for i in range(n):
                    put(copied, j * size + i, get(h, from_h + i * hc))
                    put(other, j * size + i, get(u, from_u + i * uc))
        if run:
            for i in range(n):
                for j in range(count):
                    put(copied, j * size + i, get(h, from_h + j * hi + i * hc))
                    put(other, j * size + i, get(u, from_u + j * ui + i * uc))
        for j in range(count):
            one_row(like, kind, at(copied, j * size), at(other, j * size), size, at(other, j * size), 0, 0, False, room)
        if run:
            for i in range(n):
                for j in range(count):
                    put(out, to + j * oi + i * oc, get(other, j * size + i))
        else:
            for j in range(count):
                to = offset_of(r + j, inner, oo, oi)
                for i in range(n):
                    put(out, to + i * oc, get(other, j * size + i))


def softmax_vjp(h: Array, u: Array, axis: int, out: Array) -> None:
    """h * (u - <h, u>) along `axis`, to `out`, which may be u (or h)."""
    _product(SOFTMAX, h, u, axis, out)


def log_softmax_vjp(log_h: Array, u: Array, axis: int, out: Array) -> None:
    """u - exp(log_h) sum(u) along `axis`, to `out`, which may be u."""
    _product(LOG_SOFTMAX, log_h, u, axis, out)


def _product(kind: int, h: Array, u: Array, axis: int, out: Array) -> None:
    if h.size == 0:
        return
    if h.dtype == np.float16:
        made = np.empty(h.shape, dtype=np.float32)
        _product(kind, h.astype(np.float32), u.astype(np.float32), axis, made)
        out[...] = made
        return
    x, s, to = calls.plain(h), calls.plain(u), calls.plain(out)
    n, item, width = x.shape[axis], x.itemsize, panel_width(x.itemsize)
    view = calls.rows_of(axis, x, s, to)
    past = kind == SOFTMAX and to.nbytes >= LARGE and n >= LONG and not any(np.may_share_memory(to, a) for a in (x, s))
    function = calls.sweep(rows, "i" * 17 + "bi", x.dtype)
    like, steps = x.dtype.type(0), [a.strides[axis] // item for a in (x, s, to)]
    size = max(n, width)
    many = max(1, min(width, COPY // size))
    for start in view.starts:
        described = [
            number
            for a, array in enumerate((x, s, to))
            for number in (array.ctypes.data + start[a], view.outer_steps[a], view.inner_steps[a], steps[a])
        ]

        def call(first: int, last: int, work: int, described: list[int] = described) -> None:
            function(like, kind, *described, view.inner, n, first, last, past, work)

        calls.run(call, view.number, n, 2 * width + 2 * many * size)
    if to is not out:
        out[...] = to
