"""Numerical derivatives, each with an honest error bar."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from backproof.arrays import Array


class Estimate(NamedTuple):
    """A derivative and how far it may be off, entry by entry."""

    value: Array
    error: Array


def derivative(
    f: Callable[[float], npt.ArrayLike], step: float = 1e-2, *, at: float = 0.0, shrink: float = 2.0, levels: int = 10
) -> Estimate:
    """df/dh at h = 0 of a function of one number, whose values have any shape, () too, evaluated in double precision.

    Ridders' method (Advances in Engineering Software 4, 1982): central differences at step, step/shrink, ..., extrapolated to
    step 0 by Neville's scheme in h^2; of all table entries the one with the smallest error estimate is taken, each output on its
    own. Two things make the estimate honest. It is widened by what rounding can do at the step used, 4 eps (|f| + |at df/dh|) / h,
    without which it is known to be too narrow; `at` is the size of the number that h is added to within f. And smaller steps
    overrule larger ones: where a new row of the table contradicts what was best so far by more than both their errors, a kink lay
    within the larger steps, and the new row counts.

    >>> import math
    >>> value, error = derivative(lambda h: math.sin(1 + h), at=1.0)
    >>> bool(abs(value - math.cos(1)) <= error), bool(error < 1e-10)
    (True, True)
    >>> value, error = derivative(lambda h: abs(h + 0.003))   # a kink within the first steps
    >>> bool(abs(value - 1) <= error), bool(error < 1e-9)
    (True, True)
    """
    best = best_error = np.empty(0)
    previous: list[Array] = []
    h = float(step)
    for level in range(levels):
        up, down = np.array(f(h), dtype=np.float64), np.array(f(-h), dtype=np.float64)
        row = [(up - down) / (h - -h)]
        size = np.maximum(np.abs(up), np.abs(down)) + abs(at) * np.abs(row[0])
        floor = 4 * np.finfo(np.float64).eps * size / h
        value, error = row[0], np.full_like(row[0], np.inf)
        factor = 1.0
        for column, before in enumerate(previous):
            factor *= shrink * shrink
            row.append((row[column] * factor - before) / (factor - 1))
            change = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - before)) + floor
            closer = change < error
            value, error = np.where(closer, row[-1], value), np.where(closer, change, error)
        if level == 0:
            best, best_error = value, error
        else:
            taken = (error < best_error) | (np.abs(value - best) > best_error + error)
            best, best_error = np.where(taken, value, best), np.where(taken, error, best_error)
        previous = row
        h /= shrink
    return Estimate(best, best_error)
