"""in_turn.py for single precision and vectors of 256 bits: exponentials in two words.

Of a row in hand the exponentials are found, some at a time, then their sums; meanwhile the largest logit of the next row, and the
result of the one before. Rows that do not fit (two_words.py), whose others are too small beside the largest (word_sums.py), or
whose weight would make of low words subnormal numbers, go by in_turn.py: with them all that follow and are like them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import address, by_type, compiled, get, pointer, put
from backproof.kernels.cpu.exponential import log1p
from backproof.kernels.cpu.in_turn import KEPT, gradient_rows, value_rows
from backproof.kernels.cpu.lanes import at, every, every_narrow, fetch, lanes_of, larger, last_lanes, two_largest
from backproof.kernels.cpu.limits import LOG_SOFTMAX, SOFTMAX
from backproof.kernels.cpu.long_rows import write_logs
from backproof.kernels.cpu.panels import offset_of
from backproof.kernels.cpu.quotient import label_slope
from backproof.kernels.cpu.registers import every_half, load_half, store_half
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.two_words import (
    FARTHEST,
    farthest,
    in_two_words,
    misfits,
    powers_in_words,
    reduced_words,
    shift_for,
    times_share,
    two_words_for,
)
from backproof.kernels.cpu.word_sums import COUNT, FEW, FIRST, SECOND, SURE, THIRD, add_words, added, units_in_all
from backproof.kernels.rows import load, total, wide

INFINITY = np.inf
PART = 256  # numbers whose exponentials lie in the first cache until they are summed
SOON = 1024  # numbers that are asked for before they are needed
LIGHTEST = 2.0**-40  # times n: a weight with which no result is so small that its low word's product has too few digits


@compiled()
def largest_of(like: Any, x: Any, n: int) -> float:
    width = lanes_of(like)
    one = load(x, n - width)
    for i in range(0, n - width + 1, width):
        one = larger(load(x, i), one)
    top, _ = two_largest(one, one)
    return np.float64(top)


@compiled()
def fits(like: Any, x: Any, n: int) -> bool:
    """Whether three_rows would find that the row fits."""
    top = largest_of(like, x, n)
    if not abs(top) < FARTHEST:
        return False
    width = lanes_of(like)
    shift, reach = shift_for(every_narrow(like, top)), every_narrow(like, 0.0)
    for i in range(0, n - width + 1, width):
        reach = farthest(reach, in_two_words(load(x, i), shift)[2])
    reach = farthest(reach, in_two_words(load(x, n - width), shift)[2])
    return misfits(reach) == 0


@compiled(inline=True)
def kept(e: Any, i: int, lanes: int) -> tuple[Any, Any]:
    """The exponentials of the logits from i on, a multiple of `lanes`: high words, then low ones, then the next."""
    return load_half(e, 2 * i), load_half(e, 2 * i + lanes)


@compiled(inline=True)
def keep(e: Any, i: int, lanes: int, high: Any, low: Any) -> None:
    store_half(e, 2 * i, high)
    store_half(e, 2 * i + lanes, low)


@compiled()
def one_kept(like: Any, e: Any, i: int, n: int) -> float:
    """The exponential of logit number i; those that do not fill a register come last, behind others that come once more."""
    lanes = lanes_of(like) // 2
    whole = n // lanes * lanes
    place = i // lanes * lanes + i if i < whole else 2 * whole + lanes + i - n
    return np.float64(get(e, place)) + np.float64(get(e, place + lanes))


@compiled()
def write_row(like: Any, e: Any, n: int, share: float, out: Any) -> None:
    """The exponentials times share to `out`."""
    lanes = lanes_of(like) // 2
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    if n % lanes:
        high, low = kept(e, n // lanes * lanes, lanes)
        store_half(out, n - lanes, times_share(high, low, shares, rests))
    for i in range(0, n - lanes + 1, lanes):
        high, low = kept(e, i, lanes)
        store_half(out, i, times_share(high, low, shares, rests))


@compiled(inline=True)
def second_part(
    sums: Any, constants: Any, fine: bool, e: Any, start: int, stop: int, lanes: int, before: Any, shares: Any, rests: Any,
    out: Any, write: bool,
) -> Any:  # fmt: skip
    """The exponentials of a part to the sums; the same part of the row before is written."""
    if write:
        for i in range(start, stop, lanes):
            high, low = kept(e, i, lanes)
            sums = add_words(sums, constants, high, low, fine)
            high, low = kept(before, i, lanes)
            store_half(out, i, times_share(high, low, shares, rests))
    else:
        for i in range(start, stop, lanes):
            high, low = kept(e, i, lanes)
            sums = add_words(sums, constants, high, low, fine)
    return sums


@compiled()
def three_rows(
    like: Any, n: int, x: Any, top: float, e: Any, fine: bool, following: Any, before: Any, share: float, out: Any, write: bool
) -> tuple[float, float, float, bool]:  # fmt: skip
    """The sum of x's exponentials but the largest, that one, the largest logit of the following row, and whether x fits.

    The exponentials go to e; `write`: `before`, those of an earlier row, times share to out.
    """
    lanes = lanes_of(like) // 2
    shift, nothing = shift_for(every_half(like, top)), every_half(like, 0.0)
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    constants = (every_half(like, FIRST), every_half(like, SECOND), every_half(like, THIRD))
    one = every_half(like, -INFINITY)
    sums = (nothing, nothing, nothing)
    ones, seconds, thirds, times = 0, 0, 0, 0
    left, whole, last = n % lanes, n // lanes * lanes, n - lanes
    if write and left > 0:  # of what overlaps, the second number written is the same
        high, low = kept(before, whole, lanes)
        store_half(out, n - lanes, times_share(high, low, shares, rests))
    r, rest, power, reach = reduced_words(load_half(x, 0), shift)
    reach = farthest(nothing, reach)
    for start in range(0, whole, PART):
        stop = min(start + PART, whole)
        for i in range(start, stop, lanes):
            high, low = powers_in_words(r, rest, power)
            r, rest, power, shifted = reduced_words(load_half(x, min(i + lanes, last)), shift)  # a register ahead
            reach = farthest(reach, shifted)
            keep(e, i, lanes, high, low)
            one = larger(load_half(following, i), one)
            if i % (2 * lanes) == 0:
                fetch(following, i + SOON)
        if fine:
            sums = second_part(sums, constants, True, e, start, stop, lanes, before, shares, rests, out, write)
        else:
            sums = second_part(sums, constants, False, e, start, stop, lanes, before, shares, rests, out, write)
        times += (stop - start) // lanes
        if stop == whole and left > 0:
            high, low, shifted = in_two_words(load_half(x, n - lanes), shift)
            keep(e, whole, lanes, high, low)
            reach = farthest(reach, shifted)
            one = larger(load_half(following, n - lanes), one)
            sums = add_words(sums, constants, last_lanes(high, left, nothing), last_lanes(low, left, nothing), fine)
            times += 1
        if times >= COUNT or stop == whole:
            ones += units_in_all(sums[0], constants[0], times)
            seconds += units_in_all(sums[1], constants[1], times)
            if fine:
                thirds += units_in_all(sums[2], constants[2], times)
            sums = (nothing, nothing, nothing)
            times = 0
    high, low, _ = in_two_words(every_half(like, top), shift)
    sums = add_words((nothing, nothing, nothing), constants, high, low, fine)
    ones -= units_in_all(sums[0], constants[0], 1) // lanes
    seconds -= units_in_all(sums[1], constants[1], 1) // lanes
    if fine:
        thirds -= units_in_all(sums[2], constants[2], 1) // lanes
    largest = (total(wide(high)) + total(wide(low))) / lanes
    next_top, _ = two_largest(one, one)
    others = added(np.float64(ones), np.float64(seconds), np.float64(thirds))
    return others, largest, np.float64(next_top), misfits(reach) == 0


@compiled()
def words(like: Any, work: Any, n: int) -> tuple[Any, Any]:
    """Where the exponentials of two rows lie, as numbers of T."""
    e = pointer(address(work), like)
    return e, at(e, 2 * (n + 2 * lanes_of(like)))


@compiled()
def value_rows_in_two_words(
    like: Any, kind: int, x: Any, inner: int, xo: int, xi: int, out: Any, out_inner: int, oo: int, oi: int,
    weights: Any, weighted: bool, n: int, first: int, last: int, past: bool, work: Any,
) -> None:  # fmt: skip
    """in_turn.value_rows."""
    if n > KEPT:
        value_rows(like, kind, x, inner, xo, xi, out, out_inner, oo, oi, weights, weighted, n, first, last, past, work)
        return
    e, before = words(like, work, n)
    fine = kind != SOFTMAX or n > FEW
    target_before, top, share = out, 0.0, 0.0
    known = waiting = False
    r = first
    while r < last:
        row = at(x, offset_of(r, inner, xo, xi))
        weight = get(weights, r) if weighted else 1.0
        if not known:
            top = largest_of(like, row, n)
        known = fit = abs(top) < FARTHEST and abs(weight) >= n * LIGHTEST
        others, largest, here = 0.0, 0.0, top
        if fit:
            following = at(x, offset_of(min(r + 1, last - 1), inner, xo, xi))
            others, largest, top, fit = three_rows(like, n, row, top, e, fine, following, before, share, target_before, waiting)
            fit = fit and (kind == SOFTMAX or others >= largest * (n * SURE))
        elif waiting:
            write_row(like, before, n, share, target_before)
        waiting = False
        if not fit:
            start, r, known = r, r + 1, False
            while r < last and not fits(like, at(x, offset_of(r, inner, xo, xi)), n):
                r += 1
            value_rows(like, kind, x, inner, xo, xi, out, out_inner, oo, oi, weights, weighted, n, start, r, past, work)
            continue
        target = at(out, offset_of(r, out_inner, oo, oi))
        if kind == SOFTMAX:
            share, waiting, target_before = weight / (others + largest), True, target
            e, before = before, e
        elif kind == LOG_SOFTMAX:
            write_logs(like, row, n, here, others / largest, target)
        else:
            put(target, 0, here + total(log1p(like, every(like, others / largest))) / lanes_of(like))
        r += 1
    if waiting:
        write_row(like, before, n, share, target_before)


@compiled()
def gradient_rows_in_two_words(
    like: Any, x: Any, xi: int, out: Any, oi: int, write: bool, labels: Any, weights: Any, weighted: bool, weights_step: int,
    ignored: int, losses: Any, n: int, count: int, past: bool, work: Any,
) -> None:  # fmt: skip
    """in_turn.gradient_rows."""
    if n > KEPT:
        gradient_rows(
            like, x, xi, out, oi, write, labels, weights, weighted, weights_step, ignored, losses, n, count, past, work
        )  # fmt: skip
        return
    e, before = words(like, work, n)
    target_before, top, share, slope, label_before = out, 0.0, 0.0, 0.0, 0
    known = waiting = False
    r = 0
    while r < count:
        row, label = at(x, r * xi), get(labels, r)
        weight = get(weights, r * weights_step) if weighted else 1.0
        fit = label != ignored and (weight == 0.0 or abs(weight) >= n * LIGHTEST)
        if fit and not known:
            top = largest_of(like, row, n)
        known = fit = fit and abs(top) < FARTHEST
        others, largest, here = 0.0, 0.0, top
        if fit:
            following = at(x, min(r + 1, count - 1) * xi)
            others, largest, top, fit = three_rows(like, n, row, top, e, True, following, before, share, target_before, waiting)
            fit = fit and others >= largest * (n * SURE)
        elif waiting:
            write_row(like, before, n, share, target_before)
        if waiting and label_before >= 0:
            put(target_before, label_before, slope)
        waiting = False
        if not fit:
            start, r, known = r, r + 1, False
            while r < count and (get(labels, r) == ignored or not fits(like, at(x, r * xi), n)):
                r += 1
            gradient_rows(
                like, at(x, start * xi), xi, at(out, start * oi), oi, write, at(labels, start), at(weights, start * weights_step),
                weighted, weights_step, ignored, at(losses, start), n, r - start, past, work,
            )  # fmt: skip
            continue
        z = np.float64(get(row, label))
        put(losses, r, total(log1p(like, every(like, others / largest))) / lanes_of(like) - (z - here))
        if write:
            share, waiting, target_before = weight / (others + largest), True, at(out, r * oi)
            slope = label_slope(others, one_kept(like, e, label, n), z - here, weight, share, 0.0)
            label_before = label if weight != 0.0 else -1  # with no weight there is no slope, -0 neither
            e, before = before, e
        r += 1
    if waiting:
        write_row(like, before, n, share, target_before)
        if label_before >= 0:
            put(target_before, label_before, slope)


value_rows_of = by_type(lambda like: value_rows_in_two_words if two_words_for(like) else value_rows)
gradient_rows_of = by_type(lambda like: gradient_rows_in_two_words if two_words_for(like) else gradient_rows)
