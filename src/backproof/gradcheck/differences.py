"""Slopes of a function along a line, from both sides, each with an error bar: what the check measures Jacobian columns with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backproof.arrays import Array

SMOOTH, KINK, EDGE, JUMP, UNKNOWN = range(5)
EPS = float(np.finfo(np.float64).eps)
QUICK_STEPS = (2.0**-6, 2.0**-8, 2.0**-10)

# steps (k,) -> the steps really taken (k,) and the outputs there (k, m)
Line = Callable[[Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Slope:
    """Derivatives (m,) at step 0 and their bars: |true - value| <= error. left and right are the one-sided ones.

    kind: SMOOTH; KINK (left and right differ by more than their bars); EDGE (the function is finite on one side only); JUMP (no
    slope: it is discontinuous here, or grows as at the root of sqrt); UNKNOWN (not finite).
    """

    value: Array
    error: Array
    left: Array
    right: Array
    kind: Array
    one_sided_error: Array


def quick(realised: Array, up: Array, down: Array, center: Array, epsilon: float, at: float = 1.0) -> tuple[Array, Array, Array]:
    """Slopes from six evaluations: central differences at h, h/4, h/16, extrapolated twice (Ridders 1982, a table of three rows).

    realised (3,) or (3, k): the distances between the points; up, down (3, ..., m): outputs; center (m,). Returns value, error and
    whether the column must be measured again with `slope` (a kink, an edge, a bar too wide).
    """
    with np.errstate(all="ignore"):
        h = realised.reshape(realised.shape + (1,) * (up.ndim - realised.ndim)) / 2
        d = (up - down) / (2 * h)
        r1, r2 = (16 * d[1] - d[0]) / 15, (16 * d[2] - d[1]) / 15
        value = (256 * r2 - r1) / 255
        size = np.maximum(np.maximum(np.abs(up), np.abs(down)).max(axis=0), np.abs(center))
        floor = 4 * epsilon * (size + at * np.abs(value)) / h[2]
        error = np.maximum(np.abs(value - r2), np.abs(r2 - r1) / 16) + floor
        # (f(h) + f(-h) - 2 f(0)) / h is h f'' where f is smooth: 16 times smaller at the last step than at the first
        bend = np.abs(up + down - 2 * center) / h
        kinked = bend[2] > 0.2 * bend[0] + 4 * floor
        wide = error > 1e-7 * np.abs(value) + 64 * floor
        slow = np.abs(r2 - r1) > 0.1 * np.abs(d[2] - d[1]) + 8 * floor  # converges as h does, not as h^2: x |x| at 0
        error = np.where(slow, np.inf, error)
        again = kinked | wide | ~np.isfinite(error)
    return value, np.where(np.isfinite(error), error, np.inf), again


def slope(line: Line, center: Array, *, size: float = 1.0, epsilon: float = EPS, levels: int = 20) -> Slope:
    """The slope of every output, from a ladder of steps size/8, size/32, ... down to where rounding rules.

    Central and one-sided differences are extrapolated (Ridders, Advances in Engineering Software 4, 1982), the error estimates
    widened by what rounding can do; smaller steps overrule larger ones which they contradict, because then a kink, an edge or
    a turn
    of an oscillation lay within the larger ones.

    >>> s = slope(lambda h: (h, np.abs(h)[:, None]), np.zeros(1))
    >>> int(s.kind[0]) == KINK, float(s.left[0]), float(s.right[0])
    (True, -1.0, 1.0)
    """
    exact = epsilon <= EPS
    shrink = 4.0 if exact else 2.0  # where few digits are known, the steps lie close together and end early
    first, smallest = (0.125, 64 * EPS) if exact else (0.25, 4 * epsilon)
    steps = np.array([first * shrink**-k for k in range(levels) if first * shrink**-k > smallest]) * size
    with np.errstate(all="ignore"):
        taken_up, up = line(steps)
        taken_down, down = line(-steps)
        h_up, h_down = taken_up[:, None], -taken_down[:, None]
        measured = np.maximum(np.abs(up), np.abs(down))
        scale = np.maximum(np.where(np.isfinite(measured), measured, 0), np.abs(center))
        span = h_up + h_down
        rise = np.abs(up - down)[-1] / span[-1]  # rounding of x, or of what it is multiplied with, moves f by |x f'| eps
        noise = 4 * epsilon * (scale + size * np.where(np.isfinite(rise), np.minimum(rise, scale / h_up[-1]), 0.0))
        # cancelled large terms leave a grid coarser than the output's own spacing: its mesh is the smallest change seen
        moves = np.abs(np.concatenate([up, down]) - center)
        mesh = np.where((moves > 0) & np.isfinite(moves), moves, np.inf).min(axis=0)
        fine = mesh <= 1e4 * epsilon * np.maximum(scale, size)  # a coarser one is a function that rounds: flat between its jumps
        noise = np.maximum(noise, np.where(fine & (moves == 0).any(axis=0), mesh, 0.0))
        central, c_error = _ladder((up - down) / span, 2 * noise / span, shrink**2)
        right, r_error = _ladder((up - center) / h_up, noise / h_up, shrink)
        left, l_error = _ladder((center - down) / h_down, noise / h_down, shrink)
        finite_up, finite_down = np.isfinite(up[-3:]).all(axis=0), np.isfinite(down[-3:]).all(axis=0)
        jump = _diverges(up - center, noise, exact) & finite_up | _diverges(down - center, noise, exact) & finite_down
    one_sided = np.maximum(np.where(finite_up, r_error, 0), np.where(finite_down, l_error, 0))
    both = finite_up & finite_down
    kink = both & (np.abs(right - left) > 3 * (r_error + l_error) + 1e-6 * np.maximum(np.abs(left), np.abs(right)))
    kind = np.select([~np.isfinite(center) | ~(finite_up | finite_down), jump, ~both, kink], [UNKNOWN, JUMP, EDGE, KINK], SMOOTH)
    value = np.where(both, central, np.where(finite_up, right, left))
    error = np.where(both, c_error, np.where(finite_up, r_error, l_error))
    left, right = np.where(finite_down, left, right), np.where(finite_up, right, left)
    smooth = kind == SMOOTH
    left, right = np.where(smooth, value, left), np.where(smooth, value, right)
    error = np.where((kind == UNKNOWN) | (kind == JUMP) | ~np.isfinite(error), np.inf, error)
    return Slope(value, error, left, right, kind, one_sided)


def _ladder(d: Array, floor: Array, ratio: float) -> tuple[Array, Array]:
    """Extrapolate the rows of d (levels, m), whose error terms fall by ratio, ratio^2, ... a row; best value and bar, by column."""
    # neighbours among the smallest steps differ by noise / h; more than the floor says, and the function is noisier than its dtype
    last = slice(-max(len(d) // 4, 2), None)
    with np.errstate(all="ignore"):
        excess = np.abs(np.diff(d, axis=0))[last] / floor[1:][last]
    floor = floor * np.maximum(1.0, np.where(np.isfinite(excess), excess, 0.0).max(axis=0, initial=0.0))
    best, best_error = np.zeros(d.shape[1]), np.full(d.shape[1], np.inf)
    before: list[Array] = []
    for level in range(len(d)):
        row = [d[level]]
        value, error = d[level], np.full(d.shape[1], np.inf)
        factor = 1.0
        for column in range(min(len(before), 4)):
            factor *= ratio
            row.append((row[column] * factor - before[column]) / (factor - 1))
            change = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - before[column])) + floor[level]
            closer = change < error
            value, error = np.where(closer, row[-1], value), np.where(closer, change, error)
        known = np.isfinite(value) & np.isfinite(error)
        taken = known & ((error < best_error) | (np.abs(value - best) > best_error + error))
        best, best_error = np.where(taken, value, best), np.where(taken, error, best_error)
        before = row if np.isfinite(d[level]).any() else []
    # the smallest steps show how noisy the function really is: where they stray by more than the floor, every bar was too narrow
    last = slice(-((len(d) + 1) // 2), None)
    away = np.abs(d[last] - best)
    stray = away / np.maximum(floor[last], 1e-300)
    noisy = away[-1] > 0.5 * away[0]  # noise grows as steps shrink; what falls with them is truncation, which the table knows of
    return best, best_error * np.where(noisy, np.maximum(1.0, np.where(np.isfinite(stray), stray, 0.0).max(axis=0)), 1.0)


def _diverges(rise: Array, noise: Array, exact: bool) -> Array:
    """Whether f(h) - f(0) does not fall as h does: over four levels h falls by 256, and so does a smooth rise; sqrt's only by 16.

    With few digits only a jump is told from a slope: there the rise does not fall at all.
    """
    if exact:
        return np.asarray((np.abs(rise[-6]) > 0.03 * np.abs(rise[-10])) & (np.abs(rise[-6]) > 100 * noise[-6]))
    return np.asarray((np.abs(rise[-1]) > 0.3 * np.abs(rise).max(axis=0)) & (np.abs(rise[-1]) > 100 * noise[-1]))
