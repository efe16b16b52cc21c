"""Sums of a few numbers, rounded once: `math.fsum` is the reference, fractions where it fails."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from numba import njit, types

from backproof.kernels.compiled import pointer
from backproof.kernels.cpu.nearest_sum import PARTS, nearest_sum


@njit(types.float64(types.int64, types.int64, types.int64))
def _summed(x, n, parts):
    return nearest_sum(pointer(x, 1.0), n, pointer(parts, 1.0))


def summed(numbers):
    x, parts = np.array(numbers, dtype=np.float64), np.empty(PARTS)
    return _summed(x.ctypes.data, len(x), parts.ctypes.data)


HALF, TINY = 2.0**-53, 2.0**-1074  # half a unit in the last place of 1; the least number there is
CASES = {
    "nothing": [],
    "one": [0.1],
    "tie to even": [1.0, HALF],
    "tie to even, upwards": [1.0 + 2 * HALF, HALF],
    "just above a tie": [1.0, HALF, TINY],
    "just below a tie": [1.0, HALF, -TINY],
    "above a tie by less than the bound": [1.0, HALF, 2.0**-110],
    "below a tie by less than the bound": [1.0, HALF, -(2.0**-110)],
    "cancellation": [1e16, 1.0, -1e16, 1e-30],
    "to zero": [0.1, 0.2, -0.2, -0.1],
    "all sizes": [2.0**k for k in range(-1070, 1000, 7)],
    "subnormal": [TINY, 3 * TINY, -TINY],
    "alternating": [(-1) ** i * 10.0 ** (i % 40) for i in range(300)],
}


@pytest.mark.parametrize("name", CASES)
def test_is_the_nearest_number(name):
    numbers = CASES[name]
    expected = float(sum(map(Fraction, numbers), Fraction(0)))
    assert math.fsum(numbers) == expected
    assert summed(numbers) == expected


def test_random_sums():
    rng = np.random.default_rng(0)
    for n in rng.integers(1, 600, 2000):
        numbers = rng.exponential(size=n) * 2.0 ** rng.integers(-60, 60, n).astype(float) * rng.choice([1, 1, 1, -1], n)
        assert summed(numbers) == math.fsum(numbers)
        assert summed(abs(numbers)) == math.fsum(abs(numbers))


@pytest.mark.parametrize(("numbers", "expected"), [([1.0, math.inf], math.inf), ([-math.inf, 2.0], -math.inf)])
def test_infinity_stays(numbers, expected):
    assert summed(numbers) == expected


def test_what_is_not_a_number_stays():
    assert math.isnan(summed([1.0, math.nan, 2.0]))
