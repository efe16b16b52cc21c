"""Activations of the compiled step: value and slope in one sweep, from one exponential.

The formulas are those of elementwise.py: slopes come from e = exp(-|z|) and not from the value, so that none loses digits where the
function saturates. All is computed in double precision and rounded once. A sweep leaves f(z) in place of z and, where the slope
cannot be read off the value, f'(z) in an array of its own, so that backward is one multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.elementwise import GELU_A, GELU_C
from backproof.kernels.rows import (
    load,
    magnitude,
    mantissa,
    raised_exponent,
    splat,
    store,
    two_to_the,
    where_equal,
    where_greater,
    wide,
    width_of,
)

IDENTITY, RELU, LEAKY_RELU, SIGMOID, TANH, SILU, SOFTPLUS, GELU, GELU_TANH = range(9)
CODES = {
    "identity": IDENTITY, "relu": RELU, "leaky_relu": LEAKY_RELU, "sigmoid": SIGMOID, "tanh": TANH, "silu": SILU,
    "softplus": SOFTPLUS, "gelu": GELU, "gelu_tanh": GELU_TANH,
}  # fmt: skip

LOG2E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10  # together ln 2 to 85 bits; k times the first is exact
SHIFTER = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer, which is then found in the low bits
UNDERFLOW = -708.0  # below, exp is less than the smallest normal number and counts as 0


@compiled()
def exp_negative(x: Any) -> Any:
    """exp(x) and expm1(x) for a row of x <= 0 in double precision, both to full relative accuracy.

    x = k ln 2 + r with |r| <= ln(2)/2. q = expm1(r) is its Taylor series to r^13 / 13!, whose remainder is below 2^-57 of it. Then
    exp(x) = 2^k (1 + q) and expm1(x) = 2^k q + (2^k - 1).
    """
    shifted = x * LOG2E + SHIFTER
    k = shifted - SHIFTER
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    q = r * (1.0 / 6227020800) + 1.0 / 479001600
    q = q * r + 1.0 / 39916800
    q = q * r + 1.0 / 3628800
    q = q * r + 1.0 / 362880
    q = q * r + 1.0 / 40320
    q = q * r + 1.0 / 5040
    q = q * r + 1.0 / 720
    q = q * r + 1.0 / 120
    q = q * r + 1.0 / 24
    q = q * r + 1.0 / 6
    q = q * r + 0.5
    q = r + r * r * q
    scale, zero = two_to_the(shifted), k - k
    limit = shifted - shifted + UNDERFLOW
    return where_greater(limit, x, zero, scale + scale * q), where_greater(limit, x, zero - 1.0, scale * q + (scale - 1.0))


@compiled()
def log1p_positive(s: Any) -> Any:
    """log(1 + s) for a row of s >= 0 in double precision, to full relative accuracy.

    1 + s = 2^k (1 + f) with f in [sqrt(1/2) - 1, sqrt(2) - 1]; f is s itself where k = 0, so that small s keep their digits. Then
    log(1 + f) = 2 artanh(t) = 2 (t + t^3 / 3 + t^5 / 5 + ...) with t = f / (2 + f), |t| < 0.1716; 10 terms leave less than 2^-56.
    """
    u = s + 1.0
    m = mantissa(u)
    above = m - m + 1.4142135623730951
    k = raised_exponent(u) - (4503599627370496.0 + 1023.0)
    k = where_greater(m, above, k + 1.0, k)
    f = where_greater(m, above, m * 0.5, m) - 1.0
    f = where_equal(k, k - k, s, f)
    t = f / (f + 2.0)
    t2 = t * t
    q = t2 * (1.0 / 21) + 1.0 / 19
    q = q * t2 + 1.0 / 17
    q = q * t2 + 1.0 / 15
    q = q * t2 + 1.0 / 13
    q = q * t2 + 1.0 / 11
    q = q * t2 + 1.0 / 9
    q = q * t2 + 1.0 / 7
    q = q * t2 + 1.0 / 5
    q = q * t2 + 1.0 / 3
    series = t * 2.0 + t * t2 * q * 2.0
    return k * LN2_HIGH + (series + k * LN2_LOW) + s * 0.0  # the last for nan and infinity


@compiled()
def sigmoid_row(z: Any) -> Any:
    """s(z) and s'(z) = e / (1 + e)^2 with e = exp(-|z|)."""
    e, _ = exp_negative(magnitude(z) * -1.0)
    inverse = 1.0 / (e + 1.0)
    return where_greater(z, z * 0.0, inverse, e * inverse), e * inverse * inverse


