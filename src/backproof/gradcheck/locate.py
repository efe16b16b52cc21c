"""Where a large gradient is wrong: a smaller case that fails too, or the wrong coordinates by bisection."""

from __future__ import annotations

import copy

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.differences import QUICK_STEPS, quick, slope
from backproof.gradcheck.evaluate import Evaluator
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import constant, index, name_factor
from backproof.gradcheck.subject import Subject
from backproof.gradcheck.values import WHOLE, Pair, analytical_jacobian, measure


def shrunk(ev: Evaluator, k: int, rng: np.random.Generator) -> Pair | None:
    """The Jacobian of a case whose axes are cut down, all axes of one length together, if it still fails; None if none does."""
    lengths = sorted({s for x in ev.point for s in x.shape if s > 3}, reverse=True)
    point = list(ev.point)
    for length in lengths:
        for size in (3, 4, 5, 8):
            if size >= length:
                break
            cut = [x[tuple(slice(0, size) if s == length else slice(None) for s in x.shape)] for x in point]
            cut = [np.minimum(x, size - 1) if x.dtype.kind in "iu" else x for x in cut]
            try:
                y = ev.forward(cut)
                if np.isfinite(ev.join(y)).all() and (small := Evaluator(_at(ev, cut))).center.size:
                    grads = small.vjp(np.ones(small.center.size))
                    if all(g is None or g.shape == x.shape for g, x in zip(grads, cut, strict=True)):
                        point = cut
                        break
            except Exception:  # this cut does not fit together
                continue
    if point[k].size > 2 * WHOLE:
        return None
    try:
        small = Evaluator(_at(ev, point))
        if small.center.size > 2 * WHOLE:
            return None
        jacobians = analytical_jacobian(small, [k])
        pair = None if jacobians is None else measure(small, k, jacobians[k])
    except Exception:
        return None
    return pair if pair is not None and pair.wrong.any() else None


def _at(ev: Evaluator, inputs: list[Array]) -> Subject:
    """The same subject at other inputs."""
    subject = copy.copy(ev.subject)
    subject.inputs = tuple(inputs)
    return subject


def located(ev: Evaluator, k: int, rng: np.random.Generator) -> Finding:
    """Bisection: halves of the coordinates whose directional derivative is wrong are halved again."""
    x = np.asarray(ev.point[k], dtype=np.float64)
    center, m = ev.center, ev.center.size
    v = rng.normal(size=m) if m > 1 else np.ones(1)
    claimed = np.asarray(ev.vjp(v)[k], dtype=np.float64).ravel()
    typical = float(np.median(np.abs(x[x != 0]))) if np.any(x) else 1.0
    u = rng.normal(size=x.size) * typical

    def off(columns: Array) -> float | None:
        d = np.zeros(x.size)
        d[columns] = u[columns]
        line = ev.line(k, d.reshape(x.shape))
        if len(columns) == 1:
            s = slope(line, center, epsilon=ev.epsilon)
            value, bar = s.value, s.error
        else:
            steps = np.array(QUICK_STEPS) / 4
            value, bar, _ = quick(2 * steps, line(steps)[1], line(-steps)[1], center, ev.epsilon)
        product = float(claimed[columns] @ u[columns])
        gap = abs(float(v @ value) - product)
        slack = 10 * float(np.abs(v) @ bar) + 1e-8 * float(np.abs(claimed[columns] * u[columns]).sum())
        return float(v @ value) if not gap <= slack else None

    wrong: list[tuple[int, float, float]] = []
    queue, looked = [np.arange(x.size)], 0
    while queue and len(wrong) < 8 and looked < 400:
        columns = queue.pop()
        looked += 1
        true = off(columns)
        if true is None:
            continue
        if len(columns) == 1:
            wrong.append((int(columns[0]), float(claimed[columns[0]]), true / float(u[columns[0]])))
        else:
            queue += [columns[len(columns) // 2 :], columns[: len(columns) // 2]]
    name = ev.subject.names[k]
    places = [index(c, x.shape) for c, _, _ in wrong]
    ratios = np.array([yours / true for _, yours, true in wrong if true])
    sample = rng.choice(x.size, min(12, x.size), replace=False)
    dense = sum(off(np.array([c])) is not None for c in sample) > len(sample) // 2
    factor = constant(ratios) if dense and len(ratios) > 3 else None
    if factor is not None:
        holder = measure_holder(ev, k)
        cause = "sign-flipped" if abs(factor + 1) < 1e-6 else "wrong-scale"
        what = name_factor(holder, factor)
        return Finding(
            cause,
            0.9,
            k,
            name,
            f"the gradient of {name} is right but for the factor {factor:.6g}" + (f": {what}" if what else ""),
            f"divide it by {factor:.6g}",
            {"factor": factor, "named": what},
            name,
        )
    listed = "; ".join(
        f"{name}{list(p)}: yours {yours:.6g}, numerical {true:.6g}" for p, (_, yours, true) in zip(places[:4], wrong, strict=False)
    )
    return Finding(
        "unknown" if dense else "wrong-at-some-entries",
        0.5 if dense else 0.85,
        k,
        f"{name} at {places}",
        f"the gradient of {name} is wrong at "
        + ("most of its entries" if dense else f"{len(wrong)} entries found by bisection")
        + f": {listed}",
        "look at what is special at these entries",
        {"indices": [list(p) for p in places], "looked": looked},
        name,
    )


def measure_holder(ev: Evaluator, k: int) -> Pair:
    """A Pair without values, for the names of sizes."""
    x = np.asarray(ev.point[k])
    e = np.zeros((0, 0))
    return Pair(
        k, ev.subject.names[k], x, ev.point, [np.asarray(ev.outputs[i]) for i in ev.floats], ev.shapes, e, e, e, e, e, e, 0.0, e, ev
    )
