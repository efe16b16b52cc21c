"""Numerical differentiation for the tests, independent of what the package uses: central differences, extrapolated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def jacobian(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, step: float = 1e-2) -> np.ndarray:
    """df/dx, shape f(x).shape + x.shape, of order step^6: three central differences, Richardson's weights 1/45 (64 a - 20 b + c).

    With step = 1e-2 truncation is about 1e-12 |f^(7)| / 5040 and rounding about 1e-16 / 2.5e-3 = 4e-14 of |f|.
    """
    if x.size == 0:
        return np.zeros((*np.shape(f(x)), *x.shape))
    columns = []
    for i in range(x.size):
        columns.append(along(f, x, _unit(x, i), step))
    return np.stack(columns, axis=-1).reshape(*np.shape(f(x)), *x.shape)


def along(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, direction: np.ndarray, step: float = 1e-2) -> np.ndarray:
    """The directional derivative of f at x."""

    def central(h: float) -> np.ndarray:
        return (np.asarray(f(x + h * direction)) - np.asarray(f(x - h * direction))) / (2 * h)

    return (64 * central(step / 4) - 20 * central(step / 2) + central(step)) / 45


def _unit(x: np.ndarray, i: int) -> np.ndarray:
    unit = np.zeros(x.size)
    unit[i] = 1.0
    return unit.reshape(x.shape)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over largest entry."""
    scale = max(float(np.abs(expected).max(initial=0.0)), float(np.abs(found).max(initial=0.0)))
    return float(np.abs(np.asarray(found) - expected).max(initial=0.0)) / scale if scale else 0.0