@compiled()
def tanh_row(z: Any) -> Any:
    """With e = exp(-2|z|): tanh|z| = -expm1(-2|z|) / (1 + e), and tanh' = 4 e / (1 + e)^2."""
    e, m = exp_negative(magnitude(z) * -2.0)
    inverse = 1.0 / (e + 1.0)
    return where_greater(z, z * 0.0, m * inverse * -1.0, m * inverse), e * inverse * inverse * 4.0


@compiled()
def silu_row(z: Any) -> Any:
    """z s(z) and s + z s'."""
    s, slope = sigmoid_row(z)
    return z * s, s + z * slope


@compiled()
def gelu_tanh_row(z: Any) -> Any:
    """z s(v) and s + z s' v' with v = 2 c (z + a z^3)."""
    s, slope = sigmoid_row((z + z * z * z * GELU_A) * (2.0 * GELU_C))
    return z * s, s + z * slope * ((z * z * (3.0 * GELU_A) + 1.0) * (2.0 * GELU_C))


@compiled()
def softplus_row(z: Any) -> Any:
    """max(z, 0) + log1p(e) with e = exp(-|z|), and the sigmoid."""
    e, _ = exp_negative(magnitude(z) * -1.0)
    inverse = 1.0 / (e + 1.0)
    zero = z * 0.0
    return where_greater(z, zero, z, zero) + log1p_positive(e), where_greater(z, zero, inverse, e * inverse)


@compiled()
def gelu_number(z: float) -> tuple[float, float]:
    """z Phi(z) and Phi(z) + z phi(z)."""
    cumulative = 0.5 * math.erfc(-z * math.sqrt(0.5))
    return z * cumulative, cumulative + z * math.exp(-0.5 * z * z) * (1.0 / math.sqrt(2.0 * math.pi))


def _row_sweep(parts: Callable[[Any], Any]) -> Callable[[Array, int, int, int], None]:
    @compiled()
    def sweep(y: Array, y0: int, s0: int, count: int) -> None:
        for j in range(0, count, width_of(y)):
            value, slope = parts(wide(load(y, y0 + j)))
            store(y, y0 + j, value)
            store(y, s0 + j, slope)

    return sweep


def _number_sweep(parts: Callable[[float], tuple[float, float]]) -> Callable[[Array, int, int, int], None]:
    @compiled()
    def sweep(y: Array, y0: int, s0: int, count: int) -> None:
        for j in range(count):
            value, slope = parts(np.float64(get(y, y0 + j)))
            put(y, y0 + j, value)
            put(y, s0 + j, slope)

    return sweep


_sigmoid, _tanh, _silu = _row_sweep(sigmoid_row), _row_sweep(tanh_row), _row_sweep(silu_row)
_softplus, _gelu_tanh, _gelu = _row_sweep(softplus_row), _row_sweep(gelu_tanh_row), _number_sweep(gelu_number)


@compiled()
def activate(code: int, leak: float, bias: Array, b0: int, y: Array, y0: int, s0: int, features: int) -> None:
    """One panel: y = f(y + bias), slopes to s0; b0 < 0 means no bias. Comparisons are such that nan stays nan.

    s0 < 0: slopes are not kept, since they can be read off the values.
    """
    count = features * width_of(y)
    zero, one, left = splat(y, 0.0), splat(y, 1.0), splat(y, 1.0 if code == IDENTITY else leak if code == LEAKY_RELU else 0.0)
    for o in range(features):
        z = load(y, y0 + o * width_of(y))
        if b0 >= 0:
            z += get(bias, b0 + o)
        if code <= LEAKY_RELU:
            if s0 >= 0:
                store(y, s0 + o * width_of(y), where_greater(z, zero, one, left))
            z = where_greater(z, zero, z, left * z)
        store(y, y0 + o * width_of(y), z)
    if code == SIGMOID:
        _sigmoid(y, y0, s0, count)
    elif code == TANH:
        _tanh(y, y0, s0, count)
    elif code == SILU:
        _silu(y, y0, s0, count)
    elif code == SOFTPLUS:
        _softplus(y, y0, s0, count)
    elif code == GELU:
        _gelu(y, y0, s0, count)
    elif code == GELU_TANH:
        _gelu_tanh(y, y0, s0, count)


@compiled()
def multiply_slope(code: int, leak: float, y: Array, y0: int, s0: int, d0: int, features: int) -> None:
    """One panel: dz = dy f'(z). Without kept slopes: for the rectifiers z > 0 exactly where y > 0 (with a leak >= 0)."""
    zero, one, left = splat(y, 0.0), splat(y, 1.0), splat(y, leak if code == LEAKY_RELU else 0.0)
    if code != IDENTITY or s0 >= 0:
        for j in range(0, features * width_of(y), width_of(y)):
            slope = where_greater(load(y, y0 + j), zero, one, left) if s0 < 0 else load(y, s0 + j)
            store(y, d0 + j, slope * load(y, d0 + j))
