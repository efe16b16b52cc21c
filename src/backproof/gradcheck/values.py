"""The claimed Jacobian of an input and the numerical one, entry by entry, with bars and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backproof.arrays import Array, Shape
from backproof.gradcheck.differences import EDGE, JUMP, KINK, QUICK_STEPS, SMOOTH, UNKNOWN, quick, slope
from backproof.gradcheck.evaluate import EPS, Evaluator, granularity

WHOLE = 48  # the whole Jacobian is formed up to so many inputs and outputs; more are looked at along directions first
LIMIT = 1200  # and up to so many inputs once something is wrong


@dataclass
class Pair:
    """What is known of one input: numerical (m, n) with bars `error`, analytical (m, n), verdicts; m outputs, n inputs, flattened.

    x: its value; inputs, outputs: all of the call's; shapes: of the outputs. kind (m, n): codes of `differences`; low, high: the
    one-sided slopes, sorted. relative: what rounding within the backward explains of an entry, as a share of it.
    """

    input: int
    name: str
    x: Array
    inputs: Sequence[Array]
    outputs: list[Array]
    shapes: list[Shape]
    numerical: Array
    error: Array
    analytical: Array
    kind: Array
    low: Array
    high: Array
    relative: float
    jitter: Array
    function: Any = None
    others: dict[int, Pair] = field(default_factory=dict)

    @property
    def slack(self) -> Array:
        """What the difference of an entry may be without being one."""
        size = np.maximum(np.abs(self.numerical), np.abs(self.analytical))
        scale = np.abs(self.numerical).max(axis=1, keepdims=True, initial=0.0)
        with np.errstate(all="ignore"):
            return np.asarray(
                3 * self.error + self.relative * size + 0.01 * self.relative * scale + self.jitter + 1e-5 * self.relative
            )

    @property
    def wrong(self) -> Array:
        """Entries whose difference no bar explains; at a kink any value between the one-sided slopes is right."""
        slack = self.slack
        with np.errstate(all="ignore"):
            outside = (self.analytical < self.low - slack) | (self.analytical > self.high + slack)
        decided = np.isfinite(self.error) & (self.kind != JUMP) & (self.kind != UNKNOWN)
        # where a column has no derivative, its nan in the rows of other outputs is 0 * inf, of a one-hot upstream gradient
        broken = ~np.isfinite(self.analytical) & ~((self.kind == JUMP) | (self.kind == UNKNOWN)).any(axis=0, keepdims=True)
        with np.errstate(all="ignore"):  # a constant that is stored in float32 (1/6, say) is right to float32, in any dtype
            single = (self.analytical.astype(np.float32) == self.analytical) & (
                np.abs(self.analytical - self.numerical) <= 2.0**-22 * np.abs(self.numerical)
            )
        return np.asarray(decided & ~single & np.where(np.isfinite(self.analytical), outside, broken))

    @property
    def undecided(self) -> Array:
        return unsettled(self.numerical, self.error)

    def near(self, a: Array, b: Array, tolerance: float = 0.0) -> Array:
        """Entries of two forms of the Jacobian that are the same to the bars (and at a kink: to the one-sided slopes)."""
        tolerance = max(tolerance, 30 * self.relative, 1e-6)
        scale = float(np.abs(self.numerical[np.isfinite(self.numerical)]).max(initial=0.0))
        with np.errstate(all="ignore"):
            room = 10 * self.error + tolerance * np.maximum(np.abs(a), np.abs(b)) + 1e-3 * tolerance * scale + self.jitter
            return np.asarray((np.abs(a - b) <= room) | ((self.kind != SMOOTH) & (self.kind != EDGE)))

    def same(self, a: Array, b: Array, tolerance: float = 0.0) -> bool:
        return bool(self.near(a, b, tolerance).all())


def unsettled(numerical: Array, error: Array) -> Array:
    """Entries whose bar is so wide, measured by the entry and by the largest one, that nothing can be said of them."""
    scale = float(np.abs(numerical[np.isfinite(numerical)]).max(initial=0.0))
    return np.asarray(~np.isfinite(error) | (error > 0.1 * np.maximum(np.abs(numerical), 0.1 * scale) + 1e-12))


def _relative(ev: Evaluator, gradients: Sequence[Array]) -> float:
    """What rounding in the backward explains of an entry, as a share of it: by its dtype, or by the digits its numbers have."""
    epsilon = max([ev.backward_epsilon, *(granularity(g) for g in gradients if granularity(g) < 1)])
    return 1e-8 if epsilon <= EPS else 64 * epsilon


def analytical_jacobian(ev: Evaluator, ks: Sequence[int], inputs: Sequence[Array] | None = None) -> dict[int, Array] | None:
    """Rows from one-hot upstream gradients. None if a gradient's shape is not its input's."""
    point = ev.point if inputs is None else inputs
    m = ev.center.size
    rows = {k: np.zeros((m, point[k].size)) for k in ks}
    for i in range(m):
        unit = np.zeros(m)
        unit[i] = 1.0
        grads = ev.vjp(unit, point)
        for k in ks:
            grad = grads[k]
            if grad is None:
                continue
            if grad.size != point[k].size:
                return None
            rows[k][i] = np.asarray(grad, dtype=np.float64).ravel()
    return rows


def numerical_column(ev: Evaluator, k: int, j: int, center: Array, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """value, error, again of column j by the quick formula."""
    x = inputs[k]
    unit = np.zeros(x.shape)
    unit.flat[j] = 1.0
    line = ev.line(k, unit, inputs)
    size = _size(x, j)
    steps = np.array(QUICK_STEPS) * size
    taken_up, up = line(steps)
    taken_down, down = line(-steps)
    return quick(taken_up - taken_down, up, down, center, ev.epsilon, size)


def _size(x: Array, j: int) -> float:
    size = abs(float(x.flat[j]))
    return size if np.isfinite(size) and size > 1e-30 else 1.0


def measure(
    ev: Evaluator, k: int, claimed: Array | None, inputs: Sequence[Array] | None = None, columns: Sequence[int] | None = None
) -> Pair:
    """The numerical Jacobian of input k (all columns, or some), every disputed column measured again by the full ladder.

    claimed None: there is none to dispute, only the numerical one is asked for.
    """
    inputs = ev.point if inputs is None else inputs
    outputs = ev.forward(inputs)
    center = ev.join(outputs)
    x = inputs[k]
    chosen = range(x.size) if columns is None else columns
    m, n = center.size, x.size
    numerical, error = np.zeros((m, n)), np.full((m, n), np.inf if columns is not None else 0.0)
    kind, low, high = np.full((m, n), SMOOTH), np.zeros((m, n)), np.zeros((m, n))
    analytical = np.zeros((m, n)) if claimed is None else claimed
    relative = _relative(ev, [] if claimed is None else [claimed])
    for j in chosen:
        unit = np.zeros(x.shape)
        unit.flat[j] = 1.0
        if ev.epsilon > EPS or not np.isfinite(x.flat[j]):
            again = np.ones(m, dtype=bool)
            value, bar = np.zeros(m), np.full(m, np.inf)
        else:
            value, bar, again = numerical_column(ev, k, j, center, inputs)
            if claimed is not None:
                with np.errstate(all="ignore"):
                    again = again | ~(np.abs(value - claimed[:, j]) <= 3 * bar + relative * np.abs(value) + 1e-300)
        numerical[:, j], error[:, j], low[:, j], high[:, j] = value, bar, value, value
        if again.any():
            s = slope(ev.line(k, unit, inputs), center, size=_size(x, j), epsilon=ev.epsilon)
            better = again & ((s.error < bar) | (s.kind != SMOOTH) | ~np.isfinite(bar))
            # what the two ways contradict each other in is settled by the ladder, which has seen the smaller steps
            better |= again & (np.abs(s.value - value) > bar + s.error)
            numerical[better, j], error[better, j], kind[better, j] = s.value[better], s.error[better], s.kind[better]
            low[:, j] = np.where(better, np.minimum(s.left, s.right), value)
            high[:, j] = np.where(better, np.maximum(s.left, s.right), value)
            kinks = better & (s.kind == KINK)
            error[kinks, j] = np.maximum(error[kinks, j], s.one_sided_error[kinks])
            if not np.isfinite(x.flat[j]):  # moving an infinity moves nothing
                numerical[:, j] = error[:, j] = low[:, j] = high[:, j] = 0.0
                kind[:, j] = SMOOTH
    jitter = np.zeros((1, 1))
    bad = ~np.isfinite(numerical)
    numerical[bad], error[bad], kind[bad] = 0.0, np.inf, UNKNOWN
    pair = Pair(
        k,
        ev.subject.names[k],
        np.asarray(x, dtype=np.float64),
        inputs,
        [np.asarray(outputs[i]) for i in ev.floats],
        [outputs[i].shape for i in ev.floats],
        numerical,
        error,
        analytical,
        kind,
        low,
        high,
        relative,
        jitter,
        ev,
    )
    if claimed is not None and columns is None and pair.wrong.any():
        pair.jitter = _conditioning(ev, k, analytical, inputs)
    return pair


def _conditioning(ev: Evaluator, k: int, analytical: Array, inputs: Sequence[Array]) -> Array:
    """How far the backward moves when its inputs move by their last bits: rounding within it may do as much."""
    rng = np.random.default_rng(3)
    moved = [
        (np.asarray(x, dtype=np.float64) * (1 + 2 * ev.backward_epsilon * rng.choice([-1.0, 1.0], x.shape))).astype(x.dtype)
        if i in ev.subject.wrt
        else x
        for i, x in enumerate(inputs)
    ]
    try:
        other = analytical_jacobian(ev, [k], moved)
    except Exception:  # the neighbour is outside the function's domain
        return np.zeros((1, 1))
    if other is None:
        return np.zeros((1, 1))
    with np.errstate(all="ignore"):
        return np.asarray(np.nan_to_num(8 * np.abs(other[k] - analytical), nan=0.0, posinf=0.0))


@dataclass
class Directions:
    """<v, J u> against <A^T v, u> for random u and v: `wrong` of `count` products differ by more than their bars."""

    count: int
    wrong: int
    undecided: int
    kinked: bool
    worst: float
    bar: float


def directions(
    ev: Evaluator,
    k: int,
    rng: np.random.Generator,
    *,
    tangents: int = 2,
    cotangents: int = 3,
    inputs: Sequence[Array] | None = None,
) -> Directions:
    """Input k along random Gaussian directions: one relative to each entry's size, the others uniform.

    A Gaussian product misses a given error E with probability 0 in exact arithmetic; an error is seen if it exceeds the bar of the
    directional derivative, which does not grow with the number of inputs as a tolerance per entry would.
    """
    inputs = ev.point if inputs is None else inputs
    outputs = ev.forward(inputs)
    center = ev.join(outputs)
    x = np.asarray(inputs[k], dtype=np.float64)
    m = center.size
    vs = rng.normal(size=(cotangents, m)) if m > 1 else np.array([[1.0], [-0.7]])
    claimed = [ev.vjp(v, inputs)[k] for v in vs]
    claimed_rows = [np.zeros(x.size) if g is None else np.asarray(g, dtype=np.float64).ravel() for g in claimed]
    relative = _relative(ev, claimed_rows)
    count = wrong = undecided = 0
    kinked = False
    worst, worst_bar = 0.0, 0.0
    finite = np.isfinite(x)
    typical = float(np.median(np.abs(x[finite & (x != 0)]))) if (finite & (x != 0)).any() else 1.0
    for t in range(tangents):
        scale = np.where(x != 0, np.abs(x), typical) if t == 0 else np.full(x.shape, typical)
        u = np.where(finite, rng.normal(size=x.shape) * np.where(finite, scale, 0.0), 0.0)
        line = ev.line(k, u, inputs)
        steps = np.array(QUICK_STEPS) / 4
        _, up = line(steps)
        _, down = line(-steps)
        value, bar, again = quick(2 * steps, up, down, center, ev.epsilon)
        with np.errstate(all="ignore"):
            bar = bar + 4 * ev.epsilon * np.abs(value) / steps[-1]
        low = high = value
        products = [(v, float(g @ u.ravel()), np.abs(g) @ np.abs(u.ravel())) for v, g in zip(vs, claimed_rows, strict=True)]
        disputed = any(not abs(v @ value - p) <= 3 * np.abs(v) @ bar + relative * s for v, p, s in products)
        if again.any() or disputed:
            s = slope(line, center, epsilon=ev.epsilon)
            value, bar = s.value, s.error + 16 * EPS * np.abs(s.value)
            low, high = np.minimum(s.left, s.right), np.maximum(s.left, s.right)
            kinked |= bool((s.kind == KINK).any())
            if (s.kind == JUMP).any() or (s.kind == UNKNOWN).any() or not np.isfinite(value).all():
                bar = np.full(m, np.inf)
        for v, product, size in products:
            count += 1
            with np.errstate(all="ignore"):
                slack = 3 * np.abs(v) @ bar + relative * (size + 1e-5 * np.abs(u).max())
                bottom, top = np.minimum(v * low, v * high).sum(), np.maximum(v * low, v * high).sum()
                off = max(bottom - product, product - top, 0.0)
            if not np.isfinite(slack):
                undecided += 1
            elif not off <= slack:
                wrong += 1
                if not off <= worst:
                    worst, worst_bar = float(off), float(slack)
            elif slack > 0.1 * max(abs(bottom), abs(top)) + 1e-12:
                undecided += 1
    return Directions(count, wrong, undecided, kinked, worst, worst_bar)
