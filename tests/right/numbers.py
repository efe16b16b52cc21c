"""Right, in awkward numbers: half and single precision, huge, tiny, badly scaled, far from zero, near-constant, curved, oscillating."""

from __future__ import annotations

import numpy as np

from tests.broken.tables import Case, draw, logsumexp, root_mean_square, sigmoid, softmax, standardise, uniform

HALF, SINGLE = np.float16, np.float32
WEIGHTS = draw(402, 4, 3)
FORM = draw(403, 5, 5)


def softmax_backward(g, z):
    h = softmax(z)
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def rms_norm_backward(g, x):
    r = root_mean_square(x)
    return g / r - x * (g * x).mean(axis=-1, keepdims=True) / r**3


def norm_backward(g, x):
    xhat, sd = standardise(x), np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return (g - g.mean(axis=-1, keepdims=True) - xhat * (g * xhat).mean(axis=-1, keepdims=True)) / sd


def dense_single(x, w, b):
    return (x @ w + b).astype(SINGLE)


def dense_backward(g, x, w, b):
    return g @ w.T, x.T @ g, g.sum(axis=0)


def half_sum(x):
    """Summed in single precision, rounded to half."""
    return x.astype(SINGLE).sum(axis=1).astype(x.dtype)


def half_sum_backward(g, x):
    return np.broadcast_to(g[:, None], x.shape).astype(x.dtype)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def rosenbrock_backward(g, x):
    dx = np.zeros_like(x)
    gap = x[1:] - x[:-1] ** 2
    dx[1:] += 200 * gap
    dx[:-1] += -400 * x[:-1] * gap - 2 * (1 - x[:-1])
    return g * dx


def softmax_single(z):
    return softmax(z / 4)


def softmax_single_backward(g, z):
    return softmax_backward(g, z / 4) / z.dtype.type(4)


def double_gradient(g, x):
    """More digits than the input has: nothing is lost."""
    wide = x.astype(np.float64)
    return g * np.cos(wide)


def log_sum(x):
    return np.log((x**2).sum(axis=1))


CASES = [
    Case("sigmoid: float32", "", sigmoid, (draw(404, 4, 5, dtype=SINGLE),), lambda g, x: g * sigmoid(x) * sigmoid(-x)),
    Case("softmax: float32, broad logits", "", softmax_single, (draw(405, 3, 6, scale=20, dtype=SINGLE),), softmax_single_backward),
    Case(
        "linear: float32",
        "",
        dense_single,
        (draw(406, 5, 4, dtype=SINGLE), draw(407, 4, 3, dtype=SINGLE), draw(408, 3, dtype=SINGLE)),
        dense_backward,
    ),
    Case("tanh: float16", "", np.tanh, (draw(409, 4, 4, dtype=HALF),), lambda g, x: g * (1 - np.tanh(x)) * (1 + np.tanh(x))),
    Case("sum: float16", "", half_sum, (draw(410, 3, 7, dtype=HALF),), half_sum_backward),
    Case(
        "matmul: float16",
        "",
        lambda x: x @ WEIGHTS.astype(x.dtype),
        (draw(411, 5, 4, dtype=HALF),),
        lambda g, x: g @ WEIGHTS.astype(x.dtype).T,
    ),
    Case("sine: float32, gradient in float64", "", np.sin, (draw(412, 3, 4, dtype=SINGLE),), double_gradient),
    Case("square: 1e100", "", lambda x: x**2, (draw(413, 3, 4, scale=1e100),), lambda g, x: 2 * g * x),
    Case("square: 1e-120", "", lambda x: x**2, (draw(414, 3, 4, scale=1e-120),), lambda g, x: 2 * g * x),
    Case("RMS norm: tiny rows", "", lambda x: x / root_mean_square(x), (draw(415, 4, 5, scale=1e-3),), rms_norm_backward),
    Case("RMS norm: huge rows", "", lambda x: x / root_mean_square(x), (draw(416, 4, 5, scale=1e12),), rms_norm_backward),
    Case("layer norm: rows of many sizes", "", standardise, (draw(417, 5, 6) * 10.0 ** np.arange(-2, 3)[:, None],), norm_backward),
    Case("layer norm: far from zero", "", standardise, (draw(418, 3, 6, shift=1e4),), norm_backward),
    Case("layer norm: near-constant rows", "", standardise, (1 + draw(419, 3, 6, scale=1e-3),), norm_backward),
    Case(
        "quadratic form: columns from 1e-6 to 1e6",
        "",
        lambda x: ((x @ FORM) * x).sum(axis=1),
        (draw(420, 4, 5) * 10.0 ** np.array([-6, -3, 0, 3, 6]),),
        lambda g, x: g[:, None] * (x @ (FORM + FORM.T)),
    ),
    Case(
        "multiply: a huge and a tiny input",
        "",
        lambda a, b: a * b,
        (draw(421, 3, 4, scale=1e9), draw(422, 3, 4, scale=1e-9)),
        lambda g, a, b: (g * b, g * a),
    ),
    Case("exp: from -40 to 40", "", np.exp, (np.linspace(-40, 40, 9),), lambda g, x: g * np.exp(x)),
    Case("sine: sixty times faster", "", lambda x: np.sin(60 * x), (draw(423, 3, 4),), lambda g, x: 60 * g * np.cos(60 * x)),
    Case(
        "tanh: a steep step",
        "",
        lambda x: np.tanh(200 * (x - 0.3)),
        (np.array([0.301, 0.29, 0.305, 0.2971]),),
        lambda g, x: 200 * g / np.cosh(200 * (x - 0.3)) ** 2,
    ),
    Case("Rosenbrock: far from its valley", "", rosenbrock, (draw(424, 6, scale=3),), rosenbrock_backward),
    Case("reciprocal: close to the pole", "", lambda x: 1 / x, (np.array([0.01, -0.02, 0.5, 3.0]),), lambda g, x: -g / x**2),
    Case(
        "gaussian: far in the tail",
        "",
        lambda x: np.exp(-0.5 * x**2),
        (np.array([6.0, -7.5, 0.2, 9.0]),),
        lambda g, x: -g * x * np.exp(-0.5 * x**2),
    ),
    Case(
        "ripple: on a large slope",
        "",
        lambda x: 1e3 * x + np.sin(25 * x),
        (draw(425, 5),),
        lambda g, x: g * (1e3 + 25 * np.cos(25 * x)),
    ),
    Case(
        "log of a sum of squares: large",
        "",
        log_sum,
        (draw(426, 3, 5, scale=1e30),),
        lambda g, x: g[:, None] * 2 * x / (x**2).sum(axis=1, keepdims=True),
    ),
    Case("logsumexp: logits around 1000", "", logsumexp, (draw(427, 4, 5, shift=1000),), lambda g, z: g[:, None] * softmax(z)),
    Case(
        "power: x to the 2.5 near zero",
        "",
        lambda x: x**2.5,
        (uniform(428, 5, low=0.001, high=0.1),),
        lambda g, x: 2.5 * g * x**1.5,
    ),
    Case("offset: a million plus a cosine", "", lambda x: 1e6 + np.cos(x), (draw(429, 3, 4),), lambda g, x: -g * np.sin(x)),
    Case(
        "mean: of float32 numbers near 100",
        "",
        lambda x: x.mean(axis=1),
        (draw(430, 3, 50, shift=100, dtype=SINGLE),),
        lambda g, x: np.repeat(g[:, None], 50, axis=1) / x.dtype.type(50),
    ),
]
