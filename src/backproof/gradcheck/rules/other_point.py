"""The rule for a derivative inside a cell or network that was taken at another value: f'(h) for f'(z), cos(q) for cos(q').

Where a whole Jacobian is not J at another point, a part of it may still be: a factor f'(z) of columns or of the rows of one
output, or a term c f(z), with what should stand there among the values that go in or come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found
from backproof.gradcheck.rules.factors import _sigmoid
from backproof.gradcheck.values import Pair


def _silu_slope(v: Array) -> Array:
    return np.asarray(_sigmoid(v) * (1 + v * _sigmoid(-v)))


# name: f, f' as a function of z, f' as a function of y = f(z) (None: it has no such form)
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array], Callable[[Array], Array] | None]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2, lambda y: 1 - y * y),
    "sigmoid": (_sigmoid, lambda z: _sigmoid(z) * _sigmoid(-z), lambda y: y * (1 - y)),
    "softplus": (lambda z: np.logaddexp(0, z), _sigmoid, lambda y: 1 - np.exp(-y)),
    "silu": (lambda z: z * _sigmoid(z), _silu_slope, None),
    "exp": (np.exp, np.exp, lambda y: y),
}
TERMS: dict[str, Callable[[Array], Array]] = {
    "cos": np.cos,
    "sin": np.sin,
    "exp": np.exp,
    "tanh'": lambda v: 1 - np.tanh(v) ** 2,
    "sigmoid'": lambda v: _sigmoid(v) * _sigmoid(-v),
    "square": lambda v: v * v,
}
FIX = "evaluate the derivative's formula where it belongs: h(1-h) takes the output h, not the input; f'(z) takes z, not f(z)"


def other_point(p: Pair) -> Finding | None:
    for values, d in _factors(p):
        for name, (f, slope, by_output) in ACTIVATIONS.items():
            for what, v in values:
                with np.errstate(all="ignore"):
                    right = slope(v)
                    slips = {f"{name}'s derivative, taken at {name}({what}) instead of {what}": slope(f(v))}
                    if by_output is not None:
                        slips[f"{name}'s derivative formula for its output, taken at {what}, its input"] = by_output(v)
                    for text, wrong in slips.items():
                        ratio = wrong / right
                        if np.isfinite(ratio).all() and np.ptp(ratio) > 1e-3 and np.allclose(d, ratio, rtol=1e-4, atol=1e-7):
                            return _slip(p, text)
    for e, arrays in _differences(p):
        for name, term in TERMS.items():
            for what, v in arrays:
                for instead, w in arrays:
                    with np.errstate(all="ignore"):
                        t = term(w) - term(v)
                    if v is w or not np.isfinite(t).all() or np.abs(t).max() < 1e-6:
                        continue
                    c = float(e @ t / (t @ t))
                    if abs(c) > 1e-9 and np.abs(e - c * t).max() <= 1e-5 * np.abs(e).max():
                        text = f"{name}({instead}) where {name}({what}) belongs"
                        return _slip(p, text)
    return None


def _slip(p: Pair, text: str) -> Finding:
    return found(p, "derivative-at-wrong-point", 0.955, f"the gradient of {p.name} uses {text}", FIX, point=text)


def _values(p: Pair) -> tuple[list[tuple[str, Array]], list[tuple[str, Array]]]:
    """What goes in and what comes out, flat, with names."""
    real = [(k, x) for k, x in enumerate(p.inputs) if x.dtype.kind == "f"]
    inputs = [(p.name if k == p.input else f"input {k}", np.asarray(x, dtype=float).ravel()) for k, x in real]
    names = ["the output"] if len(p.outputs) == 1 else [f"output {i}" for i in range(len(p.outputs))]
    return inputs, [(name, y.ravel().astype(float)) for name, y in zip(names, p.outputs, strict=True)]


def _factors(p: Pair) -> Iterator[tuple[list[tuple[str, Array]], Array]]:
    """(candidate values, d) with A = J D for d along the inputs, or A = D J for d along the rows of one output."""
    j, a = p.numerical, p.analytical
    inputs, outputs = _values(p)
    if (d := _ratio(p, a, j, axis=0)) is not None:
        yield [(name, v) for name, v in inputs if v.size == d.size], d
    at = 0
    for y in p.outputs:
        rows = slice(at, at + y.size)
        at = rows.stop
        if (d := _ratio(p, a[rows], j[rows], axis=1)) is not None:
            yield [(name, v) for name, v in [*outputs, *inputs] if v.size == d.size], d


def _ratio(p: Pair, a: Array, j: Array, axis: int) -> Array | None:
    """d with a = j d along the other axis, not constant; None if there is none."""
    norm = (j * j).sum(axis=axis)
    if j.shape[1 - axis] < 3 or not np.isfinite(a).all() or not (norm > 1e-12 * norm.max(initial=0.0)).all():
        return None
    d = (a * j).sum(axis=axis) / norm
    back = j * (d[None, :] if axis == 0 else d[:, None])
    size = float(np.abs(j).max())
    if np.ptp(d) <= 1e-4 * np.abs(d).max() or np.abs(back - a).max() > 1e-6 * max(size, float(np.abs(a).max())):
        return None
    return np.asarray(d)


def _differences(p: Pair) -> Iterator[tuple[Array, list[tuple[str, Array]]]]:
    """The elementwise difference A - J of each output of x's size, where it is elementwise, with the values of that size."""
    arrays = [(name, v) for values in _values(p) for name, v in values if v.size == p.x.size]
    at, n = 0, p.x.size
    for y in p.outputs:
        e = (p.analytical - p.numerical)[at : at + y.size]
        at += y.size
        if y.size == n and n >= 4:
            there = np.abs(e) > 1e-7 * np.abs(p.numerical).max(initial=0.0)
            if there.any() and not (there & ~np.eye(n, dtype=bool)).any():
                yield np.diag(e), arrays
