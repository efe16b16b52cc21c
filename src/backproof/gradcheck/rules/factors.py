"""Rules for elementwise factors: one that is missing or too much, or that was taken at another point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, same_shape, significant, single
from backproof.gradcheck.values import Pair, measure


def _sigmoid(v: Array) -> Array:
    return 0.5 * (1 + np.tanh(v / 2))


# functions of an input or output that appear as factors of derivatives
FACTORS = {
    "v": lambda v: v, "v^2": lambda v: v * v, "v^3": lambda v: v**3, "1/v": lambda v: 1 / v, "1/v^2": lambda v: 1 / v**2,
    "sqrt(v)": np.sqrt, "1/sqrt(v)": lambda v: 1 / np.sqrt(v), "|v|": np.abs, "exp(v)": np.exp,
    "exp(-v)": lambda v: np.exp(-v), "log(v)": np.log, "v(1-v)": lambda v: v * (1 - v), "1-v^2": lambda v: 1 - v * v, "1-v": lambda v: 1 - v,
    "1+v": lambda v: 1 + v, "1+v^2": lambda v: 1 + v * v, "sin(v)": np.sin, "cos(v)": np.cos, "tanh(v)": np.tanh, "1-tanh(v)^2": lambda v: 1 - np.tanh(v) ** 2,
    "sigmoid(v)": _sigmoid, "sigmoid'(v)": lambda v: _sigmoid(v) * _sigmoid(-v), "1-sigmoid(v)": lambda v: _sigmoid(-v),
    "step(v)": lambda v: (v > 0) * 1.0, "sqrt(1-v^2)": lambda v: np.sqrt(1 - v * v), "1-exp(-v)": lambda v: 1 - np.exp(-v), "1/(1-v)": lambda v: 1 / (1 - v),
}  # fmt: skip

# derivative formulas: by the output (phi(y) for y = f(x)), with f's inverse; the same formula at the input is the classical slip
ACTIVATIONS = {
    "sigmoid": (_sigmoid, lambda y: y * (1 - y), lambda y: np.log(y / (1 - y))),
    "tanh": (np.tanh, lambda y: 1 - y * y, np.arctanh),
    "exp": (np.exp, lambda y: y, np.log),
    "softplus": (lambda x: np.logaddexp(0, x), lambda y: 1 - np.exp(-y), lambda y: np.log(np.expm1(y))),
    "sqrt": (np.sqrt, lambda y: 0.5 / y, lambda y: y * y),
    "square": (lambda x: x * x, lambda y: 2 * np.sqrt(y), np.sqrt),
    "1/x": (lambda x: 1 / x, lambda y: -y * y, lambda y: 1 / y),
    "log": (np.log, lambda y: np.exp(-y), np.exp),
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
            elementwise = same_shape(p) and not (significant(p, j) & ~np.eye(len(j), dtype=bool)).any()
            mask = bool(np.all(np.isclose(d, 0) | np.isclose(d, 1)))
            if mask and not name:
                if not _is_mask(p, d, side):
                    continue
                name = "a mask: 1 where the entry takes part, 0 elsewhere"
            if not name and (elementwise or min(j.shape) == 1):
                continue
            if not name and float(np.mean(np.isclose(d, 1))) > 0.5:
                continue  # right at most entries: another rule's case
            where = f"{p.name}, on the {side} side"
            verb = "lacks" if much == "missing" else "has too much"
            return found(
                p, "missing-factor", 0.95 if name else 0.8, f"the gradient of {p.name} {verb} an elementwise factor on the {side} side"
                + (f": {name}" if name else f" (values {np.round(d[:4], 4).tolist()} ...)"),
                ("multiply" if much == "missing" else "do not multiply") + f" by {name or 'it'} (activation derivative, scale parameter, mask)",
                where, values=d[:16].tolist(), factor_name=name, side=side, form=much,
            )  # fmt: skip
    return None


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
    for what, v in _values(p, shape):
        for text, f in FACTORS.items():
            if (
                mask
                and not (text == "step(v)" and what in ("x", "y"))
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
    if same_shape(p):
        y = p.outputs[0].ravel()
        return bool(np.all(y[dropped] == 0)) and bool(dropped.mean() > 0.05)
    return False


def wrong_point(p: Pair) -> Finding | None:
    """A is J at another point: at the output, at another input, at the negative, ...; or the output's formula at the input."""
    j, a = p.numerical, p.analytical
    if not np.any(a) or np.all(np.isclose(j, 0) | np.isclose(np.abs(j), 1)):
        return None  # pieces of straight lines: the derivative is the same at too many points
    fix = "evaluate the derivative's formula where it belongs: h(1-h) takes the output h, not the input; f'(x) takes the input"
    out = single(p)
    for name, (inside, k, value) in _points(p).items():
        other = _at(p, k, value, inside)
        if other is not None and p.same(a, other) and not p.same(j, other):
            return found(
                p, "derivative-at-wrong-point", 0.955, f"the gradient of {p.name} is the right derivative, taken at {name} instead of {p.name}", fix,
                point=name,
            )  # fmt: skip
    if out is None:
        return None
    y = p.outputs[0].astype(float).ravel()
    d, ok = _diagonal(p, a, j, "output")
    if not ok or d is None:
        return None
    elementwise = same_shape(p) and not (significant(p, j) & ~np.eye(p.x.size, dtype=bool)).any()
    x = p.x.ravel() if elementwise else None
    for name, (f, phi, inverse) in ACTIVATIONS.items():
        with np.errstate(all="ignore"):
            z = inverse(y)
            right = phi(y)
            candidates = {
                f"{name}'s derivative formula for its output, taken at its input": phi(z),
                f"{name}'s derivative, taken at its output": phi(f(y)),
                f"{name}'s derivative formula for its output, taken at {name} of it": phi(phi(y)),
            }
            if x is not None and not np.allclose(x, z, equal_nan=True):
                candidates[f"{name}'s derivative formula for its output, taken at {p.name}"] = phi(x)
                candidates[f"{name}'s derivative, taken at {p.name}"] = phi(f(x))
        if elementwise:
            slopes = np.diag(j)
            c = float(np.median(slopes / right)) if np.isfinite(right).all() and right.all() else np.nan
            if not np.isfinite(c) or not np.allclose(slopes, c * right, rtol=1e-4, atol=1e-7):
                continue
        elif name not in ("sigmoid", "tanh", "softplus"):
            continue
        for text, wrong in candidates.items():
            with np.errstate(all="ignore"):
                ratio = wrong / right
            usable = np.isfinite(ratio) & significant(p, j).any(axis=1)
            if (
                usable.sum() >= 2
                and usable.mean() > 0.6
                and np.ptp(ratio[usable]) > 1e-4
                and np.allclose(d[usable], ratio[usable], rtol=1e-4, atol=1e-6)
            ):
                return found(p, "derivative-at-wrong-point", 0.957, f"the gradient of {p.name} uses {text}", fix, point=text)
    if same_shape(p):
        for axis in range(p.x.ndim):
            y_ = p.outputs[0].astype(float)
            if (
                np.all(y_ >= 0)
                and np.allclose(y_.sum(axis=axis), 1)
                and p.x.shape[axis] > 1
                and p.same(a, _softmax_form(p.x, axis))
            ):
                return found(
                    p,
                    "derivative-at-wrong-point",
                    0.957,
                    "the softmax Jacobian h_i (delta_ij - h_j) was formed with the logits in place of h",
                    fix,
                    point="input",
                )
    return None


