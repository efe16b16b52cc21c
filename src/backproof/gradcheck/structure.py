"""Probes of the calls themselves, before any value is compared: repeatable? arguments unharmed? linear in the upstream gradient?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import EPS, Evaluator, granularity, is_float, silent, spacing
from backproof.gradcheck.findings import Finding


def changed(before: Sequence[Array], after: Sequence[Array]) -> list[int]:
    """Positions whose bytes are no longer the same."""
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a.shape != b.shape or a.tobytes() != b.tobytes()]


def differ(a: Array | None, b: Array | None, epsilon: float, loudest: float = 0.0) -> float:
    """Largest difference over largest entry; nan and inf in the same places are no difference; 0.0 if it is rounding."""
    if a is None or b is None:
        return 0.0 if a is b else 1.0
    if a.shape != b.shape:
        return 1.0
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(all="ignore"):
        gap = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
        scale = max(
            float(np.abs(x[np.isfinite(x)]).max(initial=0.0)),
            float(np.abs(y[np.isfinite(y)]).max(initial=0.0)),
            1e-300,
            1e-3 * loudest,
        )
        off = float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0)) / scale
    return off if off > 1e4 * epsilon else 0.0


def repeatable_forward(ev: Evaluator, calls: int = 2) -> Finding | None:
    runs = [ev.outputs, *(ev.forward(ev.given) for _ in range(calls))]
    if (same := getattr(ev.subject, "same_instance", None)) is not None:
        with silent():
            runs += same([np.array(x) for x in ev.given])
    off = max((differ(a, b, _eps(a)) for run in runs[1:] for a, b in zip(runs[0], run, strict=True)), default=0.0)
    if not off:
        return None
    return Finding(
        "nondeterministic",
        0.99,
        None,
        "forward",
        f"two forward calls with the same inputs differ by {off:.2g} of the output's size; no derivative can be measured",
        "make the call repeatable: draw the mask from a generator seeded at each call, pass the mask in, or switch to "
        "evaluation mode",
        {"relative_difference": off, "pass": "forward"},
    )


def draws() -> Finding:
    """For a forward that the adapter has seen to draw from the global generator."""
    return Finding(
        "nondeterministic",
        0.95,
        None,
        "forward",
        "the forward draws random numbers from the global generator: every call gives another answer "
        "(the values below were compared with the same numbers drawn in each call)",
        "switch to evaluation mode (model.eval()), or draw from a generator seeded at each call",
        {"pass": "forward"},
    )


def repeatable_backward(ev: Evaluator, g: Array) -> Finding | None:
    first, second = ev.vjp(g, ev.given), ev.vjp(g, ev.given)
    for k in ev.subject.wrt:
        off = differ(first[k], second[k], _eps(ev.given[k]))
        if off:
            return Finding(
                "nondeterministic",
                0.98,
                k,
                "backward",
                f"two backward calls with the same upstream gradient and inputs differ by {off:.2g} of the gradient's size",
                "start each backward from fresh buffers and the mask of its own forward; do not draw random numbers or add "
                "to old results",
                {"relative_difference": off, "pass": "backward"},
                ev.subject.names[k],
            )
    return None


def mutations(ev: Evaluator, g: Array) -> list[Finding]:
    """Call forward and backward on copies that are compared afterwards."""
    found = []
    names = ev.subject.names
    mine = [np.array(x) for x in ev.given]
    with silent():
        ev.subject.forward(mine)
    ev.calls["forward"] += 1
    for k in changed(ev.given, mine):
        found.append(_mutation(k, names[k], "forward"))
    mine = [np.array(x) for x in ev.given]
    upstream = ev.split(g, given=True)
    before = [np.array(u) for u in upstream]
    with silent():
        ev.subject.backward(upstream, mine)
    ev.calls["backward"] += 1
    for k in changed(ev.given, mine):
        if not any(f.input == k for f in found):
            found.append(_mutation(k, names[k], "backward"))
    if changed(before, upstream):
        found.append(_mutation(None, "the upstream gradient", "backward"))
    return found


def _mutation(k: int | None, name: str, where: str) -> Finding:
    return Finding(
        "input-mutated",
        0.97,
        k,
        where,
        f"{where} writes into {name if k is None else f'its input {name}'}: whoever uses that array afterwards gets other numbers",
        "work on a new array (g = g * 2 instead of g *= 2), or copy first",
        {"pass": where},
        name,
    )


def linearity(ev: Evaluator, rng: np.random.Generator) -> list[Finding]:
    """B(g) against B(0), B(c g), B(g + g'): a vector-Jacobian product is linear. One finding an input."""
    m = ev.center.size
    if m == 0:
        return []
    g1, g2 = rng.normal(size=m) + 0.1, rng.normal(size=m) - 0.2
    big = 1024.0 if ev.backward_epsilon <= 2.0**-23 else 16.0  # a power of two: rounding does not depend on it
    b = {
        name: ev.vjp(v)
        for name, v in [("1", g1), ("2", g2), ("sum", g1 + g2), ("0", np.zeros(m)), ("big", big * g1), ("small", g1 / big)]
    }
    found = []
    loudest = max(
        (
            float(np.abs(np.nan_to_num(np.asarray(b["1"][k], float))).max(initial=0.0))
            for k in ev.subject.wrt
            if b["1"][k] is not None
        ),
        default=0.0,
    )
    loudest = loudest if len(ev.subject.wrt) > 1 else 0.0
    for k in ev.subject.wrt:
        if any(part[k] is None for part in b.values()):
            continue
        r = {name: np.asarray(part[k], dtype=np.float64) for name, part in b.items()}
        if len({v.shape for v in r.values()}) > 1 or not all(np.isfinite(v).all() for v in r.values()):
            continue
        scale = max(float(np.abs(r["1"]).max(initial=0.0)), float(np.abs(r["2"]).max(initial=0.0)))
        parts = [g for part in b.values() if (g := part[k]) is not None]
        together = np.concatenate([g.ravel() for g in parts])
        epsilon = max(ev.backward_epsilon, ev.epsilon, granularity(together), *(granularity(g) for g in parts))
        if epsilon >= 1:
            continue  # whole numbers: a matter of dtype
        tiny = 1e5 * epsilon if epsilon <= EPS else 300 * epsilon
        if scale <= 1e3 * epsilon * loudest and scale < 1e-12:
            continue  # rounding of a gradient that is zero

        def off(a: Array, c: Array, size: float, tiny: float = tiny) -> bool:
            return bool(np.abs(a - c).max(initial=0.0) > tiny * max(size, 1e-300))

        name = ev.subject.names[k]
        if scale > 0 and not off(r["1"], r["2"], scale) and not off(r["1"], r["0"], scale):
            found.append(
                Finding(
                    "upstream-ignored",
                    0.97,
                    k,
                    f"{name}, all entries",
                    f"the gradient of {name} is the same for every upstream gradient, even for 0: it is the derivative "
                    "itself, not its product",
                    "multiply by the upstream gradient: dx = J^T g (elementwise: g * f'(x); a scalar loss: g * dloss)",
                    {"gradient": r["1"]},
                    name,
                )
            )
            continue
        added = off(r["0"], np.zeros_like(r["0"]), max(scale, 1e-12))
        scaled = off(r["big"], big * r["1"], big * scale) or off(r["1"], big * r["small"], scale)
        summed = off(r["sum"], r["1"] + r["2"], scale)
        if added or scaled or summed:
            size = float(np.abs(r["big"]).max() / max(np.abs(r["1"]).max(), 1e-300))
            how = (
                f"zero upstream gives {np.abs(r['0']).max():.3g}, not 0: something is added"
                if added
                else f"{big:g} times the upstream gives {size:.4g} times the gradient"
                if scaled
                else "B(g1 + g2) is not B(g1) + B(g2)"
            )
            found.append(
                Finding(
                    "not-linear-in-upstream",
                    0.96,
                    k,
                    f"{name}, as a function of upstream",
                    f"the gradient of {name} is not linear in the upstream gradient g: {how}",
                    "dx must be J^T g: no clipping, squaring, normalising of g and no constant added (declare surrogate=True "
                    "if it is meant)",
                    {"at_zero": float(np.abs(r["0"]).max(initial=0.0)), "scaling": size, "scaling_expected": big},
                    name,
                )
            )
    return found


def gradients_fit(ev: Evaluator, grads: Sequence[Array | None]) -> list[tuple[int, Array]]:
    """Inputs in `wrt` whose gradient has another shape."""
    return [(k, g) for k in ev.subject.wrt if (g := grads[k]) is not None and g.shape != ev.given[k].shape]


def dtypes(ev: Evaluator, grads: Sequence[Array | None]) -> list[Finding]:
    found = []
    for k in ev.subject.wrt:
        g, x = grads[k], ev.given[k]
        if g is None or (is_float(g) and spacing(g.dtype) <= spacing(x.dtype)):
            continue
        found.append(
            Finding(
                "wrong-dtype",
                0.95,
                k,
                f"{ev.subject.names[k]}",
                f"the gradient of {ev.subject.names[k]} has dtype {g.dtype}, its input {x.dtype}",
                f"compute and return it as {x.dtype} (look for astype, np.float32 constants, integer masks)",
                {"received": str(g.dtype), "expected": str(x.dtype)},
                ev.subject.names[k],
            )
        )
    return found


def _eps(a: Array) -> float:
    return spacing(a.dtype) if is_float(a) else EPS
