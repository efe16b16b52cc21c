"""Right at kinks, ties, bounds and flat places; and right although somewhere a naive formula would break down."""

from __future__ import annotations

import numpy as np

from tests.broken.tables import Case, draw

ZEROS = np.array([[0.0, 1.2, -0.7, 0.0], [2.0, 0.0, -1.5, 0.3]])
TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 0.5, 2.0]])


def first_maximum(g, x):
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), x.argmax(axis=1)] = g
    return dx


def shared_minimum(g, x):
    low = x == x.min(axis=1, keepdims=True)
    return g[:, None] * low / low.sum(axis=1, keepdims=True)


def sort_backward(g, x):
    dx = np.zeros_like(x)
    np.put_along_axis(dx, np.argsort(x, axis=1, kind="stable"), g, axis=1)
    return dx


def safe_root(x):
    return np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0)


def safe_root_backward(g, x):
    return np.where(x > 0, g / (2 * np.sqrt(np.where(x > 0, x, 1.0))), 0.0)


def norm_backward(g, x):
    n = np.sqrt((x**2).sum(axis=1, keepdims=True))
    return g[:, None] * x / np.where(n == 0, 1, n)


def x_log_x(x):
    return x * np.log(x)


def soft_threshold_backward(g, x):
    return g * (np.abs(x) > 0.5)


def prod_backward(g, x):
    dx = np.empty_like(x)
    for i in range(x.shape[1]):
        dx[:, i] = g * np.delete(x, i, axis=1).prod(axis=1)
    return dx


def median_backward(g, x):
    """Odd length: the whole gradient goes to the middle one."""
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), np.argsort(x, axis=1)[:, x.shape[1] // 2]] = g
    return dx


CASES = [
    Case("relu: 0 at zero", "", lambda x: np.maximum(x, 0), (ZEROS,), lambda g, x: g * (x > 0)),
    Case("abs: 0 at zero", "", np.abs, (ZEROS,), lambda g, x: g * np.sign(x)),
    Case(
        "leaky relu: slope of the left at zero",
        "",
        lambda x: np.where(x > 0, x, 0.1 * x),
        (ZEROS,),
        lambda g, x: g * np.where(x > 0, 1, 0.1),
    ),
    Case("max: the first of the ties", "", lambda x: x.max(axis=1), (TIES,), first_maximum),
    Case("min: shared among ties", "", lambda x: x.min(axis=1), (-TIES,), shared_minimum),
    Case(
        "hinge: at the margin",
        "",
        lambda x: np.maximum(0, 1 - x).sum(),
        (np.array([1.0, 0.3, 2.0, 1.0]),),
        lambda g, x: -g * (x < 1),
    ),
    Case(
        "clip: at its bounds",
        "",
        lambda x: np.clip(x, -1, 1),
        (np.array([[1.0, 0.2], [-1.0, 3.0]]),),
        lambda g, x: g * ((x > -1) & (x < 1)),
    ),
    Case("sort: distinct", "", lambda x: np.sort(x, axis=1), (draw(491, 3, 6),), sort_backward),
    Case("sort: with ties", "", lambda x: np.sort(x, axis=1), (TIES,), sort_backward),
    Case("median: odd length", "", lambda x: np.median(x, axis=1), (draw(492, 3, 5),), median_backward),
    Case("round: zero", "", np.round, (draw(493, 4, 3, scale=3),), lambda g, x: np.zeros_like(x)),
    Case("floor: zero", "", lambda x: np.floor(2 * x), (draw(494, 4, 3),), lambda g, x: np.zeros_like(x)),
    Case("constant: zero", "", lambda x: np.ones(3), (draw(495, 4),), lambda g, x: np.zeros_like(x)),
    Case("sign: zero", "", lambda x: np.sign(x).sum(), (draw(496, 5),), lambda g, x: np.zeros_like(x)),
    Case("square root where positive: safe", "", safe_root, (np.array([0.5, -1.0, 2.0, -0.3]),), safe_root_backward),
    Case(
        "norm: a row of zeros",
        "",
        lambda x: np.sqrt((x**2).sum(axis=1)),
        (np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]]),),
        norm_backward,
    ),
    Case("x log x: small", "", x_log_x, (np.array([1e-4, 0.3, 1.0, 5.0]),), lambda g, x: g * (np.log(x) + 1)),
    Case(
        "soft threshold: near the threshold",
        "",
        lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0),
        (np.array([0.5001, -0.4999, 0.2, 3.0]),),
        soft_threshold_backward,
    ),
    Case("prod: one zero", "", lambda x: x.prod(axis=1), (np.array([[4.0, 0.0, 2.0], [1.0, 2.0, -3.0]]),), prod_backward),
    Case("relu squared: at zero", "", lambda x: np.maximum(x, 0) ** 2, (ZEROS,), lambda g, x: 2 * g * np.maximum(x, 0)),
    Case("relu: within 1e-9 of zero", "", lambda x: np.maximum(x, 0), (np.array([1e-9, -1e-9, 0.5]),), lambda g, x: g * (x > 0)),
    Case(
        "maximum of two: equal entries to the first",
        "",
        np.maximum,
        (np.array([1.0, 2.0, 0.5]), np.array([1.0, 0.0, 0.7])),
        lambda g, a, b: (g * (a >= b), g * (a < b)),
    ),
    Case("quartic: flat at its minimum", "", lambda x: x**4, (np.array([0.0, 1e-3, -0.5]),), lambda g, x: 4 * g * x**3),
]
