"""Three rows at once: the exponentials of one, meanwhile the largest logits of the next, and the result of the one before.

The exponentials keep the multipliers busy, the other two wait for memory; and what a row ends with (sums across lanes, a division)
nothing has to wait for if the next one has begun. The steps are those of long_rows.py, with the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.exact_sum import BLOCK, added_by_largest, fixed_point, sum_of
from backproof.kernels.cpu.exponential import LOWEST, exponentials
from backproof.kernels.cpu.integers import add_bits, bits, total_bits
from backproof.kernels.cpu.lanes import (
    every,
    every_narrow,
    fetch,
    is_double,
    lanes_of,
    larger,
    last_lanes,
    smaller,
    store_past,
    two_largest,
)  # fmt: skip
from backproof.kernels.cpu.quotient import scaled
from backproof.kernels.cpu.streams import whole_lines
from backproof.kernels.rows import load, load_wide, store, total, wide

INFINITY = np.inf
SOON = 2048  # numbers that are asked for before they are needed


@compiled()
def three_rows(
    like: Any, n: int, x: Any, top: float, second: float, place: int, e: Any, keep: bool, following: Any,
    before: Any, share: float, rest: float, out: Any, write: bool, past: bool,
) -> tuple[float, float, float, float, int, float]:  # fmt: skip
    """s, the sum of x's exponentials but the largest, to e if `keep`; `top_of` the following row; `write`: `before` scaled to out.

    s comes by exact_sum.py, and in double precision with what its rounding took. `before`: the exponentials of an earlier row.
    """
    width = lanes_of(like)
    tops = every(like, top)
    high, low = fixed_point(total(exponentials(like, every(like, second), tops)) / width)
    highs, lows = every(like, high), every(like, low)
    extra, fine_extra = added_by_largest(high, low)
    upper, lower, fine_upper, fine_lower = 0, 0, 0, 0
    lowest, zero = every_narrow(like, -INFINITY), every_narrow(like, 0.0)
    next_top, next_second, next_place, strange = -INFINITY, -INFINITY, 0, 0.0
    shares, rests = every(like, share), every(like, rest)
    begin, final = 0, n - width
    if write:  # the ends first: of what overlaps, the second number written is the same
        store(out, n - width, scaled(like, load_wide(before, n - width, x), shares, rests))
        if past:
            store(out, 0, scaled(like, load_wide(before, 0, x), shares, rests))
            begin, final = whole_lines(like, out, n, width)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        count, fine = every(like, 0.0), every(like, 0.0)
        one, two, lost = lowest, lowest, zero
        for i in range(start, stop - width + 1, width):
            row = exponentials(like, wide(load(x, i)), tops)
            if keep:
                store(e, i, row)
            raised = row + highs
            count = add_bits(count, raised)
            if is_double(like):
                fine = add_bits(fine, (row - (raised - highs)) + lows)
            logits = load(following, i)
            two = larger(smaller(logits, one), two)
            one = larger(logits, one)
            lost += logits * 0.0
            fetch(following, i + SOON)
            if write:
                if past:
                    j = min(begin + i, final)
                    store_past(out, j, scaled(like, load_wide(before, j, x), shares, rests))
                else:
                    store(out, i, scaled(like, load_wide(before, i, x), shares, rests))
        left, known = (stop - start) % width, 0
        if left > 0:
            row = exponentials(like, wide(load(x, n - width)), tops)
            if keep:
                store(e, n - width, row)
            row = last_lanes(row, left, every(like, 1.0))
            raised = row + highs
            count = add_bits(count, raised)
            if is_double(like):
                fine = add_bits(fine, (row - (raised - highs)) + lows)
            known = width - left
            logits = load(following, n - width)
            lost += logits * 0.0
            logits = last_lanes(logits, left, lowest)
            two = larger(smaller(logits, one), two)
            one = larger(logits, one)
        numbers = stop - start + known
        known += 1 if place == start else 0
        here = total_bits(count) - numbers * bits(high) - known * extra
        upper += here >> 32
        lower += here & 0xFFFFFFFF
        if is_double(like):
            here = total_bits(fine) - numbers * bits(low) - known * fine_extra
            fine_upper += here >> 32
            fine_lower += here & 0xFFFFFFFF
        m, m2 = two_largest(one, two)
        strange += np.float64(total(lost))
        if m > next_top:
            next_top, next_second, next_place = np.float64(m), max(next_top, np.float64(m2)), start
        else:
            next_second = max(next_second, np.float64(m))
    s, s_low = sum_of(like, high, low, upper, lower, fine_upper, fine_lower)
    if not is_double(like) and second - top < LOWEST:
        s, s_low = 0.0, 0.0
    return s, s_low, next_top, next_second, next_place, strange
