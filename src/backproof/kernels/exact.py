"""Sums and products without rounding error: each result is an unevaluated pair, high + low.

In array-API terms, for every library and any floating dtype. Sources: Knuth, TAOCP 2, 4.2.2 (two_sum); Dekker, Numer. Math. 18,
1971, and Veltkamp (two_product); Rump, Ogita & Oishi, SIAM J. Sci. Comput. 31, 2008, and Demmel & Nguyen, ARITH 2013 (total).
"""

from __future__ import annotations

import math

import numpy as np

from backproof.arrays import Array, is_complex, namespace

quiet = np.errstate(all="ignore")
"""For functions where infinities are input like any other, and their limits meant."""


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b = high + low exactly, whatever the order of magnitude of either; low is 0 where high is not finite."""
    xp = namespace(a)
    high = a + b
    t = high - a
    low = (a - (high - t)) + (b - t)
    return high, xp.where(xp.isfinite(high), low, xp.zeros_like(low))


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a b = high + low exactly, unless it leaves the range of normal numbers. Complex products are simply rounded: low is 0."""
    xp = namespace(a)
    high = a * b
    if is_complex(high):
        return high, xp.zeros_like(high)
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    low = ((a1 * b1 - high) + a1 * b2 + a2 * b1) + a2 * b2
    return high, xp.where(xp.isfinite(low), low, xp.zeros_like(low))


def _halves(a: Array) -> tuple[Array, Array]:
    """a = upper + lower, each with half the digits, so that products of halves are exact."""
    big = a * (2.0 ** math.ceil(digits(a) / 2) + 1.0)
    upper = big - (big - a)
    return upper, a - upper


def digits(a: Array) -> int:
    """Binary digits of the significand of a's dtype: 53 in double precision."""
    return round(1 - math.log2(float(namespace(a).finfo(a.dtype).eps)))


@quiet
def total(x: Array) -> tuple[Array, Array]:
    """The sum along the last axis (kept, of length 1) as high + low: the same bits in whatever order the entries come.

    The entries are cut into layers of bits. Adding and subtracting a large sigma leaves of each entry a multiple of sigma's last
    place; these multiples are so coarse that their sum is exact, in any order, however a library adds; what was cut off goes to
    the next layer, with a sigma smaller by 2^width. After `layers` of them less than 2^(-digits - 10) of the largest entry is left
    over in all, and dropped.
    """
    xp = namespace(x)
    if is_complex(x):
        (a, a_low), (b, b_low) = total(xp.real(x)), total(xp.imag(x))
        return a + 1j * b, a_low + 1j * b_low
    n = x.shape[-1]
    plain = xp.sum(x, axis=-1, keepdims=True, dtype=x.dtype)
    if n <= 1:
        return plain, xp.zeros_like(plain)
    bits = math.ceil(math.log2(n))
    width = digits(x) - 3 - bits  # how many bits of each entry a layer takes
    if width < 4:
        return plain, xp.zeros_like(plain)
    layers = math.ceil((digits(x) + 10 + bits) / width)
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    # sigma = 1.5 2^p, n |x| <= 2^(p - 2): sigma + x stays in sigma's binade, and n multiples of its last place sum exactly
    p = xp.ceil(xp.log2(largest)) + (bits + 2)
    rest = x
    high = low = xp.zeros_like(plain)
    for _ in range(layers):
        sigma = 1.5 * 2.0**p
        part = (sigma + rest) - sigma
        rest = rest - part
        high, error = two_sum(high, xp.sum(part, axis=-1, keepdims=True, dtype=x.dtype))
        low = low + error
        p = p - width
    high, low = two_sum(high, low)
    fine = xp.isfinite(high) & (largest > 0)  # nan and infinities, and sigma beyond the range, leave the plain sum
    return xp.where(fine, high, plain), xp.where(fine, low, xp.zeros_like(low))


def log1p(x: Array) -> Array:
    """log(1 + x); for complex x with the real part log|1 + x| = log1p(2a + a^2 + b^2) / 2, which libraries round to log(1 + a)."""
    xp = namespace(x)
    if not is_complex(x):
        return np.asarray(np.log1p(x)) if xp is np else xp.log1p(x)
    a, b = xp.real(x), xp.imag(x)
    small = xp.abs(a) + xp.abs(b) < 1e100
    a1 = xp.where(small, a, xp.zeros_like(a))
    modulus = xp.where(small, xp.log1p(a1 * (2 + a1) + xp.where(small, b * b, xp.zeros_like(b))) / 2, xp.real(xp.log(x)))
    return modulus + 1j * xp.atan2(b, 1 + a)
