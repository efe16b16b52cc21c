"""Kinks and ties: where there is no derivative, and what is right there."""

from __future__ import annotations

import numpy as np

from backproof.gradcheck.differences import KINK, SMOOTH, slope
from backproof.gradcheck.evaluate import EPS
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import index
from backproof.gradcheck.values import Pair, measure


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
