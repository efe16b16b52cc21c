"""What the rules share: how a finding is made, index patterns of a Jacobian, names of sizes."""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.arrays import Array, Shape
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.values import Pair


def found(p: Pair, cause: str, confidence: float, message: str, fix: str, where: str = "", **evidence: Any) -> Finding:
    return Finding(cause, confidence, p.input, where or p.name, message, fix, evidence, p.name)


def significant(p: Pair, j: Array) -> Array:
    """Entries that are not zero, as far as the bars tell."""
    scale = float(np.abs(p.numerical).max(initial=0.0))
    finite = np.where(np.isfinite(p.error), p.error, 0.0)
    return np.asarray(np.abs(j) > np.maximum(10 * finite, 1e-9 * scale))


def single(p: Pair) -> Shape | None:
    """The output's shape if there is one output."""
    return p.shapes[0] if len(p.shapes) == 1 else None


def same_shape(p: Pair) -> bool:
    return single(p) == p.x.shape and p.x.ndim > 0


def coupled_axes(p: Pair, j: Array) -> set[int]:
    """For outputs of the input's shape: axes along which an output depends on inputs at other indices."""
    shape = p.x.shape
    rows, columns = np.nonzero(significant(p, j))
    if not len(rows):
        return set()
    out, into = np.array(np.unravel_index(rows, shape)), np.array(np.unravel_index(columns, shape))
    return {axis for axis in range(len(shape)) if (out[axis] != into[axis]).any()}


def cross_samples(p: Pair, j: Array) -> bool | None:
    """Whether samples (axis 0 of input and output) depend on each other; None where there are no samples."""
    out = single(p)
    if out is None or p.x.ndim < 2 or not out or out[0] != p.x.shape[0] or p.x.shape[0] < 2:
        return None
    n = p.x.shape[0]
    blocks = significant(p, j).reshape(n, -1, n, p.x.size // n).any(axis=(1, 3))
    return bool((blocks & ~np.eye(n, dtype=bool)).any())


def constant(ratio: Array) -> float | None:
    """The one value of `ratio`, or None."""
    if not ratio.size:
        return None
    c = float(np.median(ratio))
    return c if np.abs(ratio - c).max() <= 1e-4 * abs(c) else None


def name_factor(p: Pair, c: float) -> str:
    """The size of the problem that c is: "the number of ... (4)", its inverse, its root; or a plain number."""
    sizes: list[tuple[float, str]] = []
    out = single(p)
    for axis, size in enumerate(p.x.shape):
        sizes.append((size, f"the size of axis {axis} of {p.name} ({size})"))
    for axis, size in enumerate(out or ()):
        sizes.append((size, f"the size of axis {axis} of the output ({size})"))
    for k, x in enumerate(p.inputs):
        if k != p.input:
            sizes.extend((size, f"the size of axis {axis} of input {k} ({size})") for axis, size in enumerate(x.shape))
    sizes.append((p.x.size, f"the number of entries of {p.name} ({p.x.size})"))
    sizes.extend((s, f"the number of outputs ({s})") for s in [sum(int(np.prod(o)) for o in p.shapes)])
    values = [(float(np.asarray(x)), f"the value of input {k}") for k, x in enumerate(p.inputs) if np.size(x) == 1 and k != p.input]
    for size, text in [*sizes, *values, (2, "2")]:
        if size in (0, 1):
            continue
        root = "the square root (and half) of {}" if size == 4 else "the square root of {}"
        for value, form in [
            (size, "{}"),
            (1 / size, "1 / {}"),
            (2 * size, "2 x {}"),
            (np.sqrt(abs(size)), root),
            (1 / np.sqrt(abs(size)), f"1 / {root}"),
            (size / 2, "half of {}"),
            (2 / size, "2 / {}"),
            (size * size, "the square of {}"),
            (size - 1, "one less than {}"),
            (size / (size - 1), "n / (n - 1) of {}"),
            ((size - 1) / size, "(n - 1) / n of {}"),
        ]:
            if abs(c - value) <= 1e-4 * abs(value):
                return form.format(text)
    return ""


def index(flat: int, shape: Shape) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(flat, shape)) if shape else ()


def matrix_text(a: Array, rows: int = 3) -> str:
    """The corner of a matrix, three by three, for a message."""
    corner = np.round(a[:rows, :rows], 4)
    return np.array2string(corner, separator=", ").replace("\n", "")