def _softmax_form(v: Array, axis: int) -> Array:
    """J_ij = v_i (delta_ij - v_j) along an axis, as a matrix over all entries."""
    n = v.size
    rows = []
    for i in range(n):
        s = np.zeros(n)
        s[i] = 1
        s = s.reshape(v.shape)
        rows.append((v * (s - (v * s).sum(axis=axis, keepdims=True))).ravel())
    return np.array(rows)


def _points(p: Pair) -> dict[str, tuple[list[Array], int, Array]]:
    """Candidates: name -> (inputs, which of them was replaced, its value)."""
    base = list(p.inputs)
    points: dict[str, tuple[list[Array], int, Array]] = {}

    def add(name: str, k: int, value: Array) -> None:
        if (
            value.shape == base[k].shape
            and np.isfinite(value).all()
            and not np.array_equal(value, np.asarray(base[k], dtype=float))
        ):
            points[name] = (base, k, value)

    k = p.input
    for i, y in enumerate(p.outputs):
        add("the output" if len(p.outputs) == 1 else f"output {i}", k, y.astype(float))
    x = p.x
    with np.errstate(all="ignore"):
        moved = {
            "its negative": -x, "|x|": np.abs(x), "sigmoid(x)": _sigmoid(x), "tanh(x)": np.tanh(x), "exp(x)": np.exp(x), "2 x": 2 * x, "x / 2": x / 2,
            "x + 1": x + 1, "x - 1": x - 1, "x reversed": x.ravel()[::-1].reshape(x.shape),
        }  # fmt: skip
        for axis in range(x.ndim):
            moved[f"x shifted along axis {axis}"] = np.roll(x, 1, axis=axis)
            moved[f"x shifted back along axis {axis}"] = np.roll(x, -1, axis=axis)
    for name, value in moved.items():
        add(name, k, value)
    for i, other in enumerate(base):  # an operand taken for another one
        if i == k or other.dtype.kind != "f":
            continue
        o = np.asarray(other, dtype=float)
        add(f"input {i}", k, o)
        add(f"{p.name} in place of input {i}", i, x)
        if p.outputs:
            add(f"the output in place of input {i}", i, p.outputs[0].astype(float))
        if o.shape == x.shape and o.dtype == x.dtype:
            exchanged = list(base)
            exchanged[i] = x.astype(other.dtype)
            if not np.array_equal(o, x):
                points[f"the exchanged operands ({p.name} and input {i})"] = (exchanged, k, o)
        add(f"{p.name} + input {i}", k, x + o if x.shape == o.shape else np.zeros(0))
    return points


def _at(p: Pair, k: int, value: Array, base: list[Array]) -> Array | None:
    """The numerical Jacobian of p's input with input k set to `value`; refused early along one direction."""
    ev = p.function
    inputs = list(base)
    inputs[k] = value.astype(base[k].dtype)
    try:
        y = ev.flat(inputs)  # type: ignore[attr-defined]
        if y.shape != (p.numerical.shape[0],) or not np.isfinite(y).all():
            return None
        # one column first: most candidates fail there
        column = int(np.argmax(np.abs(p.analytical).max(axis=0)))
        first = measure(ev, p.input, p.analytical, inputs, [column])  # type: ignore[arg-type]
        if not (
            np.abs(first.numerical - p.analytical)[:, column] <= 1e-4 * np.abs(p.analytical).max() + 10 * first.error[:, column]
        ).all():
            return None
        return measure(ev, p.input, p.analytical, inputs).numerical  # type: ignore[arg-type]
    except Exception:
        return None
