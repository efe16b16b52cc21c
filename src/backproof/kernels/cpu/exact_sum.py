"""Sums of exponentials that do not depend on their order: numbers with a fixed point, added as integers.

Let e_2 be the second largest exponential of a row, the largest being 1, and 2^(K-1) <= e_2 < 2^K. For every e <= e_2 the sum
e + 2^(K+1) has that exponent: read as an integer, it is a constant plus e in units of 2^(K-51). Integers are added without
rounding, so the sum of these is the same in every order, and e_2 >= 2^50 units. The largest exponential takes part like the
others; what it has added is known (it is exactly 1) and is taken away again, which modulo 2^64 is exact too, however small the
others are. What stays is s, the sum of the others, to a relative accuracy of n 2^-51 at worst, confident row or not.

In double precision that is not enough: there, what e loses to the units is added up in the same way in units of 2^(K-102).

2048 numbers below 2^51 units stay below 2^62; after as many a sum is put away in two parts of 32 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.integers import bits, from_bits
from backproof.kernels.cpu.lanes import is_double

BLOCK = 2048
TWO32 = 4294967296.0


@compiled()
def fixed_point(second: float) -> tuple[float, float]:
    """2^(K+1), and 1.5 times the power of two whose last digit is 2^(K-102) (or the smallest there is)."""
    exponent = bits(second) >> 52
    return from_bits((exponent + 2) << 52), from_bits((max(exponent - 49, 1) << 52) | (1 << 51))


@compiled()
def added_by_largest(high: float, low: float) -> tuple[int, int]:
    """What an exponential of exactly 1 adds beyond the constants."""
    raised = 1.0 + high
    return bits(raised) - bits(high), bits((1.0 - (raised - high)) + low) - bits(low)


@compiled()
def sum_of(
    like: Any, high: float, low: float, upper: int, lower: int, fine_upper: int, fine_lower: int
) -> tuple[float, float]:  # fmt: skip
    """(upper 2^32 + lower) units and, in double precision, the same of the fine units: rounded (nearly) once, and the rest."""
    unit = high * 2.0**-52
    large, small = np.float64(upper) * TWO32, np.float64(lower)
    if not is_double(like):
        return (large + small) * unit, 0.0
    whole = large + small
    back = whole - large
    rest = (large - (whole - back)) + (small - back)
    fine = (np.float64(fine_upper) * TWO32 + np.float64(fine_lower)) * (low / 1.5 * 2.0**-52 / unit)
    rest += fine
    high_part = whole + rest
    return high_part * unit, (rest - (high_part - whole)) * unit
