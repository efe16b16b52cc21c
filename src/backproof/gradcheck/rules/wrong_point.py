"""The rule for a derivative that was taken at another point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, same_shape, significant, single
from backproof.gradcheck.rules.factors import _diagonal as diagonal
from backproof.gradcheck.rules.factors import _sigmoid
from backproof.gradcheck.values import Pair, measure

# derivative formulas: by the output (phi(y) for y = f(x)), with f's inverse; the same formula at the input is the classical slip
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array]]] = {
    "sigmoid": (_sigmoid, lambda y: y * (1 - y), lambda y: np.log(y / (1 - y))),
    "tanh": (np.tanh, lambda y: 1 - y * y, np.arctanh),
    "exp": (np.exp, lambda y: y, np.log),
    "softplus": (lambda x: np.logaddexp(0, x), lambda y: 1 - np.exp(-y), lambda y: np.log(np.expm1(y))),
    "sqrt": (np.sqrt, lambda y: 0.5 / y, lambda y: y * y),
    "square": (lambda x: x * x, lambda y: 2 * np.sqrt(y), np.sqrt),
    "1/x": (lambda x: 1 / x, lambda y: -y * y, lambda y: 1 / y),
    "log": (np.log, lambda y: np.exp(-y), np.exp),
}


def wrong_point(p: Pair) -> Finding | None:
    """A is J at another point: at the output, at another input, at the negative, ...; or the output's formula at the input."""
    j, a = p.numerical, p.analytical
    if not np.any(a) or np.all(np.isclose(j, 0) | np.isclose(np.abs(j), 1)):
        return None  # pieces of straight lines: the derivative is the same at too many points
    claimed = a[a != 0]
    if claimed.size > 1 and np.ptp(claimed) <= 1e-12 * np.abs(claimed).max():
        return None  # and a constant says nothing about the point
    if stands_still(p):
        return None  # what is the same at every x was taken at none
    fix = "evaluate the derivative's formula where it belongs: h(1-h) takes the output h, not the input; f'(x) takes the input"
    out = single(p)
    for name, (inside, k, value) in _points(p).items():
        other = _at(p, k, value, inside)
        if other is not None and p.same(a, other) and not p.same(j, other):
            return found(
                p,
                "derivative-at-wrong-point",
                0.955,
                f"the gradient of {p.name} is the right derivative, taken at {name} instead of {p.name}",
                fix,
                point=name,
            )
    if out is None:
        return None
    y = p.outputs[0].astype(float).ravel()
    d, ok = diagonal(p, a, j, "output")
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


def stands_still(p: Pair) -> bool:
    """Whether the claimed Jacobian is the same at other inputs."""
    ev, inputs = p.function, list(p.inputs)
    for k in range(len(inputs)):
        if inputs[k].dtype.kind == "f":
            x = np.asarray(inputs[k], dtype=np.float64)
            inputs[k] = (x * (1 + 0.03 * np.linspace(0.5, 1, x.size).reshape(x.shape))).astype(inputs[k].dtype)
    g = np.linspace(0.5, 1.5, ev.center.size)
    try:
        here, there = ev.vjp(g, p.inputs)[p.input], ev.vjp(g, inputs)[p.input]
    except Exception:  # the neighbour is outside the function's domain
        return False
    return here is not None and there is not None and bool(np.array_equal(here, there))


def _softmax_form(v: Array, axis: int) -> Array:
    """J_ij = v_i (delta_ij - v_j) along an axis, as a matrix over all entries."""
    n = v.size
    rows = []
    for i in range(n):
        s = np.zeros(v.shape)
        s.flat[i] = 1
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
            "its negative": -x,
            "|x|": np.abs(x),
            "sigmoid(x)": _sigmoid(x),
            "tanh(x)": np.tanh(x),
            "exp(x)": np.exp(x),
            "2 x": 2 * x,
            "x / 2": x / 2,
            "x + 1": x + 1,
            "x - 1": x - 1,
            "x reversed": x.ravel()[::-1].reshape(x.shape),
        }
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
        y = ev.flat(inputs)
        if y.shape != (p.numerical.shape[0],) or not np.isfinite(y).all():
            return None
        # one column first: most candidates fail there
        column = int(np.argmax(np.abs(p.analytical).max(axis=0)))
        first = measure(ev, p.input, None, inputs, [column])
        if not (
            np.abs(first.numerical - p.analytical)[:, column] <= 1e-4 * np.abs(p.analytical).max() + 10 * first.error[:, column]
        ).all():
            return None
        return measure(ev, p.input, None, inputs).numerical
    except Exception:
        return None
