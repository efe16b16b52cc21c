"""The rule for elementwise factors: one that is missing or too much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, index, same_shape, significant, single
from backproof.gradcheck.values import Pair, analytical_jacobian, measure


def _sigmoid(v: Array) -> Array:
    return 0.5 * (1 + np.tanh(v / 2))


# functions of an input or output that appear as factors of derivatives
FACTORS: dict[str, Callable[[Array], Array]] = {
    "v": lambda v: v,
    "v^2": lambda v: v * v,
    "v^3": lambda v: v**3,
    "1/v": lambda v: 1 / v,
    "1/v^2": lambda v: 1 / v**2,
    "sqrt(v)": np.sqrt,
    "1/sqrt(v)": lambda v: 1 / np.sqrt(v),
    "|v|": np.abs,
    "exp(v)": np.exp,
    "exp(-v)": lambda v: np.exp(-v),
    "log(v)": np.log,
    "v(1-v)": lambda v: v * (1 - v),
    "1-v^2": lambda v: 1 - v * v,
    "1-v": lambda v: 1 - v,
    "1+v": lambda v: 1 + v,
    "1+v^2": lambda v: 1 + v * v,
    "sin(v)": np.sin,
    "cos(v)": np.cos,
    "tanh(v)": np.tanh,
    "1-tanh(v)^2": lambda v: 1 - np.tanh(v) ** 2,
    "sigmoid(v)": _sigmoid,
    "sigmoid'(v)": lambda v: _sigmoid(v) * _sigmoid(-v),
    "1-sigmoid(v)": lambda v: _sigmoid(-v),
    "step(v)": lambda v: (v > 0) * 1.0,
    "sqrt(1-v^2)": lambda v: np.sqrt(1 - v * v),
    "1-exp(-v)": lambda v: 1 - np.exp(-v),
    "1/(1-v)": lambda v: 1 / (1 - v),
    "1/(1+v)": lambda v: 1 / (1 + v),
    "1/(1+|v|)": lambda v: 1 / (1 + np.abs(v)),
    "1/(1+v^2)": lambda v: 1 / (1 + v * v),
    "sqrt(1+v^2)": lambda v: np.sqrt(1 + v * v),
    "1+exp(v)": lambda v: 1 + np.exp(v),
    "1+log(v)": lambda v: 1 + np.log(v),
    "sign(v)": np.sign,
}


def missing_factor(p: Pair) -> Finding | None:
    """A = J D or D J, or J = A D or D A, with a diagonal D that is not constant."""
    j, a = p.numerical, p.analytical
    if not significant(p, j).any() or not np.any(a):
        return None
    for side in ("output", "input"):
        for much, (whole, part) in (("missing", (j, a)), ("too much", (a, j))):
            d, ok = _diagonal(p, whole, part, side)
            if not ok or d is None or np.ptp(d[np.isfinite(d)]) <= 1e-5 * np.abs(d[np.isfinite(d)]).max(initial=1e-300):
                continue
            name = _recognise(p, d, side)
            if name.startswith("step(y)") and (
                much == "too much" or _whole_samples(p) or any(x.dtype.kind in "iu" for x in p.inputs)
            ):
                name = ""  # no rectifier's mask: outputs are 0 where labels are ignored, where a factor is 0
            elementwise = same_shape(p) and not (significant(p, j) & ~np.eye(len(j), dtype=bool)).any()
            mask = bool(np.all(np.isclose(d, 0) | np.isclose(d, 1)))
            if mask and not name:
                if not _is_mask(p, d, side):
                    continue
                name = "a mask: 1 where the entry takes part, 0 elsewhere"
            if not name and float(np.mean(np.isclose(d, 1))) > 0.5:
                continue  # right at most entries: another rule's case
            if not name and (elementwise or min(j.shape) == 1) and not (name := _at_other_points(p, d, side, much)):
                if not elementwise or much == "too much" or min(j.shape) == 1:
                    continue
                return _another_formula(p)
            where = f"{p.name}, on the {side} side"
            verb = "lacks" if much == "missing" else "has too much"
            return found(
                p,
                "missing-factor",
                0.8 if not name else 0.959 if name.startswith("step(y)") else 0.95,
                f"the gradient of {p.name} {verb} an elementwise factor on the "
                f"{side} side" + (f": {name}" if name else f" (values {np.round(d[:4], 4).tolist()} ...)"),
                ("multiply" if much == "missing" else "do not multiply") + f" by {name or 'it'} (activation derivative, "
                "scale parameter, mask)",
                where,
                values=d[:16].tolist(),
                **({"factor_name": name} if name else {}),
                side=side,
                form=much,
            )
    return None


def _whole_samples(p: Pair) -> bool:
    """Whether the outputs of each sample are all 0 or all not: no rectifier's pattern, unless there is one output a sample."""
    y = p.outputs[0]
    zero = (y == 0).reshape(len(y), -1) if y.ndim else np.ones((1, 1), dtype=bool)
    return bool((zero.all(axis=1) | ~zero.any(axis=1)).all()) and not same_shape(p)


