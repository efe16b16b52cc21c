"""overlapped.py for exponentials in two words: those of one row and their sums; meanwhile the extremes of the next row, and the
result of the one before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.exact_sum import fixed_point
from backproof.kernels.cpu.fitting import MASKED, ends
from backproof.kernels.cpu.integers import add_bits, first_bits, total_bits
from backproof.kernels.cpu.kept_words import NEXT, RESULT, apart, end_place, keep, kept, write_ends
from backproof.kernels.cpu.lanes import at, first_lane, first_lanes, lanes_of, larger, last_lanes, smaller, store_lanes, store_past
from backproof.kernels.cpu.registers import every_half, hold, load_half, same_in
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.streams import first_line, turn, whole_lines
from backproof.kernels.cpu.two_words import in_two_words, misfits, powers_in_words, shift_for, times_share
from backproof.kernels.cpu.word_parts import PART, begun_at, part
from backproof.kernels.cpu.word_sums import COUNT, FIRST, SECOND, SURE, SURE_AGAIN, SURE_BY_TWO, THIRD, add_words, added, units
from backproof.kernels.rows import where_equal, wide


@compiled()
def others_alone(like: Any, e: Any, n: int, largest: float, bound: float) -> float:
    """The sum of all exponentials but the largest, which is one, by exact_sum.py; it is less than twice the bound."""
    lanes = lanes_of(like) // 2
    high, _ = fixed_point(bound)
    whole, left = n // lanes * lanes, n % lanes
    row = wide(every_half(like, 0.0))
    count, nothing, highs, largests = row, row, same_in(row, high), same_in(row, largest)
    for i in range(0, n, lanes):
        first, second = kept(e, i if i < whole else end_place(n, lanes), apart(like, n))
        row = wide(first) + wide(second)
        row = where_equal(row, largests, nothing, row)
        if i == whole:
            row = last_lanes(row, left, nothing)
        count = add_bits(count, row + highs)
    times = (n + lanes - 1) // lanes
    return np.float64(total_bits(units(count, highs, times))) * (high * 2.0**-52)


@compiled()
def third_sum(like: Any, e: Any, n: int, constants: Any, nothing: Any) -> int:
    """The third of the sums of word_sums.py, for a row that was worked on without."""
    lanes, low_place = lanes_of(like) // 2, apart(like, n)
    whole, left = n // lanes * lanes, n % lanes
    thirds = 0
    for start in range(0, whole, COUNT * lanes):
        stop = min(start + COUNT * lanes, whole)
        sums = (nothing, nothing, nothing)
        for i in range(start, stop, lanes):
            high, low = kept(e, i, low_place)
            sums = add_words(sums, constants, high, low, True)
        thirds += total_bits(units(sums[2], constants[2], (stop - start) // lanes))
    if left > 0:
        high, low = kept(e, end_place(n, lanes), low_place)
        high, low = last_lanes(high, left, nothing), last_lanes(low, left, nothing)
        sums = add_words((nothing, nothing, nothing), constants, high, low, True)
        thirds += total_bits(units(sums[2], constants[2], 1))
    return thirds


@compiled(late=True)
def some_extremes(following: Any, n: int, lanes: int) -> tuple[Any, Any]:
    """Of the vectors that may not be looked through with those of this row: the first one, and the last two."""
    high = low = load_half(following, n - lanes)
    for i in (0, max(n - 2 * lanes, 0)):
        high, low = larger(load_half(following, i), high), smaller(load_half(following, i), low)
    return high, low


@compiled(late=True)  # a call takes some 50 instructions each way, for every row
def three_rows(
    like: Any, n: int, x: Any, begin: int, top: float, least: float, e: Any, fine: bool, alone: bool, following: Any, before: Any,
    share: float, out: Any, write: bool, in_place: bool, past: bool, twice: bool,
) -> tuple[float, float, float, float, bool, bool]:  # fmt: skip
    """The sum of x's exponentials but the largest, that one, the following row's `extremes`, whether x fits, and whether two sums
    were too few.

    The exponentials go to e, in vectors from number `begin` on; `write`: `before`, those of an earlier row, times share to out;
    `in_place`: they are where e is, or just behind it. `fine`: the third sum is made on the way. `twice`: the exponentials are
    not kept, but computed again by `write_again`; e has room for a part of them, and a third sum that is needed is not made later.
    If the others' sum is wanted `alone` it has all its digits, however small it is, or x does not fit.
    """
    lanes = lanes_of(like) // 2
    tops, bound, nothing = every_half(like, top), every_half(like, top - MASKED), every_half(like, 0.0)
    shift, masked = shift_for(tops), least < narrowed(top - MASKED)
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    constants = (hold(every_half(like, FIRST)), hold(every_half(like, SECOND)), hold(every_half(like, THIRD)))
    sums = (nothing, nothing, nothing)
    ones, seconds, thirds, times = 0, 0, 0, 0
    left, whole, low_place = (n - begin) % lanes, (n - begin) // lanes * lanes, apart(like, PART + lanes if twice else n)
    whole_x, whole_e = at(x, begin), at(e, begin)
    row = (whole_x, whole_e, low_place, n - begin - lanes, tops, bound, nothing, shift)
    first, final = 0, 0
    if write:
        first, final = write_ends(like, before, n, shares, rests, out, past)
        if final - first >= whole:  # one vector more than there are of this row
            high, low = kept(before, final, low_place)
            store_past(out, final, times_share(high, low, shares, rests))
    reach = nothing
    if begin > 0:
        begun, reach = begun_at(-begin, reach, row, masked)
        high, low = powers_in_words(*begun)
        store_lanes(e, 0, high, 0, begin)
        store_lanes(e, low_place, low, 0, begin)
        sums = add_words(sums, constants, first_lanes(high, begin, nothing), first_lanes(low, begin, nothing), fine)
        times = 1
    whole_next = at(following, min(first_line(like, following), n - whole))
    ahead = (whole_next, turn(like, whole_x, NEXT, whole_next, whole, lanes), whole)
    whole_out = at(out, first)
    turned = 0 if in_place else turn(like, whole_x, RESULT, whole_out, whole, lanes)
    writing = (at(before, first), shares, rests, whole_out, final - first, turned, at(whole_e, whole + lanes))
    begun, reach = begun_at(0, reach, row, masked)
    high_end, low_end = some_extremes(following, n, lanes)
    state = (begun, reach, high_end, low_end)
    for start in range(0, whole, PART):
        stop = min(start + PART, whole)
        if twice:
            whole_e = at(e, begin - start)
        row = (whole_x, whole_e, low_place, n - begin - lanes, tops, bound, nothing, shift)
        state, sums = part(state, sums, row, ahead, writing, constants, start, stop, lanes, masked, fine, write, past)
        times += (stop - start) // lanes
        if stop == whole and left > 0:
            high, low = powers_in_words(*state[0])  # of the last register, which was the next
            keep(whole_e, end_place(n - begin, lanes), low_place, high, low)
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
    sums = add_words((nothing, nothing, nothing), constants, high, low, True)
    ones -= first_bits(units(sums[0], constants[0], 1))
    seconds -= first_bits(units(sums[1], constants[1], 1))
    largest = np.float64(first_lane(high)) + np.float64(first_lane(low))
    next_top, next_least = ends(state[2], state[3])
    others = added(np.float64(ones), np.float64(seconds), 0.0)
    needed = (others if alone else others + largest) < largest * (n * SURE_BY_TWO)
    if needed:
        if not (fine or twice):
            thirds = third_sum(like, e, n, constants, nothing)
        thirds -= first_bits(units(sums[2], constants[2], 1))
        others = added(np.float64(ones), np.float64(seconds), np.float64(thirds))
    fit = misfits(state[1], masked) == 0
    if alone and fit and others < largest * (n * SURE):
        least_sure = largest * (n * SURE_AGAIN)
        if not twice:
            others = others_alone(like, e, n, largest, max(others, least_sure))
        fit = others >= least_sure and not twice
    return others, largest, next_top, next_least, fit, needed


@compiled(late=True)
def share_at(i: int, row: Any, shares: Any, rests: Any, masked: bool) -> Any:
    begun, _ = begun_at(i, row[6], row, masked)
    high, low = powers_in_words(*begun)
    return times_share(high, low, shares, rests)


@compiled()
def write_again(like: Any, x: Any, n: int, top: float, least: float, share: float, out: Any) -> None:
    """The exponentials of a row that fits, computed again, times share to `out`, past the caches."""
    lanes = lanes_of(like) // 2
    tops, bound, nothing = every_half(like, top), every_half(like, top - MASKED), every_half(like, 0.0)
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    masked = least < narrowed(top - MASKED)
    row = (x, x, 0, 0, tops, bound, nothing, shift_for(tops))
    begin, final = whole_lines(like, out, n, lanes)
    store_lanes(out, 0, share_at(0, row, shares, rests, True), 0, begin)
    store_lanes(out, n - lanes, share_at(n - lanes, row, shares, rests, True), final + 2 * lanes - n, lanes)
    if masked:
        for i in range(begin, final + 1, lanes):
            store_past(out, i, share_at(i, row, shares, rests, True))
    else:
        for i in range(begin, final + 1, lanes):
            store_past(out, i, share_at(i, row, shares, rests, False))
