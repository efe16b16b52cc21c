"""Products with the Jacobians of softmax and log-softmax, one row at a time.

    softmax       c = u - u_k, k the largest h:   m = <h, c> / <h, 1>,   g_i = h_i (c_i - m)
    log-softmax   g_i = u_i - h_i S,   S = sum_j u_j;            at k, if h_k > 1/2:   g_k = -(S - u_k) - S expm1(log h_k)

Centred on u_k, a constant u gives exactly 0, a common offset costs no digits, and g_k = -h_k m holds nothing of h_k's rounding.
Of equally large h the one with the largest u is k; so no order of the row matters, nor does it to the sums in double precision.
Single precision is summed in double, in one sweep over the row and another that writes: single_row.py, single_log_row.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.integers import fixed_points
from backproof.kernels.cpu.lanes import (
    at,
    every,
    every_narrow,
    is_double,
    lanes_of,
    larger,
    two_largest,
)
from backproof.kernels.cpu.limits import SOFTMAX
from backproof.kernels.cpu.panels import offset_of
from backproof.kernels.cpu.short_rows import panel
from backproof.kernels.cpu.signed_sum import HUGE, signed_sum, term
from backproof.kernels.cpu.single_log_row import NEARLY_HALF, log_softmax_rows_in_single, slopes, summed
from backproof.kernels.cpu.single_row import softmax_rows_in_single
from backproof.kernels.rows import load, magnitude, store, where_equal, where_greater, wide

ROOM = 8  # rows of doubles, beside one for each row of a panel, that a panel's work may take


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
def softmax_row_in_double(like: Any, h: Any, u: Any, n: int, out: Any) -> None:
    width = lanes_of(like)
    _, at_top = largest_pair(like, h, u, n)
    sums, rest = signed_sum(like, h, u, n, True, at_top)
    mass, mass_rest = signed_sum(like, h, h, n, False, 0.0)
    sums, mass = sums + rest, mass + mass_rest
    centre, mean = every(like, at_top), every(like, sums / mass if mass != 0.0 else sums)
    last = wide(load(h, n - width)) * (wide(load(u, n - width)) - centre - mean)
    for i in range(0, n - width + 1, width):
        store(out, i, wide(load(h, i)) * (wide(load(u, i)) - centre - mean))
    store(out, n - width, last)


@compiled()
def log_softmax_row_in_double(like: Any, log_h: Any, u: Any, n: int, out: Any) -> None:
    width = lanes_of(like)
    top, at_top = largest_pair(like, log_h, u, n)
    if top == -np.inf:  # wholly masked
        for i in range(n):
            put(out, i, 0.0)
        return
    whole, rest = signed_sum(like, u, u, n, False, 0.0)
    k, at_k = -1, 0.0
    if top > NEARLY_HALF:  # there u_k - h_k S would cancel
        k = 0
        while get(log_h, k) != top:
            k += 1
        at_k = -((whole - at_top) + rest) - (whole + rest) * math.expm1(top)
    shares = every(like, -(whole + rest))
    last = slopes(like, log_h, u, n - width, shares)
    for i in range(0, n - width + 1, width):
        store(out, i, slopes(like, log_h, u, i, shares))
    store(out, n - width, last)
    if k >= 0:
        put(out, k, at_k)


@compiled()
def product_rows(
    like: Any, kind: int, h: Any, ho: int, hi: int, u: Any, uo: int, ui: int, out: Any, oo: int, oi: int, inner: int, n: int,
    first: int, last: int, far: bool, past: bool, work: Any,
) -> None:  # fmt: skip
    """The rows first to last - 1, whose classes lie next to each other."""
    if not is_double(like):
        if kind == SOFTMAX:
            softmax_rows_in_single(like, h, ho, hi, u, uo, ui, out, oo, oi, inner, n, first, last, far, past, work)
        else:
            log_softmax_rows_in_single(like, h, ho, hi, u, uo, ui, out, oo, oi, inner, n, first, last, far, past, work)
        return
    for r in range(first, last):
        row, other, to = (
            at(h, offset_of(r, inner, ho, hi)), at(u, offset_of(r, inner, uo, ui)), at(out, offset_of(r, inner, oo, oi))
        )  # fmt: skip
        if kind == SOFTMAX:
            softmax_row_in_double(like, row, other, n, to)
        else:
            log_softmax_row_in_double(like, row, other, n, to)


@compiled()
def lane_sums(like: Any, h: Any, u: Any, n: int, products: bool, centre: Any) -> tuple[Any, Any]:
    """<h, u - centre> or the sum of u lane by lane in two words, for less numbers than a row has lanes, in any order.

    As signed_sum has it, but so few numbers, in units 16 and then 64 times as large, can be added as they are: exactly.
    """
    width = lanes_of(like)
    largest, plain = every(like, 0.0), every(like, 0.0)
    for c in range(n):
        row = term(h, u, c * width, products, centre)
        largest = larger(magnitude(row), largest)
        plain += row
    high, low = fixed_points(largest)
    high *= every(like, 24.0)
    low *= every(like, 64.0)
    sums, fine = every(like, 0.0), every(like, 0.0)
    for c in range(n):
        row = term(h, u, c * width, products, centre)
        part = (row + high) - high
        sums += part
        fine += ((row - part) + low) - low
    bound = every(like, HUGE)
    return where_greater(bound, largest, sums, plain), where_greater(bound, largest, fine, every(like, 0.0))


@compiled()
def log_softmax_panel(like: Any, log_h: Any, u: Any, n: int, work: Any) -> None:
    """The log-softmax product for rows side by side in two panels; the results take the place of u."""
    width = lanes_of(like)
    one = load(log_h, 0)
    for c in range(1, n):
        one = larger(load(log_h, c * width), one)
    top, nothing = wide(one), every(like, 0.0)
    if is_double(like):
        sums, rests = lane_sums(like, u, u, n, False, nothing)
    else:
        sums, rests = nothing, nothing
        for c in range(n):
            sums, rests = summed(sums, rests, wide(load(u, c * width)))
    share = nothing - (sums + rests)
    store(work, 0, top)
    store(work, width, sums)
    store(work, 2 * width, rests)
    for lane in range(width):
        if get(work, lane) > NEARLY_HALF:  # before u is overwritten
            k = 0
            while np.float64(get(log_h, k * width + lane)) != get(work, lane):
                k += 1
            whole, rest = get(work, width + lane), get(work, 2 * width + lane)
            at_k = -((whole - np.float64(get(u, k * width + lane))) + rest) - (whole + rest) * math.expm1(get(work, lane))
            put(work, 3 * width + lane, at_k)
            put(work, width + lane, np.float64(k))
    for c in range(n):
        place = c * width
        store(u, place, slopes(like, log_h, u, place, share))
    for lane in range(width):
        if get(work, lane) > NEARLY_HALF:
            k = int(get(work, width + lane))
            put(u, k * width + lane, get(work, 3 * width + lane))
        elif get(work, lane) == -np.inf:  # wholly masked
            for c in range(n):
                put(u, c * width + lane, 0.0)


@compiled()
def softmax_panel(like: Any, h: Any, u: Any, n: int, room: Any) -> None:
    """The softmax product for rows side by side in two panels; the results take the place of u."""
    if not is_double(like):
        panel(like, h, u, n, room)
        return
    width = lanes_of(like)
    one, beside = load(h, 0), load(u, 0)
    for c in range(1, n):
        row, other = load(h, c * width), load(u, c * width)
        beside = where_greater(row, one, other, where_equal(row, one, larger(other, beside), beside))
        one = larger(row, one)
    centre, nothing = wide(beside), every(like, 0.0)
    mass, mass_rest = lane_sums(like, h, h, n, False, nothing)
    sums, rest = lane_sums(like, h, u, n, True, centre)
    mass += mass_rest
    mean = (sums + rest) / where_equal(mass, nothing, every(like, 1.0), mass)
    for c in range(n):
        store(u, c * width, wide(load(h, c * width)) * (wide(load(u, c * width)) - centre - mean))