def _another_formula(p: Pair) -> Finding:
    """Any slip of an elementwise derivative is a factor of some kind: unless it is a known one, that is hardly an explanation."""
    true, yours = np.diagonal(p.numerical), np.diagonal(p.analytical)
    i = int(np.argmax(np.abs(true - yours)))
    at = f"{p.name}[{', '.join(map(str, index(i, p.x.shape)))}] = {p.x.flat[i]:.4g}"
    return found(
        p,
        "missing-factor",
        0.45,
        f"each output depends on its own entry of {p.name} alone, and your derivative is another function than the right one: "
        f"at {at} it is {yours[i]:.4g}, should be {true[i]:.4g}; no factor that is known here leads from one to the other",
        "differentiate the formula of one entry again, factor by factor, and compare at this value",
        at=float(p.x.flat[i]),
        yours=float(yours[i]),
        true=float(true[i]),
    )


def _at_other_points(p: Pair, d: Array, side: str, much: str) -> str:
    """d = c_i F(x_i) with a number c_i for each entry that only the code knows (weights, exponents, old values): then at another
    point d changes by F(x'_i) / F(x_i), with F = 1 for a factor that stays as it is."""
    ev, x = p.function, p.x
    if (side == "input" and len(p.numerical) > 1) or (side == "output" and p.x.size != len(d)):
        return ""
    columns = np.flatnonzero(np.abs(d) > 1e-6 * np.abs(d).max())[:6]
    rows = columns if len(p.numerical) > 1 else np.zeros_like(columns)
    changes: list[tuple[Array, Array]] = []
    for share in (0.05, -0.08):
        moved = x + share * np.where(x == 0, 1.0, np.abs(x)) * np.linspace(0.6, 1.4, x.size).reshape(x.shape)
        inputs = ev.perturbed(p.input, moved.astype(p.inputs[p.input].dtype), p.inputs)
        try:
            claimed = analytical_jacobian(ev, [p.input], inputs)
            if claimed is None:
                return ""
            pair = (measure(ev, p.input, None, inputs, list(columns)).numerical, claimed[p.input])
        except Exception:  # outside the domain
            return ""
        whole, part = pair if much == "missing" else pair[::-1]
        with np.errstate(all="ignore"):
            changes.append((moved.ravel()[columns], (whole / part)[rows, columns] / d[columns]))
    ones: dict[str, Callable[[Array], Array]] = {"1": np.ones_like}
    for text, f in (ones | FACTORS).items():
        with np.errstate(all="ignore"):
            here = np.asarray(f(x.ravel()[columns]), dtype=float)
            fits = [np.allclose(change, np.asarray(f(moved), dtype=float) / here, rtol=1e-4) for moved, change in changes]
        if all(fits):
            return "one number for each entry" if text == "1" else f"{text.replace('v', 'x')} times one number for each entry"
    return ""


