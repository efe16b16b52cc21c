"""Exponentials of numbers in two words, to 2^-124: for the few rows where what is left of a sum is far smaller than its terms.

    exp(y) = 2^(m/512) exp(r),   r = y - m ln(2)/512,   |r| <= ln(2)/1024

The powers of two stand in a table, in three words; r is exact in three words, as ln(2)/512 is cut into four, the first three so
short that their products with m are exact; exp(r) = 1 + r + r^2 (1/2 + r/6 + ...), the series in two words. What is returned are
the terms of which exp(y) is the sum: nothing is rounded away that the sum of several exponentials needs. Sources: Dekker, Numer.
Math. 18, 1971 (two_product); Tang, ACM TOMS 15, 1989 (the table).

Nothing but additions and products of doubles, so that the functions work on numbers and arrays alike, and can be compiled.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from backproof.arrays import Array

STEPS = 512
PER_NUMBER = STEPS / math.log(2.0)
ROUNDER = 6755399441055744.0  # 1.5 * 2^52
LEAST = -745.0  # below, exp is less than half the smallest number there is
ERROR = 2.0**-121  # of a sum of exponentials that is about 1, with room for the roundings of a million sums


def _cut(value: int, scale: int, digits: list[int]) -> list[float]:
    """value / 2^scale as words of so many digits."""
    words = []
    for number in digits:
        drop = max(value.bit_length() - number, 0)
        part = (abs(value) + (1 << drop >> 1)) >> drop << drop
        part = part if value >= 0 else -part
        words.append(math.ldexp(float(part), -scale))
        value -= part
    return words


def _powers() -> Array:
    """2^(j/512), j from 0 on, in three words, from integers with 240 digits after the point."""
    scale = 240
    root = 2 << scale
    for _ in range(9):
        root = math.isqrt(root << scale)
    table, value = np.empty((3, STEPS)), 1 << scale
    for j in range(STEPS):
        table[:, j] = _cut(value, scale, [53, 53, 53])
        value = value * root >> scale
    return table


def _ln2() -> int:
    """ln(2) 2^240 = sum over i of 2^240 / (i 2^i)."""
    return sum((1 << 260) // (i << i) for i in range(1, 270)) >> 20


def _one_over(n: int) -> tuple[float, float]:
    """In two words."""
    return 1 / n, float(Fraction(1, n) - Fraction(1 / n))


SIXTH, SIXTH_LOW = _one_over(6)
TWENTY_FOURTH, TWENTY_FOURTH_LOW = _one_over(24)
HUNDRED_TWENTIETH, HUNDRED_TWENTIETH_LOW = _one_over(120)
POWERS = _powers()
W1, W2, W3, W4 = _cut(_ln2(), 240 + 9, [32, 32, 32, 53])


def two_sum(a: Any, b: Any) -> Any:
    """a + b, and what rounding took (Knuth)."""
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


def two_product(a: Any, b: Any) -> Any:
    """a b, and what rounding took."""
    high = a * b
    big_a, big_b = a * 134217729.0, b * 134217729.0
    a1, b1 = big_a - (big_a - a), big_b - (big_b - b)
    a2, b2 = a - a1, b - b1
    return high, ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2


def times(a: Any, a_low: Any, b: Any, b_low: Any) -> Any:
    """The product of two pairs, to 2^-103."""
    high, low = two_product(a, b)
    return high, low + (a * b_low + a_low * b)


def plus(a: Any, b: Any, b_low: Any) -> Any:
    """A number and a pair, as a pair."""
    high, low = two_sum(a, b)
    return high, low + b_low


def step(y: Any) -> Any:
    """m, as a float."""
    return (y * PER_NUMBER + ROUNDER) - ROUNDER


def remainder(y: Any, y_low: Any, m: Any) -> Any:
    """r in three words; y + y_low is the number, y_low less than half the last place of y."""
    r = y - m * W1  # exact
    r, a = two_sum(r, -(m * W2))
    r, b = two_sum(r, y_low)
    low, lowest = two_sum(a, b)
    low, c = two_sum(low, -(m * W3))
    r, low = two_sum(r, low)
    return r, *two_sum(low, (lowest + c) - m * W4)


def terms(r: Any, r_low: Any, r_lowest: Any, power: Any, power_low: Any, power_lowest: Any) -> Any:
    """Numbers whose sum is (power + ...) exp(r + ...), the larger ones first; 1, 0, 0 where power = 1 and r = 0."""
    series = r * (1 / 3628800) + 1 / 362880
    series = series * r + 1 / 40320
    series = series * r + 1 / 5040
    series = series * r + 1 / 720
    h, h_low = two_sum(HUNDRED_TWENTIETH, r * series)
    h_low = h_low + HUNDRED_TWENTIETH_LOW
    h, h_low = times(h, h_low, r, r_low)
    h, h_low = plus(TWENTY_FOURTH, h, h_low + TWENTY_FOURTH_LOW)
    h, h_low = times(h, h_low, r, r_low)
    h, h_low = plus(SIXTH, h, h_low + SIXTH_LOW)
    h, h_low = times(h, h_low, r, r_low)
    h, h_low = plus(0.5, h, h_low)
    square, square_low = times(r, r_low, r, r_low)
    h, h_low = times(h, h_low, square, square_low)
    bent, bent_low = times(h, h_low, power, power_low)
    a, a_low = two_product(power, r)
    b, b_low = two_product(power, r_low)
    c, c_low = two_product(power_low, r)
    rest = (power * r_lowest + power_lowest * r + power_low * r_low) + (b_low + c_low) + bent_low
    return power, a, bent, power_low, a_low, b, c, power_lowest, rest


def added(high: Any, low: Any, lowest: Any, term: Any) -> Any:
    """Three words and another number."""
    high, term = two_sum(high, term)
    low, term = two_sum(low, term)
    return high, low, lowest + term


def corrected(near: Any, high: Any, low: Any, lowest: Any) -> Any:
    """near + log(1 + high + low + lowest) in two words, for a sum that is about as small as an ulp of 1 (or 2^-30)."""
    d = high + low
    curved = d * d * (d * (1.0 / 3.0 - d * 0.25) - 0.5)
    value, error = two_sum(near, high)
    low, rest = two_sum(low, error)
    value, low = two_sum(value, low)
    return value, low + (rest + (lowest + curved))


def certain(value: Any, low: Any, weight: Any) -> Any:
    """Whether value + low rounds to the same number whatever an error of ERROR weight would make of it."""
    error = ERROR * weight
    return value + (low - error) == value + (low + error)
