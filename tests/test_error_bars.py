"""Error bars are honest: over 200 functions x points, the exact derivative (mpmath) lies within the bar; the bar is not wide."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from backproof.gradcheck.differences import EDGE, JUMP, KINK, SMOOTH, slope

mp = mpmath.mp
mp.dps = 40


def softplus(m, x):
    return m.log(1 + m.exp(x))


# name -> (NumPy form, mpmath form, points)
FUNCTIONS = {
    "exp": (np.exp, mpmath.exp, [-3.0, -0.5, 0.3, 2.0, 8.0]),
    "log": (np.log, mpmath.log, [1e-6, 0.01, 0.5, 3.0, 1e4]),
    "sin": (np.sin, mpmath.sin, [-2.0, 0.1, 1.0, 5.0, 30.0]),
    "cos": (np.cos, mpmath.cos, [-2.0, 0.1, 1.0, 5.0, 30.0]),
    "tan": (np.tan, mpmath.tan, [-1.0, 0.2, 0.7, 1.2]),
    "tanh": (np.tanh, mpmath.tanh, [-4.0, -0.5, 0.3, 1.0, 3.0]),
    "sinh": (np.sinh, mpmath.sinh, [-2.0, 0.3, 1.0, 4.0]),
    "cosh": (np.cosh, mpmath.cosh, [-2.0, 0.3, 1.0, 4.0]),
    "arctan": (np.arctan, mpmath.atan, [-5.0, 0.2, 1.0, 20.0]),
    "arcsin": (np.arcsin, mpmath.asin, [-0.9, -0.4, 0.1, 0.7]),
    "sqrt": (np.sqrt, mpmath.sqrt, [1e-4, 0.3, 2.0, 100.0]),
    "cube root": (np.cbrt, mpmath.cbrt, [0.01, 0.5, 3.0]),
    "square": (lambda x: x * x, lambda x: x * x, [-3.0, 0.01, 0.7, 50.0]),
    "cubic": (lambda x: x**3 - 2 * x, lambda x: x**3 - 2 * x, [-3.0, 0.1, 0.7, 20.0]),
    "power 9": (lambda x: x**9, lambda x: x**9, [-1.5, 0.5, 1.1, 2.0]),
    "1/x": (lambda x: 1 / x, lambda x: 1 / x, [-2.0, 0.01, 0.5, 30.0]),
    "1/(1+x^2)": (lambda x: 1 / (1 + x * x), lambda x: 1 / (1 + x * x), [-2.0, 0.1, 0.8, 10.0]),
    "log1p(x^2)": (lambda x: np.log1p(x * x), lambda x: mpmath.log1p(x * x), [-2.0, 0.1, 0.8, 10.0]),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (1 + mpmath.exp(-x)), [-6.0, -1.0, 0.2, 2.0, 6.0]),
    "softplus": (lambda x: softplus(np, x), lambda x: softplus(mpmath, x), [-5.0, -1.0, 0.2, 2.0, 6.0]),
    "silu": (lambda x: x / (1 + np.exp(-x)), lambda x: x / (1 + mpmath.exp(-x)), [-5.0, -1.0, 0.2, 2.0, 6.0]),
    "gauss": (lambda x: np.exp(-x * x / 2), lambda x: mpmath.exp(-x * x / 2), [-2.0, 0.1, 1.0, 2.5]),
    "x log x": (lambda x: x * np.log(x), lambda x: x * mpmath.log(x), [0.01, 0.3, 2.0, 50.0]),
    "sin(10x)": (lambda x: np.sin(10 * x), lambda x: mpmath.sin(10 * x), [0.1, 1.0, 2.3]),
    "sin(100x)": (lambda x: np.sin(100 * x), lambda x: mpmath.sin(100 * x), [0.013, 0.11, 0.27]),
    "tanh(30x)": (lambda x: np.tanh(30 * x), lambda x: mpmath.tanh(30 * x), [-0.05, 0.01, 0.03]),
    "100 + tanh": (lambda x: 100 + np.tanh(x), lambda x: 100 + mpmath.tanh(x), [-1.0, 0.3, 1.5]),
    "1000 - log": (lambda x: 1000 - np.log(x), lambda x: 1000 - mpmath.log(x), [0.3, 1.5, 7.0]),
    "near-constant": (lambda x: 1 + np.sin(x) / 1024, lambda x: 1 + mpmath.sin(x) / 1024, [0.3, 1.0, 4.0]),
    # an offset that leaves float16 some digits of x: with (x + 64) - 64 its x part is a staircase of a few steps, and has no
    # slope to be seen
    "cancellation": (lambda x: (x + 8) - 8 + x * x, lambda x: x + x * x, [0.3, 1.0, 4.0]),
    "linear": (lambda x: 3 * x + 1, lambda x: 3 * x + 1, [-2.0, 1e-3, 0.4, 17.0]),
    "logsumexp": (
        lambda x: np.log(np.exp(x) + np.exp(x * 0 + 1) + np.exp(x * 0 - 2)),
        lambda x: mpmath.log(mpmath.exp(x) + mpmath.exp(1) + mpmath.exp(-2)),
        [-4.0, 0.2, 1.0, 5.0],
    ),
    "softmax": (
        lambda x: np.exp(x) / (np.exp(x) + np.exp(x * 0 + 1)),
        lambda x: mpmath.exp(x) / (mpmath.exp(x) + mpmath.exp(1)),
        [-4.0, 0.2, 1.0, 5.0],
    ),
    "norm": (lambda x: np.sqrt(x * x + 2), lambda x: mpmath.sqrt(x * x + 2), [-3.0, 0.1, 1.0, 40.0]),
    "rational": (lambda x: (x - 1) / (x * x + x + 2), lambda x: (x - 1) / (x * x + x + 2), [-3.0, 0.1, 1.5, 9.0]),
    "product": (lambda x: np.sin(x) * np.exp(-x), lambda x: mpmath.sin(x) * mpmath.exp(-x), [-1.0, 0.1, 1.5, 4.0]),
    "nested": (lambda x: np.tanh(np.sin(np.exp(x))), lambda x: mpmath.tanh(mpmath.sin(mpmath.exp(x))), [-2.0, 0.1, 1.0]),
    "arcsinh": (np.arcsinh, mpmath.asinh, [-3.0, 0.1, 1.0, 50.0]),
    "expm1": (np.expm1, mpmath.expm1, [-3.0, 0.01, 0.2, 1.0]),
    "log2": (np.log2, lambda x: mpmath.log(x, 2), [0.1, 1.5, 60.0]),
    "hypot": (lambda x: np.hypot(x, 1), lambda x: mpmath.sqrt(x * x + 1), [-3.0, 0.1, 20.0]),
    "quartic": (lambda x: (x * x - 1) ** 2, lambda x: (x * x - 1) ** 2, [-2.0, -0.7, 0.5, 1.3]),
    "cross-entropy": (lambda x: np.log1p(np.exp(-x)), lambda x: mpmath.log1p(mpmath.exp(-x)), [-5.0, -1.0, 0.3, 6.0]),
    "beta": (lambda x: x**2 * (1 - x) ** 3, lambda x: x**2 * (1 - x) ** 3, [0.1, 0.3, 0.5, 0.8]),
    "erf-like": (lambda x: x / np.sqrt(1 + x * x), lambda x: x / mpmath.sqrt(1 + x * x), [-2.0, 0.2, 5.0]),
    "cos(x^2)": (lambda x: np.cos(x * x), lambda x: mpmath.cos(x * x), [0.3, 0.8, 1.1, 3.0]),
    "x^1.5": (lambda x: x * np.sqrt(x), lambda x: x * mpmath.sqrt(x), [0.02, 0.7, 3.0, 12.0]),
    "exp(-1/x)": (lambda x: np.exp(-1 / x), lambda x: mpmath.exp(-1 / x), [0.2, 0.7, 1.5, 4.0]),
    "sum of waves": (lambda x: np.sin(x) + np.sin(3 * x) / 3, lambda x: mpmath.sin(x) + mpmath.sin(3 * x) / 3, [0.3, 1.0, 2.0]),
    "log cosh": (lambda x: np.log(np.cosh(x)), lambda x: mpmath.log(mpmath.cosh(x)), [-2.0, 0.2, 4.0]),
    "logit": (lambda x: np.log(x / (1 - x)), lambda x: mpmath.log(x / (1 - x)), [0.05, 0.2, 0.4, 0.9]),
    "huge": (lambda x: x * 4096 + x * x, lambda x: x * 4096 + x * x, [0.2, 1.5, 3.0]),
}
CASES = [(name, point) for name, (_, _, points) in FUNCTIONS.items() for point in points]


def measured(name: str, point: float, dtype: type) -> tuple[float, float, float]:
    """value, bar and the exact derivative, at the point rounded to dtype, everything computed in dtype."""
    function, exact, _ = FUNCTIONS[name]
    x = dtype(point)

    def line(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        there = (np.float64(x) + steps).astype(dtype)
        taken = there.astype(np.float64) - np.float64(x)
        taken[taken == 0] = np.nan
        with np.errstate(all="ignore"):
            return taken, np.asarray(function(there), dtype=np.float64)[:, None]

    center = np.atleast_1d(np.asarray(function(np.asarray([x])), dtype=np.float64))
    s = slope(line, center, size=abs(float(x)), epsilon=float(np.finfo(dtype).eps))
    return float(s.value[0]), float(s.error[0]), float(mpmath.diff(exact, mpmath.mpf(float(x))))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_bars_cover_the_errors_and_are_not_wide(dtype):
    assert len(CASES) >= 200
    outside, ratios = [], []
    for name, point in CASES:
        value, bar, true = measured(name, point, dtype)
        off = abs(value - true)
        if not off <= bar:
            outside.append((name, point, value, true, bar))
        # an error may be 0 by luck: it is counted as one spacing of the derivative in the dtype that it was computed in
        ratios.append(bar / max(off, abs(true) * float(np.finfo(dtype).eps)))
    print(f"{np.dtype(dtype)}: {len(CASES) - len(outside)} of {len(CASES)} inside, median bar / error {np.median(ratios):.1f}")
    assert len(outside) <= 0.001 * len(CASES), outside
    assert np.median(ratios) <= 100


def kind(f, x: float, size: float = 1.0):
    return slope(lambda h: (h, np.asarray(f(x + h), dtype=float)[:, None]), np.atleast_1d(float(f(np.float64(x)))), size=size)


def test_kinks_edges_and_jumps_are_told():
    with np.errstate(all="ignore"):
        s = kind(np.abs, 0.0)
        assert (int(s.kind[0]), float(s.left[0]), float(s.right[0])) == (KINK, -1.0, 1.0)
        assert int(kind(lambda x: x**1.5, 0.0).kind[0]) == EDGE
        assert int(kind(np.sqrt, 0.0).kind[0]) == JUMP
        assert int(kind(lambda x: np.heaviside(x, 0.5), 0.0).kind[0]) == JUMP
        near = kind(lambda x: np.abs(x), 1e-5, 1e-5)
        assert int(near.kind[0]) == SMOOTH
        assert abs(near.value[0] - 1) <= near.error[0] <= 1e-6
        flat = kind(np.round, 0.3, 0.3)
        assert abs(flat.value[0]) <= flat.error[0] <= 1e-9
        edge = kind(np.log, 1e-9, 1e-9)
        assert abs(edge.value[0] - 1e9) <= edge.error[0] <= 10
        assert abs(kind(lambda x: np.sin(1e6 * x), 1.0).value[0] / (1e6 * np.cos(1e6)) - 1) < 1e-6
