"""The product with log-softmax's Jacobian in single precision, row after row: g_i = u_i - h_i S, S = sum_j u_j.

A row's sum is formed while the row before is written, in double precision: BLOCK numbers a lane one after the other, and what these
come to with Knuth's TwoSum. With what the sum of the lanes takes that is an error of 22 2^-53 sum |u| at most, less than 2^-37 of S
where that is at least 2^-11 of the sum of magnitudes. Of other rows, and where one class has more than half the probability (there
u_k - h_k S would cancel, and g_k = -(S - u_k) - S expm1(log h_k)), the sum is formed once more, with TwoSum throughout.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from backproof.kernels.compiled import address, compiled, get, pointer, put
from backproof.kernels.cpu.exponential import exponentials
from backproof.kernels.cpu.lanes import every, every_narrow, fetch, lanes_of, larger, last_lanes, store_past, two_largest
from backproof.kernels.cpu.registers import plus_product
from backproof.kernels.cpu.single_row import SOON, head_size, place_after, put_ends, rows_at
from backproof.kernels.cpu.streams import PAGE, around, ask_for_ends, turn, whole_lines
from backproof.kernels.rows import load, magnitude, store, total, wide

NEARLY_HALF = -0.69  # the logarithm of a probability of a little more than 1/2
BLOCK = 16
SURE = 2.0**11


@compiled()
def summed(sums: Any, rests: Any, row: Any) -> Any:
    """One row more, with what rounding takes from the sums (Knuth's TwoSum)."""
    new = sums + row
    back = new - sums
    return new, rests + ((sums - (new - back)) + (row - back))


@compiled()
def whole_sum(like: Any, u: Any, n: int, work: Any) -> tuple[float, float]:
    """The sum of u, and what rounding took from it."""
    width = lanes_of(like)
    zero = every(like, 0.0)
    sums, rests = zero, zero
    for i in range(0, n - width + 1, width):
        sums, rests = summed(sums, rests, wide(load(u, i)))
    if n % width:
        sums, rests = summed(sums, rests, last_lanes(wide(load(u, n - width)), n % width, zero))
    store(work, 0, sums)
    store(work, width, rests)
    new, rest = 0.0, 0.0
    for i in range(width):
        term, old = get(work, i), new
        new = old + term
        back = new - old
        rest += ((old - (new - back)) + (term - back)) + get(work, width + i)
    return new, rest


@compiled(late=True)
def slopes(like: Any, log_h: Any, u: Any, i: int, shares: Any) -> Any:
    """u + h share."""
    return plus_product(wide(load(u, i)), exponentials(like, wide(load(log_h, i)), every(like, 0.0)), shares)


@compiled()
def sum_and_write(
    like: Any, n: int, log_h: Any, u: Any, read: bool, far: bool,
    log_h_before: Any, u_before: Any, share: float, out: Any, write: bool, past: bool, work: Any,
) -> tuple[float, float, float]:  # fmt: skip
    """If `read`: the sum of u, that of |u|, and the largest log_h of a row; if `write`: the product of the row before, to out.

    The flags are those of single_row.two_rows.
    """
    width = lanes_of(like)
    zero, shares = every(like, 0.0), every(like, share)
    sums, rests, sizes, one = zero, zero, every_narrow(like, 0.0), every_narrow(like, -np.inf)
    whole = n // width * width
    begin, final, turned = 0, whole - width, turn(like, log_h, PAGE // 2, out, whole, width)
    edge = pointer(address(work), like)
    if write:  # what the last vector needs may be written over by the others
        store(edge, head_size(like), slopes(like, log_h_before, u_before, n - width, shares))
        if past:
            for i in range(0, head_size(like), width):
                store(edge, i, slopes(like, log_h_before, u_before, i, shares))
            begin, final = whole_lines(like, out, n, width)
    for start in range(0, whole, BLOCK * width):
        some = zero
        for i in range(start, min(start + BLOCK * width, whole), width):
            if read:
                narrow = load(u, i)
                some += wide(narrow)
                sizes += magnitude(narrow)
                one = larger(load(log_h, i), one)
                if far:
                    fetch(log_h, i + SOON)
                    fetch(u, i + SOON)
            if write:
                j = around(i + turned, whole)
                if past:
                    j += begin
                    if j <= final:  # there may be one vector less
                        store_past(out, j, slopes(like, log_h_before, u_before, j, shares))
                else:
                    store(out, j, slopes(like, log_h_before, u_before, j, shares))
        sums, rests = summed(sums, rests, some)
    if write:
        put_ends(like, out, edge, n, begin, final, past)
    if not read:
        return 0.0, 0.0, 0.0
    if n % width:
        narrow = load(u, n - width)
        sums, rests = summed(sums, rests, last_lanes(wide(narrow), n % width, zero))
        sizes += magnitude(narrow)
        one = larger(load(log_h, n - width), one)
    top, _ = two_largest(one, one)
    return total(sums) + total(rests), np.float64(total(sizes)), np.float64(top)


@compiled()
def log_softmax_rows_in_single(
    like: Any, log_h: Any, ho: int, hi: int, u: Any, uo: int, ui: int, out: Any, oo: int, oi: int, inner: int, n: int,
    first_row: int, last_row: int, far: bool, past: bool, work: Any,
) -> None:  # fmt: skip
    """Each row's sum is formed while the row before is written."""
    share, at_k, k = 0.0, 0.0, -1
    waiting = False
    log_h_before, u_before, target_before = log_h, u, out
    outer, place = first_row // inner, first_row % inner
    for r in range(first_row, last_row + 1):
        read = r < last_row
        row, other, target = log_h_before, u_before, target_before
        if read:
            row, other, target = rows_at(log_h, ho, hi, u, uo, ui, out, oo, oi, outer, place)
            if past:
                ask_for_ends(n, target)
        whole, size, top = sum_and_write(
            like, n, row, other, read, far, log_h_before, u_before, share, target_before, waiting, past, work
        )  # fmt: skip
        if waiting and k >= 0:
            put(target_before, k, at_k)
        waiting, k = read and top > -np.inf, -1
        if waiting:
            rest = 0.0
            if top > NEARLY_HALF or not abs(whole) * SURE >= size:
                whole, rest = whole_sum(like, other, n, work)
            if top > NEARLY_HALF:
                k = 0
                while get(row, k) != top:
                    k += 1
                at_k = -((whole - np.float64(get(other, k))) + rest) - (whole + rest) * math.expm1(top)
            share = -(whole + rest)
        elif read:  # wholly masked
            for i in range(n):
                put(target, i, 0.0)
        log_h_before, u_before, target_before = row, other, target
        outer, place = place_after(outer, place, inner)
