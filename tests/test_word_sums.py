"""The sums of exponentials in two words, each exponential by itself: what they miss of it, against an 80-bit long double."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit, types

from backproof.kernels.compiled import pointer
from backproof.kernels.cpu.registers import every_half, load_half, store_half
from backproof.kernels.cpu.two_words import LANES, two_words_for
from backproof.kernels.cpu.word_sums import COUNT, FIRST, SECOND, THIRD, TO_SECOND, TO_THIRD, UNIT, add_words, units
from tests.test_cpu_kernels import L

pytestmark = [
    pytest.mark.skipif(np.finfo(L).nmant < 63, reason="needs an 80-bit long double as reference"),
    pytest.mark.skipif(not two_words_for(types.float32), reason="single precision is not worked on in two words here"),
]


@njit(types.void(types.float32, types.int64, types.int64, types.int64, types.int64, types.int64, types.boolean))
def _sum_each(like, n, high, low, sums, apart, fine):
    constants = (every_half(like, FIRST), every_half(like, SECOND), every_half(like, THIRD))
    nothing, to = every_half(like, 0.0), pointer(sums, like)
    for i in range(0, n, LANES):
        words = load_half(pointer(high, like), i), load_half(pointer(low, like), i)
        if fine:
            made = add_words((nothing, nothing, nothing), constants, words[0], words[1], True)
        else:
            made = add_words((nothing, nothing, nothing), constants, words[0], words[1], False)
        store_half(to, i, units(made[0], constants[0], 1))
        store_half(to, i + apart, units(made[1], constants[1], 1))
        store_half(to, i + 2 * apart, units(made[2], constants[2], 1))


def summed(high, low, fine):
    """What the three sums hold of each number, in long double."""
    sums = np.zeros((3, len(high)), np.float32)
    _sum_each(np.float32(0), len(high), high.ctypes.data, low.ctypes.data, sums.ctypes.data, len(high), fine)
    first, second, third = sums.view(np.int32).astype(L)
    assert max(abs(first).max(), abs(second).max(), abs(third).max() if fine else 0) * (COUNT + 2) < 2**31
    return ((first * L(TO_SECOND) + second) * L(TO_THIRD) + (third if fine else 0)) * L(UNIT)


def words(exponent, spread):
    """Numbers of this size in two words, the second 2^-spread of the first at most: all kinds, and near powers of two."""
    rng = np.random.default_rng(exponent + 100)
    high = (2.0**exponent * rng.uniform(1, 1.97, 64 * LANES)).astype(np.float32)
    high[::2] = 2.0**exponent * (1 + (rng.integers(0, 2, 32 * LANES) - rng.random(32 * LANES)) * 2.0 ** (1 - spread))
    return high, (high * rng.uniform(-1, 1, len(high)) * 2.0**-spread).astype(np.float32)


@pytest.mark.parametrize("exponent", range(-33, 41))
@pytest.mark.parametrize("spread", [13, 14, 20, 24])
def test_what_two_and_three_sums_miss(exponent, spread):
    high, low = words(exponent, spread)
    exact = high.astype(L) + low
    assert np.abs(summed(high, low, False) - exact).max() <= 1.25 * 2.0**-5
    assert np.abs(summed(high, low, True) - exact).max() <= 1.5 * 2.0**-27
    np.testing.assert_array_less(np.abs(summed(high, low, True) - summed(high, low, False)), 2.0**-4)
