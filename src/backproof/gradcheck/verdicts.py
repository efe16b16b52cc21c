"""Verdicts beside the entry-by-entry one: conventions, low precision, special points."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import EPS, Evaluator, is_float, spacing
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.kinks import joint_ties, widen_at_kinks
from backproof.gradcheck.rules import diagnose
from backproof.gradcheck.values import Pair, analytical_jacobian, directions, measure

if TYPE_CHECKING:
    from backproof.gradcheck.engine import Examination


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
                return _tied(tie, what)
            if not _persists(ev, p, point):
                continue
            return _cause(ev, p, diagnose(p)[0], what, point)
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
        # no branch of the code explains that most entries are right there and wrong here: something was kept from the first call
        live = np.asarray(np.abs(p.numerical) > 1e-9 * np.abs(p.numerical).max(initial=0.0))
        if p.wrong[live].mean() > 0.5:
            cause, message = "stale-state", f"{p.name}: the gradient uses what the first call left behind. {message}"
    else:
        cause = "wrong-at-some-entries"
    return _there(Finding(cause, 0.9, first.input, first.where, message, first.fix, first.evidence, first.name), what)


def _tied(tie: Finding, what: str) -> Finding:
    """At a tie that the check has made, each entry lies between its one-sided slopes: worth a word, and no failure."""
    return dataclasses.replace(_there(tie, what), cause="kink", confidence=0.6)


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
