"""Does a backward depend on which forward was called last?"""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import Evaluator, silent
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.structure import differ


def stale(ev: Evaluator, g: Array, rng: np.random.Generator, notes: list[str]) -> list[Finding]:
    """A backward after a forward at another point, against one after its own forward alone; notes are added to `notes`."""
    for sign in (1, -1):  # nearby, and on the other side of 0, where masks differ
        other = list(ev.given)
        for k in ev.subject.wrt:
            x = ev.given[k]
            other[k] = (sign * x * (1 + 0.3 * rng.uniform(-1, 1, x.shape)) + 0.01).astype(x.dtype)
        if found := _after(ev, g, other, notes):
            return found
    return []


def _after(ev: Evaluator, g: Array, other: list[Array], notes: list[str]) -> list[Finding]:
    try:
        with silent():
            if hasattr(ev.subject, "remembers"):
                ev.subject.forward([np.array(x) for x in ev.given])
            plain = ev.vjp(g, ev.given)
            _follow(ev, g, plain, other, notes)
            copies = [np.array(x) for x in ev.given], [np.array(x) for x in other]
            after = ev.subject.backward_after(ev.split(g, given=True), *copies)
    except Exception:  # the other point is not in the function's domain
        return []
    if after is None:
        return []
    ev.calls["forward"] += 2
    ev.calls["backward"] += 1
    for k in ev.subject.wrt:
        if differ(plain[k], after[k], ev.backward_epsilon):
            name = ev.subject.names[k]
            return [
                Finding(
                    "stale-state",
                    0.97,
                    k,
                    name,
                    f"the gradient of {name} changes when forward was called at another point before: the backward uses what "
                    "that call left behind",
                    "keep what the backward needs anew in every forward (overwrite, do not keep the first), or compute it "
                    "from the inputs",
                    {},
                    name,
                )
            ]
    return []


def _follow(ev: Evaluator, g: Array, plain: tuple[Array | None, ...], other: list[Array], notes: list[str]) -> None:
    """A function pair whose backward relies on the last forward: from now on each backward follows its own."""
    if getattr(ev.subject, "remembers", None) is not False:
        return
    ev.subject.forward([np.array(x) for x in other])
    after = ev.vjp(g, ev.given)
    if any(differ(plain[k], after[k], ev.backward_epsilon) for k in ev.subject.wrt):
        ev.subject.remembers = True  # type: ignore[attr-defined]
        notes.append("the backward relies on values that the last forward kept, so it must follow its own forward at once")
