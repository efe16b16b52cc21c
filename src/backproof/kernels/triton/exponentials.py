"""Exponentials of logits relative to the largest, and what is made of their sum, in the operations of a GPU's programs.

exp(d) = 2^n exp(r), |r| <= ln(2)/2, as in `cpu.exponential`: n is in the low bits of what a large number, the shifter, has been
added to, and exp(r) = 1 + r q(r), q interpolated at Chebyshev's points. FINE, for results in single precision, is double
precision, right to 2^-38. Otherwise, for results in half precision, it is single precision, right to 2^-23.

In single precision the difference of two logits must not be rounded. Where the largest is small, nothing is taken from the others:
all that count are small then, and 2^n is taken relative to that of the largest. Where it is FAR from 0, its difference from those
that count is exact, as they are within a factor of two (Sterbenz' lemma).
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
SHIFTER = tl.constexpr(1.5 * 2.0**52)
DEEP = tl.constexpr(500.0)  # so far below the largest, an exponential counts nothing

SHIFTER_SINGLE = tl.constexpr(1.5 * 2.0**23)
LN2_FIRST, LN2_SECOND = tl.constexpr(0.693145751953125), tl.constexpr(1.428606820309417e-06)  # n times the first is exact
DEEP_SINGLE = tl.constexpr(100.0)
FAR = tl.constexpr(208.0)
RAISED = tl.constexpr(20.0)
RAISE = tl.constexpr(2.0**20)  # times this, the smallest that count are no subnormal numbers


@triton.jit
def exponentials(x, largest, FINE: tl.constexpr):
    """exp(x - largest) for x <= largest, numbers in single precision below 2^24; unless FINE, times `one_of` the largest."""
    if FINE:
        e = exponential(tl.maximum(x, largest - DEEP).to(tl.float64) - largest.to(tl.float64))
    else:
        taken = tl.where(tl.abs(largest) < FAR, 0.0, largest)
        shifter = 2.0 * SHIFTER_SINGLE + RAISED - ((largest - taken) * LOG2E + SHIFTER_SINGLE)
        y = tl.maximum(x, largest - DEEP_SINGLE) - taken
        shifted = y * LOG2E + shifter
        n = shifted - shifter
        r = (y - n * LN2_FIRST) - n * LN2_SECOND
        q = r * 0.0013933641031986701 + 0.008369148490856347
        q = q * r + 0.04166646500604005
        q = q * r + 0.16666505260408124
        q = q * r + 0.5000000013457727
        q = q * r + 1.00000001077157
        power = (q * r + 1.0).to(tl.int32, bitcast=True) + (shifted.to(tl.int32, bitcast=True) << 23)
        e = power.to(tl.float32, bitcast=True)
    return e


@triton.jit
def one_of(largest, FINE: tl.constexpr):
    """The exponential of the largest itself, in double precision: RAISE, or up to twice that."""
    return tl.full(largest.shape, 1.0, tl.float64) if FINE else exponentials(largest, largest, FINE).to(tl.float64)


@triton.jit
def exponential(d):
    """exp(d) in double precision, for -708 < d < 708."""
    shifted = d * LOG2E + SHIFTER
    r = d - (shifted - SHIFTER) * LN2
    q = r * 2.4867883453521802e-05 + 0.00019907582591325134
    q = q * r + 0.001388883909064138
    q = q * r + 0.008333283518768105
    q = q * r + 0.041666666786337556
    q = q * r + 0.1666666678638044
    q = q * r + 0.4999999999995507
    q = q * r + 0.9999999999955055
    power = (q * r + 1.0).to(tl.int64, bitcast=True) + (shifted.to(tl.int64, bitcast=True) << 52)
    return power.to(tl.float64, bitcast=True)


@triton.jit
def reciprocal(u):
    """1 / u for u from 1 to 2^60, to 2^-44: Newton's step from single precision. Exactly 1 of 1."""
    near = (1.0 / u.to(tl.float32)).to(tl.float64)
    return near * (2.0 - u * near)


@triton.jit
def log_one_plus(s):
    """log(1 + s) for s >= 0; the rounding of u = 1 + s cancels in log(u) / (u - 1) (HP-15C Advanced Functions Handbook, 1982)."""
    u = 1.0 + s
    return tl.where(u == 1.0, s, tl.log(u) * (s / tl.where(u == 1.0, 1.0, u - 1.0)))
