"""log(1 + s) in two words, for a result that is rounded once: one number a row, so that it may take its time.

1 + s = 2^k m, 1 <= m < 2. A reciprocal r of m with ten digits stands in a table together with -log r in two words; f = r m - 1
is then less than 2^-7, and exact in two words. log(1 + s) = k ln 2 - log r + log(1 + f), where f - f^2/2 is exact but for
2^-80 and the series of the rest is below f^3/3. The error is less than 2^-66 of the result, near s = 0 too, where k = 0 and r = 1.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.integers import bits, from_bits
from backproof.kernels.pointwise import LN2_HIGH, LN2_LOW

STEPS = 128


def _table() -> Array:
    """r, and -log r in two words, for m in steps of 1/128."""
    table = np.empty((STEPS, 3))
    with localcontext() as context:
        context.prec = 50
        for j in range(STEPS):
            r = 1.0 if j == 0 else round(512 / (1 + (j + 0.5) / STEPS)) / 512
            exact = -Decimal(r).ln()
            table[j] = r, float(exact), float(exact - Decimal(float(exact)))
    return table


TABLE = _table()


@compiled()
def two_sum(a: float, b: float) -> tuple[float, float]:
    """a + b, and what rounding took (Knuth)."""
    high = a + b
    back = high - a
    return high, (a - (high - back)) + (b - back)


@compiled()
def upper(a: float) -> float:
    """a with its last 27 digits 0: products of such numbers are exact."""
    return from_bits((bits(a) >> 27) << 27)


@compiled()
def log1p_words(s: float, s_low: float) -> tuple[float, float]:
    """log(1 + s + s_low) for finite s >= 0."""
    whole, rest = two_sum(1.0, s)
    rest += s_low
    k = (bits(whole) >> 52) - 1023
    down = from_bits((1023 - k) << 52)
    m, rest = whole * down, rest * down
    j = (bits(m) >> 45) & (STEPS - 1)
    r = TABLE[j, 0]
    m_upper = upper(m)
    f, f_low = two_sum(r * m_upper - 1.0, r * (m - m_upper))
    f, f_low = two_sum(f, f_low + r * rest)
    f_upper = upper(f)
    left = f - f_upper
    series = 0.0
    for i in range(11, 2, -1):
        series = 1.0 / i - f * series
    small = f * f * f * series - left * (f_upper + 0.5 * left) + f_low * (1.0 - f)
    high, low = two_sum(k * LN2_HIGH, TABLE[j, 1])
    high, error = two_sum(high, f)
    low += error
    high, error = two_sum(high, -0.5 * f_upper * f_upper)
    low += error + (k * LN2_LOW + TABLE[j, 2]) + small
    return high, low


@compiled()
def rounded_sum(top: float, s: float, s_low: float) -> float:
    """top + log(1 + s), rounded once."""
    log, low = log1p_words(s, s_low)
    high, error = two_sum(top, log)
    return high + (error + low)
