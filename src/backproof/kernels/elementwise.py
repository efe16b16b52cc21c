"""Elementwise functions with their first and second derivative, each a function of x alone.

Derivatives are formed from e = exp(-|x|), which never overflows, and not from the output: `y (1 - y)` and `1 - y^2` lose every
digit once y rounds to 1, while e / (1 + e)^2 keeps them all. Branches look at the real part, so that complex input gives the
analytic continuation: the complex-step derivative Im f(x + ih) / h (Squire & Trapp, SIAM Review 40, 1998) is a test of each.
"""

from __future__ import annotations

import math

import numpy as np

from backproof.arrays import Array

GELU_C = math.sqrt(2.0 / math.pi)
GELU_A = 0.044715


def magnitude(x: Array) -> Array:
    """|x|, continued analytically to complex x from either half-plane."""
    return np.where(x.real < 0, -x, x) if np.iscomplexobj(x) else np.abs(x)


def zeros(x: Array) -> Array:
    return np.zeros_like(x)


def ones(x: Array) -> Array:
    return np.ones_like(x)


def identity(x: Array) -> Array:
    return x.copy()


# s(x) = 1 / (1 + exp(-x));  s' = s(x) s(-x) = e / (1 + e)^2;  s'' = s' (s(-x) - s(x)) = -s' tanh(x / 2)
def sigmoid(x: Array) -> Array:
    e = np.exp(-magnitude(x))
    return np.where(x.real >= 0, 1, e) / (1 + e) if np.iscomplexobj(x) else np.where(x < 0, e, e.dtype.type(1)) / (1 + e)


def sigmoid_slope(x: Array) -> Array:
    e = np.exp(-magnitude(x))
    return e / ((1 + e) * (1 + e))


def sigmoid_curvature(x: Array) -> Array:
    return -sigmoid_slope(x) * np.tanh(x / 2)


# tanh' = 1 / cosh^2 = 4 e / (1 + e)^2 with e = exp(-2|x|);  tanh'' = -2 tanh tanh'
def tanh(x: Array) -> Array:
    return np.tanh(x)


def tanh_slope(x: Array) -> Array:
    return 4 * sigmoid_slope(2 * x)


def tanh_curvature(x: Array) -> Array:
    return -2 * np.tanh(x) * tanh_slope(x)


# relu' (0) = 0, as everywhere in this library.
def relu(x: Array) -> Array:
    return np.where(x.real > 0, x, 0 * x) if np.iscomplexobj(x) else np.maximum(x, 0)


def relu_slope(x: Array) -> Array:
    return (x.real > 0).astype(x.dtype)


# leaky' (0) = slope: zero belongs to the left branch, as in torch.
def leaky_relu(x: Array, slope: float) -> Array:
    return np.where(x.real > 0, x, slope * x)


def leaky_relu_slope(x: Array, slope: float) -> Array:
    return np.where(x.real > 0, x.dtype.type(1), x.dtype.type(slope))


# softplus(x) = max(x, 0) + log1p(e);  its slope is the sigmoid
def softplus(x: Array) -> Array:
    return relu(x) + np.log1p(np.exp(-magnitude(x)))


# silu(x) = x s(x) (Elfwing, Uchibe & Doya 2018):  s + x s';  2 s' + x s''
def silu(x: Array) -> Array:
    return x * sigmoid(x)


def silu_slope(x: Array) -> Array:
    return sigmoid(x) + x * sigmoid_slope(x)


def silu_curvature(x: Array) -> Array:
    return 2 * sigmoid_slope(x) + x * sigmoid_curvature(x)


# gelu(x) = x Phi(x) (Hendrycks & Gimpel 2016), phi = Phi' the normal density:  Phi + x phi;  (2 - x^2) phi
def gelu(x: Array) -> Array:
    from scipy.special import ndtr

    return x * np.asarray(ndtr(x))


def _normal_density(x: Array) -> Array:
    return np.exp(-x * x / 2) * (1 / math.sqrt(2 * math.pi))


def gelu_slope(x: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(x)) + x * _normal_density(x)


def gelu_curvature(x: Array) -> Array:
    return (2 - x * x) * _normal_density(x)


# The tanh form: x/2 (1 + tanh u) = x s(v), v = 2u = 2c (x + a x^3), v' = 2c (1 + 3a x^2), v'' = 12 c a x:
#   s + x s' v';   2 s' v' + x (s'' v'^2 + s' v'')
def _gelu_v(x: Array) -> tuple[Array, Array, Array]:
    """v, v' and v''; x is held within +-100, far beyond where the sigmoid of v saturates and before x^3 overflows."""
    t = x if np.iscomplexobj(x) else np.clip(x, -100, 100)
    return 2 * GELU_C * (t + GELU_A * t * t * t), 2 * GELU_C * (1 + 3 * GELU_A * t * t), 12 * GELU_C * GELU_A * t


def gelu_tanh(x: Array) -> Array:
    return x * sigmoid(_gelu_v(x)[0])


def gelu_tanh_slope(x: Array) -> Array:
    v, v1, _ = _gelu_v(x)
    return sigmoid(v) + x * sigmoid_slope(v) * v1


def gelu_tanh_curvature(x: Array) -> Array:
    v, v1, v2 = _gelu_v(x)
    return 2 * sigmoid_slope(v) * v1 + x * (sigmoid_curvature(v) * v1 * v1 + sigmoid_slope(v) * v2)
