"""Exponentials of logits relative to another logit, and logarithms, in the operations of a GPU's programs.

exp(d) = 2^n exp(r), |r| <= ln(2)/2, as in `cpu.exponential`: n is in the low bits of what a large number, the shifter, has been added
to, and exp(r) = 1 + r q(r), q interpolated at Chebyshev's points. FINE, for results in single precision: double precision, right to
2^-38. Otherwise, for results in half precision: single precision, right to 2^-23.

In single precision the difference of two logits must not be rounded. Nothing is taken from logits next to a small one, as all that
count then are small; n of the small one is taken from theirs. From those next to a larger one (FAR) the difference is exact, as they
are within a factor of two of it (Sterbenz' lemma), or too far below to count.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
SHIFTER = tl.constexpr(1.5 * 2.0**52)
DEEP = tl.constexpr(500.0)  # so far below, an exponential counts nothing

LN2_FIRST, LN2_SECOND = tl.constexpr(0.693145751953125), tl.constexpr(1.428606820309417e-06)  # n times the first is exact
SHIFTER_SINGLE = tl.constexpr(1.5 * 2.0**23)
RAISED = tl.constexpr(20.0)  # the smallest that count are then no subnormal numbers
DEEP_SINGLE = tl.constexpr(100.0)
FAR = tl.constexpr(208.0)


@triton.jit
def exponentials(x, reference, FINE: tl.constexpr):
    """exp(x - reference) times that of the reference itself, for x in single precision and its row's reference, finite; 0 unless
    x <= reference."""
    if FINE:
        counts = (x <= reference) & (x >= reference - DEEP)
        e = tl.where(counts, exponential(x.to(tl.float64) - reference.to(tl.float64)), 0.0)
    else:
        e = in_single_precision(x, reference)
    return e


@triton.jit
def in_single_precision(x, reference):
    """2^RAISED times one or two."""
    taken = tl.where(tl.abs(reference) < FAR, 0.0, reference)
    left = reference - taken
    shifter = 2.0 * SHIFTER_SINGLE + RAISED - (left * LOG2E + SHIFTER_SINGLE)
    y = x - taken
    shifted = y * LOG2E + shifter
    n = shifted - shifter
    r = (y - n * LN2_FIRST) - n * LN2_SECOND
    q = r * 0.0013933641031986701 + 0.008369148490856347
    q = q * r + 0.04166646500604005
    q = q * r + 0.16666505260408124
    q = q * r + 0.5000000013457727
    q = q * r + 1.00000001077157
    power = (q * r + 1.0).to(tl.int32, bitcast=True) + (shifted.to(tl.int32, bitcast=True) << 23)
    return tl.where((x <= reference) & (y >= left - DEEP_SINGLE), power.to(tl.float32, bitcast=True), 0.0)


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
def log_one_plus(s):
    """log(1 + s) for s >= 0; the rounding of u = 1 + s cancels in log(u) / (u - 1) (HP-15C Advanced Functions Handbook, 1982)."""
    u = 1.0 + s
    plain = (u == 1.0) | (u == float("inf"))
    return tl.where(plain, s, tl.log(u) * (s / tl.where(plain, 1.0, u - 1.0)))
