"""Sums of numbers of either sign that do not depend on their order, in double precision, as two words.

As in exact_sum.py, with units that the largest magnitude sets: x + 1.5 2^p for a p beyond it counts x in units of 2^(p-52), and
integers add without rounding; what x loses to the units is counted in the same way in units 2^-52 times as large, at most. What is
dropped then is less than 2^-100 of the largest for each number, and the same in any order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.exact_sum import BLOCK, TWO32, fixed_point
from backproof.kernels.cpu.integers import add_bits, bits, total_bits
from backproof.kernels.cpu.lanes import every, lanes_of, larger, last_lanes, product, two_largest
from backproof.kernels.rows import load, magnitude, total, wide

HUGE = 2.0**1000  # beyond, the units would overflow: numbers are added as they come


@compiled()
def term(h: Any, u: Any, i: int, products: bool, centre: Any) -> Any:
    """h (u - centre), or u."""
    row = wide(load(u, i))
    return product(wide(load(h, i)), row - centre) if products else row


@compiled()
def signed_sum(like: Any, h: Any, u: Any, n: int, products: bool, at: float) -> tuple[float, float]:
    """The sum of h (u - at), or of u, over n numbers, n at least a row's lanes."""
    width = lanes_of(like)
    centre, zero = every(like, at), every(like, 0.0)
    largest, plain = zero, zero
    for i in range(0, n - width + 1, width):
        row = term(h, u, i, products, centre)
        largest = larger(magnitude(row), largest)
        plain += row
    rest = n % width
    if rest:
        row = last_lanes(term(h, u, n - width, products, centre), rest, zero)
        largest = larger(magnitude(row), largest)
        plain += row
    peak, _ = two_largest(largest, largest)
    simple = total(plain)
    if simple - simple != 0.0 or peak > HUGE:  # nan and infinities too
        return simple, 0.0
    high, low = fixed_point(peak)
    high *= 1.5
    highs, lows = every(like, high), every(like, low)
    upper, lower, fine_upper, fine_lower = 0, 0, 0, 0
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        count, fine = zero, zero
        for i in range(start, stop - width + 1, width):
            row = term(h, u, i, products, centre)
            raised = row + highs
            count = add_bits(count, raised)
            fine = add_bits(fine, (row - (raised - highs)) + lows)
        rest, numbers = (stop - start) % width, stop - start
        if rest:
            row = last_lanes(term(h, u, n - width, products, centre), rest, zero)
            raised = row + highs
            count = add_bits(count, raised)
            fine = add_bits(fine, (row - (raised - highs)) + lows)
            numbers += width - rest
        here = total_bits(count) - numbers * bits(high)
        upper += here >> 32
        lower += here & 0xFFFFFFFF
        here = total_bits(fine) - numbers * bits(low)
        fine_upper += here >> 32
        fine_lower += here & 0xFFFFFFFF
    unit, fine_unit = high / 1.5 * 2.0**-52, low / 1.5 * 2.0**-52
    large, small = np.float64(upper) * TWO32, np.float64(lower)
    whole = large + small
    back = whole - large
    rounding = (large - (whole - back)) + (small - back)
    return whole * unit, rounding * unit + (np.float64(fine_upper) * TWO32 + np.float64(fine_lower)) * fine_unit
