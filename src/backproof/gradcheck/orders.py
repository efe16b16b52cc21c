"""Beside the gradient: the forward-mode derivative somebody wrote, and the second derivative."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.differences import JUMP, KINK, UNKNOWN, slope
from backproof.gradcheck.evaluate import EPS, Evaluator, silent
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import constant
from backproof.gradcheck.subject import Arrays, Gradients, Subject
from backproof.gradcheck.values import LIMIT, measure


def forward_mode(ev: Evaluator, rng: np.random.Generator, has_backward: bool) -> list[Finding]:
    """The claimed J u for each input against the slope along u, and against the backward: <v, J u> = <J^T v, u>."""
    found: list[Finding] = []
    for k in ev.subject.wrt:
        x = np.asarray(ev.point[k], dtype=np.float64)
        if not x.size:
            continue
        u = rng.normal(size=x.shape)
        tangents = [
            u.astype(x.dtype) if i == k else np.zeros(p.shape, p.dtype if p.dtype.kind == "f" else np.float64)
            for i, p in enumerate(ev.point)
        ]
        with silent():
            out = ev.subject.jvp(tangents, [np.array(p) for p in ev.point])
        if out is None:
            return found
        ev.calls["jvp"] += 1
        name = ev.subject.names[k]
        if [np.shape(t) for t in out] != [y.shape for y in ev.outputs]:
            found.append(
                Finding(
                    "wrong-shape",
                    0.97,
                    k,
                    f"{name}, forward mode",
                    f"the tangents along {name} have shapes {[np.shape(t) for t in out]}, the outputs "
                    f"{[y.shape for y in ev.outputs]}",
                    "return one tangent an output, of its shape",
                    {},
                    name,
                )
            )
            continue
        claimed = ev.join([np.asarray(t) for t in out])
        s = slope(ev.line(k, u), ev.center, epsilon=ev.epsilon)
        known = (s.kind != KINK) & (s.kind != JUMP) & (s.kind != UNKNOWN) & np.isfinite(s.error)
        relative = 1e-8 if ev.backward_epsilon <= EPS else 64 * ev.backward_epsilon
        with np.errstate(all="ignore"):
            scale = float(np.abs(s.value[known]).max(initial=0.0))
            wrong = known & ~(np.abs(claimed - s.value) <= 3 * s.error + relative * (np.abs(s.value) + scale))
        if wrong.any():
            found.append(_forward_finding(k, name, claimed, s.value, wrong))
        elif has_backward:
            v = rng.normal(size=claimed.size)
            grad = ev.vjp(v)[k]
            if grad is not None and grad.shape == x.shape:
                left, right = float(v @ claimed), float((np.asarray(grad, dtype=np.float64) * u).sum())
                room = 1e4 * relative * (float(np.abs(v) @ np.abs(claimed)) + abs(right) + 1e-12)
                if not abs(left - right) <= room:
                    found.append(
                        Finding(
                            "transposed",
                            0.6,
                            k,
                            f"{name}, transposition test",
                            f"<v, J u> = {left:.8g} in forward mode, <J^T v, u> = {right:.8g} in reverse mode",
                            "the two modes must be transposes of each other; the forward mode agrees with numerical "
                            "differentiation, the backward does not",
                            {"forward": left, "reverse": right},
                            name,
                        )
                    )
    return found


def _forward_finding(k: int, name: str, claimed: Array, true: Array, wrong: Array) -> Finding:
    with np.errstate(all="ignore"):
        ratio = claimed[true != 0] / true[true != 0]
    c = constant(ratio) if ratio.size > 1 and np.isfinite(ratio).all() else None
    where, i = f"{name}, forward mode", int(np.argmax(wrong))
    text = (
        f"the Jacobian-vector product along {name} is wrong at {int(wrong.sum())} of {wrong.size} outputs; the first is "
        f"{claimed[i]:.6g}, should be {true[i]:.6g}"
    )
    if not claimed.any():
        return Finding("zero-gradient", 0.95, k, where, f"the tangent along {name} is zero", "carry the tangent through", {}, name)
    if c is not None and abs(c + 1) < 1e-4:
        return Finding("sign-flipped", 0.95, k, where, text, "change its sign", {"factor": -1.0}, name)
    if c is not None:
        return Finding("wrong-scale", 0.95, k, where, text, f"divide it by {c:.6g}", {"factor": c}, name)
    if wrong.mean() < 0.5:
        return Finding(
            "wrong-at-some-entries",
            0.8,
            k,
            where,
            text,
            "look at what is special there",
            {"wrong": np.flatnonzero(wrong)[:8].tolist()},
            name,
        )
    return Finding("unknown", 0.5, k, where, text, "derive dy = J dx by hand and compare", {}, name)


class GradientMap(Subject):
    """x -> the claimed gradient at x, of one input and for one upstream gradient; what its Jacobian is, nobody claims."""

    def __init__(self, ev: Evaluator, k: int, upstream: list[Array]) -> None:
        self.ev, self.k, self.upstream = ev, k, upstream
        self.name, self.inputs, self.names = f"gradient of {ev.subject.name}", ev.point, ev.subject.names
        self.wrt, self.arguments = (k,), ev.subject.arguments

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        grad = self.ev.backward(self.upstream, inputs)[self.k]
        return (np.zeros_like(self.inputs[self.k]) if grad is None else grad,)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        raise NotImplementedError("a gradient map has no derivative of its own")


def symmetric(ev: Evaluator, rng: np.random.Generator) -> tuple[list[Finding], list[str]]:
    """A gradient's Jacobian is a Hessian: symmetric. One that is not is no function's gradient."""
    found, notes = [], []
    upstream = ev.split(rng.normal(size=ev.center.size))
    for k in ev.subject.wrt:
        n, name = ev.point[k].size, ev.subject.names[k]
        if not 1 < n <= LIMIT // 4:
            notes.append(
                f"{name}: second order not checked (the code has no second derivative, and the size {n} is not between 2 and "
                f"{LIMIT // 4})"
            )
            continue
        inner = Evaluator(GradientMap(ev, k, upstream))
        p = measure(inner, k, np.zeros((n, n)))
        h, bar = p.numerical, p.error + p.error.T
        smooth = (p.kind == 0) & (p.kind.T == 0)
        gap = np.abs(h - h.T)
        wrong = smooth & (gap > 5 * bar + 1e-6 * np.abs(h).max(initial=0.0))
        if wrong.any():
            i, j = np.unravel_index(int(np.argmax(np.where(wrong, gap, 0))), gap.shape)
            found.append(
                Finding(
                    "unknown",
                    0.7,
                    k,
                    f"{name}, second order",
                    f"the Jacobian of your gradient of {name} is not symmetric: d g_{i}/d x_{j} = {h[i, j]:.6g}, d g_{j}/d "
                    f"x_{i} = {h[j, i]:.6g}; no function has this gradient",
                    "differentiate the same function in every entry",
                    {"entry": [int(i), int(j)]},
                    name,
                )
            )
        else:
            notes.append(f"{name}: the Jacobian of the gradient is symmetric, as a Hessian must be")
    return found, notes