def _diagonal(p: Pair, whole: Array, part: Array, side: str) -> tuple[Array | None, bool]:
    """d with whole = part * d, d one number a row (output side) or a column (input side)."""
    axis = 1 if side == "output" else 0
    weight = np.where(np.isfinite(part), part, 0.0)
    norm = (weight * weight).sum(axis=axis)
    with np.errstate(all="ignore"):
        d = np.where(norm > 0, (whole * weight).sum(axis=axis) / norm, 1.0)
    spread = d[:, None] if side == "output" else d[None, :]
    return (d, p.same(weight * spread, whole)) if np.isfinite(d).all() else (None, False)


def _recognise(p: Pair, d: Array, side: str) -> str:
    """d as a function of inputs or outputs, to a constant factor."""
    shape = single(p) if side == "output" else p.x.shape
    if shape is None:
        return ""
    mask = bool(np.all(np.isclose(d, 0) | np.isclose(d, 1)))
    elementwise = same_shape(p) and not (significant(p, p.numerical) & ~np.eye(p.x.size, dtype=bool)).any()
    for what, v in _values(p, shape):
        for text, f in FACTORS.items():
            if (
                mask
                and not (text == "step(v)" and what in ("x", "y") and (elementwise or (what == "y" and side == "output")))
                and not (text == "v" and what.startswith("input") and " " not in what[6:])
            ):
                continue  # many functions of whole numbers are 0 or 1
            with np.errstate(all="ignore"):
                t = np.asarray(f(v), dtype=float).ravel()
            if not np.isfinite(t).all() or not t.any() or np.ptp(t) <= 1e-6 * np.abs(t).max():
                continue
            c = float(d @ t / (t @ t))
            if c and np.abs(d - c * t).max() <= 1e-4 * np.abs(d).max():
                formula = text.replace("v", what) if len(what) == 1 else text.replace("v", f"({what})")
                return formula if abs(c - 1) < 1e-4 else f"{c:.4g} x {formula}"
    return ""


def _values(p: Pair, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Inputs, outputs and differences of inputs that fit the shape, with their names."""
    fitting: list[tuple[str, Array]] = []
    for k, x in enumerate(p.inputs):
        if x.dtype.kind in "fiub":
            name = "x" if k == p.input else f"input{k}"
            v = np.asarray(x, dtype=float)
            fits = [axis for axis in range(len(shape)) if v.ndim == 1 and v.size == shape[axis]]
            if not fits and v.ndim <= len(shape):
                with suppress(ValueError):
                    fitting.append((name, np.broadcast_to(v, shape)))
            for axis in fits:  # a vector along any axis, as for channels
                fitting.append((name, np.broadcast_to(v.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape)))
    for y in p.outputs:
        with suppress(ValueError):
            fitting.append(("y", np.broadcast_to(np.asarray(y, dtype=float), shape)))
    yield from fitting
    for i, (name, v) in enumerate(fitting):
        for other, w in fitting[i + 1 :]:
            yield f"{name} - {other}", v - w
            yield f"{name} * {other}", v * w
    for axis in range(len(shape)):  # norms along an axis, of what fits
        for name, v in fitting:
            yield f"the norm of {name} along axis {axis}", np.broadcast_to(np.linalg.norm(v, axis=axis, keepdims=True), shape)
            yield f"the standard deviation of {name} along axis {axis}", np.broadcast_to(v.std(axis=axis, keepdims=True), shape)


def _is_mask(p: Pair, d: Array, side: str) -> bool:
    """A 0/1 factor that is a mask of the whole operation (dropout), not an error at a few entries: it shows in the output."""
    dropped = np.isclose(d, 0)
    if any(np.asarray(x).dtype.kind in "iu" for x in p.inputs):
        return False
    elementwise = same_shape(p) and not (significant(p, p.numerical) & ~np.eye(p.x.size, dtype=bool)).any()
    if elementwise:
        y = p.outputs[0].ravel()
        return bool(np.all(y[dropped] == 0)) and bool(dropped.mean() > 0.05) and bool(p.x.ravel()[dropped].any())
    return False
