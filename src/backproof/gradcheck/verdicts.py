"""Verdicts beside the entry-by-entry one: ties, kinks, low precision, special points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.differences import KINK, SMOOTH, slope
from backproof.gradcheck.evaluate import EPS, Evaluator, is_float, spacing
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules import diagnose
from backproof.gradcheck.rules.base import index
from backproof.gradcheck.values import Pair, analytical_jacobian, directions, measure

if TYPE_CHECKING:
    from backproof.gradcheck.engine import Examination


def joint_ties(p: Pair) -> Finding | None:
    """At a tie every single coordinate has a kink, but moving all tied entries together is smooth: there A u must be the slope."""
    kinks = p.kind == KINK
    ev = p.function
    for i in np.flatnonzero(kinks.any(axis=1))[:8]:
        columns = np.flatnonzero(kinks[i])
        if len(columns) < 2:
            continue
        u = np.zeros(p.x.size)
        u[columns] = 1.0
        s = slope(ev.line(p.input, u.reshape(p.x.shape), p.inputs), ev.flat(p.inputs), epsilon=ev.epsilon)
        yours = float(p.analytical[i] @ u)
        if s.kind[i] == SMOOTH and abs(yours - s.value[i]) > 10 * s.error[i] + 1e-6 * max(1.0, abs(yours)):
            places = [index(int(c), p.x.shape) for c in columns]
            return Finding(
                "wrong-at-some-entries",
                0.9,
                p.input,
                f"{p.name} at {places}",
                f"at the tie of {p.name}{places} the gradient's entries sum to "
                f"{yours:.4g}; moving the tied entries together changes the output at the rate {s.value[i]:.4g}",
                "share the gradient among tied entries, or give it to one of them, not to each in full",
                {"sum": yours, "expected": float(s.value[i])},
                p.name,
            )
    return None


def widen_at_kinks(p: Pair) -> None:
    """Where an input sits on a kink of some output, its other outputs may have one that no single coordinate shows (the middle one
    of three tied entries, sorted). Right is there what lies between the derivatives close by (Clarke's subdifferential, 1983)."""
    columns = np.flatnonzero((p.kind == KINK).any(axis=0) & p.wrong.any(axis=0))
    tied = (p.kind == KINK).any(axis=0).reshape(p.x.shape)
    if not len(columns) or len(columns) > 24:
        return
    rng = np.random.default_rng(7)
    step = 1e-6 if p.function.epsilon <= EPS else 1e-2
    for _ in range(8):
        near = list(p.inputs)
        moved = p.x + tied * step * np.where(p.x == 0, 1.0, np.abs(p.x)) * rng.uniform(-1, 1, p.x.shape)
        near[p.input] = moved.astype(p.inputs[p.input].dtype)
        try:
            q = measure(p.function, p.input, None, near, list(columns))
        except Exception:  # outside the domain
            return
        known = np.isfinite(q.error[:, columns])
        for hull, pick in ((p.low, np.minimum), (p.high, np.maximum)):
            hull[:, columns] = np.where(known, pick(hull[:, columns], q.numerical[:, columns]), hull[:, columns])


def on_manifold(p: Pair) -> str | None:
    """A convention, not a bug: the gradient of a function of symmetric (or triangular) matrices is right along such matrices
    only."""
    x = p.x
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or x.shape[-1] < 2 or not np.isfinite(p.analytical).all():
        return None
    swapped = np.swapaxes(np.arange(x.size).reshape(x.shape), -1, -2).ravel()
    e = np.where(np.isfinite(p.error), p.analytical - p.numerical, 0.0)
    slack = p.slack + p.slack[:, swapped]
    if np.allclose(x, np.swapaxes(x, -1, -2), rtol=1e-6, atol=1e-12 * np.abs(x).max()) and bool(
        (np.abs(e + e[:, swapped]) <= 10 * slack).all()
    ):
        return (
            "right along symmetric matrices, as this one is; entry by entry it follows another convention (which triangle is read)"
        )
    reads = (np.abs(p.numerical).max(axis=0) > 10 * np.where(np.isfinite(p.error), p.error, 0.0).max(axis=0)).reshape(x.shape)
    one_triangle = not np.triu(reads, 1).any() or not np.tril(reads, -1).any()
    if one_triangle and bool((np.abs(e + e[:, swapped]) <= 10 * slack).all()):
        return "the function reads one triangle of the matrix; the gradient is right along symmetric changes of it"
    for triangle in (np.tril, np.triu):
        inside = triangle(np.ones(x.shape, dtype=bool)).ravel()
        if not x.ravel()[~inside].any() and x.ravel()[inside].all() and not p.wrong[:, inside].any():
            return "right along triangular matrices, as this one is; the entries of the other triangle follow another convention"
    return None


def kink_note(p: Pair) -> Finding:
    i, k = np.argwhere(p.kind == KINK)[0]
    return Finding(
        "kink",
        0.9,
        p.input,
        f"{p.name}{list(index(int(k), p.x.shape))}",
        "the function has no derivative here: its slopes "
        f"are {p.low[i, k]:.4g} and "
        f"{p.high[i, k]:.4g} on the two sides, and any value between them is right (yours {p.analytical[i, k]:.4g})",
        "nothing to mend; to compare a derivative, move the point off the kink",
        {"count": int((p.kind == KINK).sum())},
        p.name,
    )


def low_precision(e: Examination, inputs: list[int]) -> None:
    """The gradient in the user's own precision against that in float64: rounding is a note, a nan is a bug."""
    ev = e.ev
    if not ev.upcast:
        if ev.epsilon > EPS or ev.backward_epsilon > EPS:
            for k in inputs[:1]:
                e.findings.append(_precision(ev, k, ev.epsilon, 0.0))
        return
    g = e.rng.normal(size=ev.center.size).astype(np.float32).astype(np.float64)
    low, high = ev.vjp(g, ev.given), ev.vjp(g)
    for k in inputs:
        a, b = low[k], high[k]
        if a is None or b is None or a.shape != b.shape:
            continue
        x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
        largest = float(np.finfo(np.float32 if a.dtype.name == "bfloat16" else a.dtype).max)
        broken = ~np.isfinite(x) & np.isfinite(y) & (np.abs(y) < 0.1 * largest)
        name = e.subject.names[k]
        if broken.any() and np.isfinite(ev.join(ev.outputs)).all():
            e.findings.append(
                Finding(
                    "non-finite",
                    0.95,
                    k,
                    name,
                    f"in {a.dtype} the gradient of {name} is {x[broken][0]} at {int(broken.sum())} entries; in float64 it is "
                    f"{y[broken][0]:.4g}",
                    "an intermediate overflows: accumulate in float32 or better, or rescale",
                    {"dtype": str(a.dtype)},
                    name,
                )
            )
            continue
        scale = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
        with np.errstate(all="ignore"):
            off = float(np.nan_to_num(np.abs(x - y), nan=0.0, posinf=0.0).max(initial=0.0)) / max(scale, 1e-300)
        if scale and not np.any(x) and scale > 1e3 * float(np.finfo(np.float32 if a.dtype.name == "bfloat16" else a.dtype).tiny):
            e.findings.append(
                Finding(
                    "zero-gradient",
                    0.9,
                    k,
                    name,
                    f"in {a.dtype} the gradient of {name} is zero; in float64 its largest entry is {scale:.4g}",
                    "accumulate in float32 or better",
                    {"dtype": str(a.dtype)},
                    name,
                )
            )
        elif off > spacing(ev.given[k].dtype) / 4:
            e.findings.append(_precision(ev, k, spacing(ev.given[k].dtype), off))


def _precision(ev: Evaluator, k: int, epsilon: float, off: float) -> Finding:
    name, dtype = ev.subject.names[k], ev.given[k].dtype
    return Finding(
        "precision",
        0.9,
        k,
        name,
        f"rounding: the gradient of {name} is right to what {dtype} allows"
        + (f" (relative difference {off:.1e}, spacing {epsilon:.1e})" if off else ""),
        "nothing to mend; use float64 inputs to compare more digits",
        {"relative_difference": off, "epsilon": epsilon},
        name,
    )


def at_special_point(ev: Evaluator, inputs: list[int], what: str, point: list[Array], rng: np.random.Generator) -> Finding | None:
    """The first input whose gradient is wrong there; None if all are right."""
    outputs = ev.forward(point)
    if [y.shape for y in outputs] != [y.shape for y in ev.outputs]:
        return _other_shape(ev, inputs, what, point, rng)
    m = ev.center.size
    small = [k for k in inputs if point[k].size <= 6 and m <= 6]
    try:
        jacobians = analytical_jacobian(ev, small, point) if small else {}
        for k in inputs:
            if k in small and jacobians is not None:
                p = measure(ev, k, jacobians[k], point)
                widen_at_kinks(p)
                if not p.wrong.any():
                    if (tie := joint_ties(p)) is None:
                        continue
                    return _there(tie, what)
                if not _persists(ev, p, point):
                    continue
                first = diagnose(p)[0]
            else:
                d = directions(ev, k, rng, tangents=1, cotangents=2, inputs=point)
                if not d.wrong and not d.kinked:
                    continue
                if point[k].size * (1 + 10 * d.kinked) > 1200 or m > 1200:
                    continue
                whole = analytical_jacobian(ev, [k], point)
                if whole is None:
                    continue
                p = measure(ev, k, whole[k], point)
                widen_at_kinks(p)
                if not p.wrong.any():
                    if (tie := joint_ties(p)) is None:
                        continue
                    return _there(tie, what)
                if not _persists(ev, p, point):
                    continue
                first = diagnose(p)[0]
            return _cause(ev, p, first, what, point)
    except Exception:  # the code under test does not take this point
        return None
    return None


def _persists(ev: Evaluator, p: Pair, point: list[Array]) -> bool:
    """Whether the numerical derivative is believed by the code itself close by: else there is none here (a root at 0, a
    singular matrix)."""
    wrong = p.wrong
    rng = np.random.default_rng(5)
    step = 1e-6 if ev.backward_epsilon <= EPS else 1e-3
    for _ in range(2):
        near = list(point)
        for k in ev.subject.wrt:
            x = np.asarray(point[k], dtype=np.float64)
            size = np.where(x == 0, 1.0, np.abs(x))
            near[k] = (x + step * size * rng.uniform(0.5, 1, x.shape) * rng.choice([-1, 1], x.shape)).astype(point[k].dtype)
        try:
            q = analytical_jacobian(ev, [p.input], near)
            if q is None:
                continue
            m = measure(ev, p.input, q[p.input], near)
        except Exception:  # outside the domain
            continue
        scale = float(np.abs(p.numerical).max(initial=0.0))
        with np.errstate(all="ignore"):
            smooth = np.abs(m.numerical - p.numerical)[wrong] <= 1e-2 * np.abs(p.numerical)[wrong] + 1e-3 * scale
            if np.isfinite(m.error[wrong]).all() and smooth.all():
                return True
    return False


def _cause(ev: Evaluator, p: Pair, first: Finding, what: str, point: list[Array]) -> Finding:
    """Right at the user's point and wrong here: what is special tells more than the form of the difference."""
    cause, message = first.cause, first.message
    if cause == "non-finite":
        pass
    elif "repeated" in what:
        cause, message = "missing-accumulation", f"{p.name}: with repeated indices only one contribution is counted. {message}"
    elif what == "another point nearby":
        g = np.ones(ev.center.size)
        here, there = ev.vjp(g)[p.input], ev.vjp(g, point)[p.input]
        if (
            here is not None
            and there is not None
            and np.array_equal(here, there)
            and not np.array_equal(ev.point[p.input], point[p.input])
        ):
            cause, message = "stale-state", f"the gradient of {p.name} does not move with {p.name}: it was kept from the first call"
    else:
        cause = "wrong-at-some-entries"
    return _there(Finding(cause, 0.9, first.input, first.where, message, first.fix, first.evidence, first.name), what)


def _there(f: Finding, what: str) -> Finding:
    return Finding(
        f.cause,
        f.confidence,
        f.input,
        f"{f.where}; only with {what}",
        f"with {what}: {f.message}",
        f.fix,
        f.evidence | {"special_point": what},
        f.name,
    )


def _other_shape(ev: Evaluator, inputs: list[int], what: str, point: list[Array], rng: np.random.Generator) -> Finding | None:
    """A batch of one: the gradients' shapes, and one product."""
    try:
        outputs = ev.forward(point)
        upstream = [rng.normal(size=y.shape).astype(y.dtype) if is_float(y) else np.zeros_like(y) for y in outputs]
        grads = ev.backward(upstream, point)
    except Exception:
        return None
    for k in inputs:
        g = grads[k]
        if g is not None and g.shape != point[k].shape:
            return Finding(
                "wrong-shape",
                0.9,
                k,
                f"{ev.subject.names[k]}; only with {what}",
                f"with {what} the gradient of {ev.subject.names[k]} has shape {g.shape}, its input {point[k].shape}",
                "look for squeeze() or a reshape that loses the batch axis",
                {"special_point": what},
                ev.subject.names[k],
            )
    return None
