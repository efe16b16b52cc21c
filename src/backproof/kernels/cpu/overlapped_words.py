"""overlapped.py for exponentials in two words: those of one row, then their sums; meanwhile the extremes of the next row, and the
result of the one before.

A part of a row at a time, its exponentials in the first cache until they are summed. They lie in `e` as `keep` puts them: high
words of a register, low words, and so on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get
from backproof.kernels.cpu.exact_sum import fixed_point
from backproof.kernels.cpu.fitting import MASKED, ends, reduced
from backproof.kernels.cpu.integers import add_bits, total_bits
from backproof.kernels.cpu.lanes import fetch, lanes_of, larger, last_lanes, smaller
from backproof.kernels.cpu.registers import every_half, load_half, same_in, store_half
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.two_words import farthest, in_two_words, misfits, powers_in_words, shift_for, times_share
from backproof.kernels.cpu.word_sums import COUNT, FIRST, SECOND, SURE, SURE_AGAIN, THIRD, add_words, added, units
from backproof.kernels.rows import total, where_equal, wide

PART = 256  # numbers whose exponentials lie in the first cache until they are summed
SOON = 1024  # numbers that are asked for before they are needed


@compiled(late=True)
def kept(e: Any, i: int, lanes: int) -> tuple[Any, Any]:
    """The exponentials of the logits from i on, a multiple of `lanes`: high words, then low ones, then the next."""
    return load_half(e, 2 * i), load_half(e, 2 * i + lanes)


@compiled(late=True)
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


@compiled(late=True)
def first_part(
    before: Any, x: Any, e: Any, following: Any, start: int, stop: int, last: int, lanes: int, tops: Any, bound: Any, nothing: Any,
    shift: Any, masked: bool,
) -> Any:  # fmt: skip
    """The exponentials of a part, their first halves a register ahead of the second: chains half as long are waited for."""
    (r, rest, power), reach, high_end, low_end = before
    for i in range(start, stop, lanes):
        high, low = powers_in_words(r, rest, power)
        r, rest, power, shifted = reduced(load_half(x, min(i + lanes, last)), tops, bound, nothing, shift, masked)
        reach = farthest(reach, shifted)
        keep(e, i, lanes, high, low)
        logits = load_half(following, i)
        high_end, low_end = larger(logits, high_end), smaller(logits, low_end)
        if i % (2 * lanes) == 0:
            fetch(following, i + SOON)
    return (r, rest, power), reach, high_end, low_end


@compiled(late=True)
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
def others_alone(like: Any, e: Any, n: int, largest: float, bound: float) -> float:
    """The sum of all exponentials but the largest, which is one, by exact_sum.py; it is less than twice the bound."""
    lanes = lanes_of(like) // 2
    high, _ = fixed_point(bound)
    whole, left = n // lanes * lanes, n % lanes
    row = wide(every_half(like, 0.0))
    count, nothing, highs, largests = row, row, same_in(row, high), same_in(row, largest)
    for i in range(0, n, lanes):
        first, second = kept(e, i, lanes)
        row = wide(first) + wide(second)
        row = where_equal(row, largests, nothing, row)
        if i == whole:
            row = last_lanes(row, left, nothing)
        count = add_bits(count, row + highs)
    times = (n + lanes - 1) // lanes
    return np.float64(total_bits(units(count, highs, times))) * (high * 2.0**-52)


@compiled()
def three_rows(
    like: Any, n: int, x: Any, top: float, least: float, e: Any, fine: bool, alone: bool, following: Any, before: Any,
    share: float, out: Any, write: bool,
) -> tuple[float, float, float, float, bool]:  # fmt: skip
    """The sum of x's exponentials but the largest, that one, the following row's `extremes`, and whether x fits.

    The exponentials go to e; `write`: `before`, those of an earlier row, times share to out. `fine`: with the
    third sum. If the others' sum is wanted `alone` it has all its digits, however small it is, or x does not fit.
    """
    lanes = lanes_of(like) // 2
    tops, bound, nothing = every_half(like, top), every_half(like, top - MASKED), every_half(like, 0.0)
    shift, masked = shift_for(tops), least < narrowed(top - MASKED)
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    constants = (every_half(like, FIRST), every_half(like, SECOND), every_half(like, THIRD))
    sums = (nothing, nothing, nothing)
    ones, seconds, thirds, times = 0, 0, 0, 0
    left, whole, last = n % lanes, n // lanes * lanes, n - lanes
    if write and left > 0:  # of what overlaps, the second number written is the same
        high, low = kept(before, whole, lanes)
        store_half(out, n - lanes, times_share(high, low, shares, rests))
    r, rest, power, shifted = reduced(load_half(x, 0), tops, bound, nothing, shift, True)
    end = load_half(following, last)
    state = ((r, rest, power), farthest(nothing, shifted), end, end)
    for start in range(0, whole, PART):
        stop = min(start + PART, whole)
        if masked:
            state = first_part(state, x, e, following, start, stop, last, lanes, tops, bound, nothing, shift, True)
        else:
            state = first_part(state, x, e, following, start, stop, last, lanes, tops, bound, nothing, shift, False)
        if fine:
            sums = second_part(sums, constants, True, e, start, stop, lanes, before, shares, rests, out, write)
        else:
            sums = second_part(sums, constants, False, e, start, stop, lanes, before, shares, rests, out, write)
        times += (stop - start) // lanes
        if stop == whole and left > 0:
            high, low = powers_in_words(*state[0])  # of the last register, which was the next
            keep(e, whole, lanes, high, low)
            sums = add_words(sums, constants, last_lanes(high, left, nothing), last_lanes(low, left, nothing), fine)
            times += 1
        if times >= COUNT or stop == whole:
            ones += total_bits(units(sums[0], constants[0], times))
            seconds += total_bits(units(sums[1], constants[1], times))
            if fine:
                thirds += total_bits(units(sums[2], constants[2], times))
            sums = (nothing, nothing, nothing)
            times = 0
    high, low, _ = in_two_words(every_half(like, top), shift)
    sums = add_words((nothing, nothing, nothing), constants, high, low, fine)
    ones -= total_bits(units(sums[0], constants[0], 1)) // lanes
    seconds -= total_bits(units(sums[1], constants[1], 1)) // lanes
    if fine:
        thirds -= total_bits(units(sums[2], constants[2], 1)) // lanes
    largest = (total(wide(high)) + total(wide(low))) / lanes
    next_top, next_least = ends(state[2], state[3])
    others = added(np.float64(ones), np.float64(seconds), np.float64(thirds))
    fit = misfits(state[1]) == 0
    if alone and fit and others < largest * (n * SURE):
        least_sure = largest * (n * SURE_AGAIN)
        others = others_alone(like, e, n, largest, max(others, least_sure))
        fit = others >= least_sure
    return others, largest, next_top, next_least, fit
