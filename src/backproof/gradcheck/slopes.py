"""The derivative along a line of a function of which only values can be had: both sides, error bars, and what is the matter if none.

Differences at steps on a ladder, each a quarter of the one before, extrapolated to step 0 (Richardson 1911, Ridders 1982). Every entry
of the table is an estimate with its own bar; see `_table` for the bar and `_choose` for which estimate is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.noise import EPS64 as EPS64
from backproof.gradcheck.noise import Line as Line
from backproof.gradcheck.noise import noise as noise
from backproof.gradcheck.noise import power_of_two, rounding
from backproof.gradcheck.noise import quick as quick
from backproof.gradcheck.noise import step_for as step_for

SMOOTH, KINK, EDGE, JUMP, DIVERGENT, UNKNOWN = range(6)
NAMES = ("smooth", "kink", "edge", "jump", "divergent", "unknown")
CHUNK = 8  # levels of the ladder that are evaluated before anything is decided


@dataclass(frozen=True)
class Slope:
    """Derivatives at the point, every array of shape (m,).

    value, error: |true - value| <= error in 99.9 % of cases; inf where nothing is known. left, right with their own bars: the one-sided
    derivatives, `value` where the function is smooth. At a kink `value` is their mean and `error` reaches both. kind: SMOOTH; KINK, the
    one-sided derivatives differ; EDGE, the function is finite on one side only, whose derivative is the value; JUMP, discontinuous
    at the point; DIVERGENT, the slope grows without bound (sqrt at 0); UNKNOWN, not finite at the point or on either side of it.
    """

    value: Array
    error: Array
    left: Array
    right: Array
    left_error: Array
    right_error: Array
    kind: Array
    evaluations: int


@dataclass(frozen=True)
class _Data:
    """Values on the ladder, largest steps first: a, b (n, 1) the distances up and down, up, down (n, m); center (m,)."""

    a: Array
    b: Array
    up: Array
    down: Array
    center: Array

    def and_more(self, line: Line, steps: Array) -> _Data:
        taken, values = line(np.concatenate([steps, -steps]))
        n, m = len(steps), self.center.size
        values = np.asarray(values, dtype=np.float64).reshape(2 * n, m)
        a, b = np.concatenate([self.a, taken[:n, None]]), np.concatenate([self.b, -taken[n:, None]])
        up, down = np.concatenate([self.up, values[:n]]), np.concatenate([self.down, values[n:]])
        order = np.argsort(-np.concatenate([self.a[:, 0], steps]), kind="stable")
        kept = order[((a > 0) & (b > 0))[order, 0]]  # a step that x is too coarse for was not taken at all
        return _Data(a[kept], b[kept], up[kept], down[kept], self.center)


@dataclass(frozen=True)
class _Tables:
    """Best estimates, bars and levels (m,) of the central slope, the two one-sided ones and their gap; floors (n, m) of each."""

    central: tuple[Array, Array, Array]
    left: tuple[Array, Array, Array]
    right: tuple[Array, Array, Array]
    gap: tuple[Array, Array, Array]
    forward: Array
    backward: Array
    floor: Array
    agreed: Array


def slope(
    line: Line, center: Array, *,
    size: float = 1.0, epsilon: Array | float = EPS64, noise: Array | float | None = None, exact: bool = False,
) -> Slope:  # fmt: skip
    """Derivatives at 0 of the m outputs along `line`, `center` (m,) being those at 0.

    size: of what is moved, |x| for one coordinate, 1 where that is 0; a hint for the first step, which may be wrong by some powers of
    ten. epsilon: relative spacing of the precision of the forward, number or (m,). noise: standard deviation of its outputs if known
    (one measurement serves many directions), else measured. exact: the steps that the line says it took are free of rounding, as
    those of a single coordinate are; otherwise the rounding of x widens the bars.

    Sixteen evaluations settle what is smooth. What is not settled by then is looked at with steps down to 2^-40 size, and what
    rounding hides at small steps with larger ones, up to 1. A kink closer than the smallest steps counts as at the point.

    >>> s = slope(lambda h: (h, np.stack([np.exp(h), np.abs(h), np.abs(h + 1e-6), np.sqrt(h)], axis=1)), np.array([1, 0, 1e-6, 0]))
    >>> [NAMES[k] for k in s.kind], s.value[:3].round(12)
    (['smooth', 'kink', 'smooth', 'divergent'], array([1., 0., 1.]))
    """
    center = np.asarray(center, dtype=np.float64).ravel()
    counted = [0]

    def counting(steps: Array) -> tuple[Array, Array]:
        counted[0] += len(steps)
        return line(steps)

    lowest = float(np.min(epsilon))
    ratio = 4.0 if lowest < 2.0**-16 else 2.0  # few digits, few steps: they must lie closer
    unit = power_of_two(size)
    top = unit / (4 if ratio == 4 else 2)
    bottom = unit * max(2.0**-40, 4 * lowest)
    count = int(np.log(top / bottom) / np.log(ratio)) + 1
    ladder = top * ratio ** -np.arange(count)
    empty = np.empty((0, 1))
    with np.errstate(all="ignore"):
        if noise is None:
            noise = _measure(counting, center, size, epsilon)
        moved = 0.0 if exact else size
        data = _Data(empty, empty, np.empty((0, center.size)), np.empty((0, center.size)), center)
        data = data.and_more(counting, ladder[:CHUNK])
        tables = _tables(data, noise, epsilon, moved)
        while top < max(unit, 1.0) / 4 and (len(data.a) < 3 or bool((tables.central[2] <= 2).any())):
            more = top * ratio ** np.arange(1, 5)
            data = data.and_more(counting, more[more <= max(unit, 1.0) / 2])
            tables = _tables(data, noise, epsilon, moved)
            top = float(more[-1])
        if count > CHUNK and not bool(_settled(data, tables, ratio).all()):
            data = data.and_more(counting, ladder[CHUNK:])
            tables = _tables(data, noise, epsilon, moved)
        return _verdict(data, tables, ratio, counted[0])


_measure = noise


def _tables(data: _Data, noise: Array | float, epsilon: Array | float, moved: float) -> _Tables:
    a, b = data.a, data.b
    forward, backward = (data.up - data.center) / a, (data.center - data.down) / b
    bend = forward - backward
    # derivative at 0 of the parabola through three points; where a = b the centre drops out, and its own rounding with it
    central = (data.up - data.down) / (a + b) + (b - a) / (a + b) * bend
    scale_up, scale_down = np.maximum(np.abs(data.up), np.abs(data.center)), np.maximum(np.abs(data.down), np.abs(data.center))
    off_up = rounding(scale_up, np.asarray(noise), epsilon, forward, moved)
    off_down = rounding(scale_down, np.asarray(noise), epsilon, backward, moved)
    floor = (off_up + off_down) / (a + b)
    c, c_floor = central, floor
    tables = [
        _choose(*_table(c, a * b, c_floor)),
        _choose(*_table(backward, b, 2 * off_down / b)),
        _choose(*_table(forward, a, 2 * off_up / a)),
        _choose(*_table(bend, (a + b) / 2, 2 * off_up / a + 2 * off_down / b)),
    ]
    values, bars = _table(c, a * b, c_floor)
    best, bar, _ = tables[0]
    agreed = ~(np.abs(values - best) > bars + bar).any(axis=0)
    return _Tables(tables[0], tables[1], tables[2], tables[3], forward, backward, floor, agreed)


def _table(rows: Array, nodes: Array, floor: Array, columns: int = 5) -> tuple[Array, Array]:
    """Of every level (row) the best extrapolation that ends there and its bar; (n, m) each.

    Neville's scheme to node 0; the nodes are a b, about h^2, for central differences, and h for one-sided ones. A combination
    (t_i T_j - t_j T_i) / (t_i - t_j) carries the rounding (t_i r_j + t_j r_i) / (t_i - t_j) of its parts at most. The bar is that plus
    the larger of the two changes that the last extrapolation made (Ridders); without rounding in it that bar is known to be too narrow.
    """
    values, bars = rows.copy(), np.full_like(rows, np.inf)
    before: list[tuple[Array, Array]] = []
    for j in range(len(rows)):
        row = [(rows[j], floor[j])]
        for c, (old, old_floor) in enumerate(before[:columns]):
            t_i, t_j = nodes[j - c - 1], nodes[j]
            new = (t_i * row[c][0] - t_j * old) / (t_i - t_j)
            shaken = (t_i * row[c][1] + t_j * old_floor) / (t_i - t_j)
            bar = np.maximum(np.abs(new - row[c][0]), np.abs(new - old)) + shaken
            closer = bar < bars[j]
            values[j], bars[j] = np.where(closer, new, values[j]), np.where(closer, bar, bars[j])
            row.append((new, shaken))
        before = row
    unknown = ~np.isfinite(values) | ~np.isfinite(bars)
    return np.where(unknown, 0.0, values), np.where(unknown, np.inf, bars)


def _choose(values: Array, bars: Array) -> tuple[Array, Array, Array]:
    """The estimate with the smallest bar among those that no estimate from smaller steps contradicts; value, bar, level (m,).

    A contradiction is a difference larger than both bars: then a kink, an edge, a period of an oscillation lay within the larger steps.
    """
    n, m = values.shape
    if not n:
        return np.zeros(m), np.full(m, np.inf), np.zeros(m, dtype=int)
    believed = bars.copy()
    for j in range(n - 1):
        refuted = (np.abs(values[j] - values[j + 1 :]) > bars[j] + bars[j + 1 :]).any(axis=0)
        believed[j] = np.where(refuted, np.inf, believed[j])
    level = believed.argmin(axis=0)
    columns = np.arange(m)
    return values[level, columns], believed[level, columns], level


def _settled(data: _Data, tables: _Tables, ratio: float) -> Array:
    """Whether smaller steps can be spared: two smaller levels agree with the estimate, and the bends shrink with the step."""
    n = len(data.a)
    if n < 4:
        return np.zeros(data.center.size, dtype=bool)
    value, bar, level = tables.central
    finite = np.isfinite(data.up[-3:]).all(axis=0) & np.isfinite(data.down[-3:]).all(axis=0)
    bend, floor = np.abs(tables.forward - tables.backward), 4 * tables.floor
    shrinks = (bend[-1] <= floor[-1]) | (bend[-1] < (1 + 1 / ratio) / 2 * bend[-2]) & (bend[-2] < (1 + 1 / ratio) / 2 * bend[-3])
    return finite & shrinks & (level <= n - 3) & tables.agreed & ((bar < 1e-6 * np.abs(value)) | (bar < 8 * tables.floor[level, np.arange(len(level))]))


def _growth(side: Array, floor: Array) -> tuple[Array, Array]:
    """How the differences of one-sided slopes (n, m) grow from level to level, over the last four that rounding leaves: least, most.

    Where f is smooth they fall as h does. If f ~ |h|^p they grow by ratio^(1-p), at a jump by ratio. (0, 0) where they change sign, or
    rounding leaves too few levels.
    """
    n, m = side.shape
    usable = np.isfinite(side) & (floor < 0.05 * np.abs(side))
    least, most = np.zeros(m), np.zeros(m)
    for end in range(4, n + 1):
        block = np.diff(side[end - 4 : end], axis=0)
        there = usable[end - 4 : end].all(axis=0) & (np.abs(np.sign(block).sum(axis=0)) == 3)
        rates = np.abs(block[1:]) / np.abs(block[:-1])
        rates = np.where(np.isfinite(rates), rates, 0.0)
        ok = usable[end - 4 : end].all(axis=0)
        least, most = np.where(ok, np.where(there, rates.min(axis=0), 0.0), least), np.where(ok, np.where(there, rates.max(axis=0), 0.0), most)
    return least, most


def _verdict(data: _Data, tables: _Tables, ratio: float, evaluations: int) -> Slope:
    m = data.center.size
    if not len(data.a):
        nothing, inf = np.zeros(m), np.full(m, np.inf)
        return Slope(nothing, inf, nothing, nothing, inf, inf, np.full(m, UNKNOWN), evaluations)
    (value, error, _), (left, left_error, _), (right, right_error, _) = tables.central, tables.left, tables.right
    finite_up, finite_down = np.isfinite(data.up[-2:]).all(axis=0), np.isfinite(data.down[-2:]).all(axis=0)
    both = finite_up & finite_down
    jumps = diverges = np.zeros(m, dtype=bool)
    for side, finite in ((tables.forward, finite_up), (tables.backward, finite_down)):
        least, most = _growth(side, 2 * tables.floor)
        jumps = jumps | finite & (least > 0.95 * ratio) & (most < 1.05 * ratio)
        diverges = diverges | finite & (least > 0.93)
    bend, floor = np.abs(tables.forward - tables.backward), 4 * tables.floor
    kept = np.zeros(m, dtype=bool)
    for j in range(1, len(bend)):  # of the last two levels whose bend stands out from rounding: did it stay?
        seen = (bend[j] > floor[j]) & (bend[j - 1] > floor[j - 1])
        kept = np.where(seen, bend[j] > (1 + 1 / ratio) / 2 * bend[j - 1], kept)
    gap, gap_error, _ = tables.gap
    kinked = both & kept & (np.abs(gap) > gap_error) & (np.abs(right - left) > 0)
    unknown = ~np.isfinite(data.center) | ~(finite_up | finite_down)
    kind = np.select([unknown, jumps, diverges, ~both, kinked], [UNKNOWN, JUMP, DIVERGENT, EDGE, KINK], SMOOTH)
    smooth, edge, kink = kind == SMOOTH, kind == EDGE, kind == KINK
    value = np.where(edge, np.where(finite_up, right, left), np.where(kink, (left + right) / 2, value))
    error = np.where(edge, np.where(finite_up, right_error, left_error), error)
    error = np.where(kink, np.abs(right - left) / 2 + np.maximum(left_error, right_error), error)
    error = np.where(smooth | edge | kink, error, np.inf)
    left, left_error = np.where(smooth, value, left), np.where(smooth, error, np.where(finite_down, left_error, np.inf))
    right, right_error = np.where(smooth, value, right), np.where(smooth, error, np.where(finite_up, right_error, np.inf))
    return Slope(value, error, left, right, left_error, right_error, kind, evaluations)
