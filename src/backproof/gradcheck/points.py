"""Special points near the user's own: where bugs hide that a random point never meets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import Evaluator, is_float


def special_points(ev: Evaluator, rng: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    """(what is special, the inputs): zeros, ties, equal rows, repeated indices, large and tiny values, a batch of one, another
    point."""
    base = list(ev.point)
    wrt = [k for k in ev.subject.wrt if k < ev.subject.arguments] or list(ev.subject.wrt)
    names = ev.subject.names

    def replaced(k: int, value: Array) -> list[Array]:
        changed = list(base)
        changed[k] = value.astype(base[k].dtype)
        return changed

    other = list(base)
    for k in ev.subject.wrt:
        x = np.asarray(base[k], dtype=np.float64)
        other[k] = (x * (1 + 0.2 * rng.uniform(-1, 1, x.shape))).astype(base[k].dtype)
    yield "another point nearby", other
    for k in wrt:
        x = np.asarray(base[k], dtype=np.float64)
        if not x.size:
            continue
        if x.flat[0] != 0:
            zero = x.copy()
            zero.flat[0] = 0.0
            yield f"{names[k]} with a zero", replaced(k, zero)
        if x.ndim and x.shape[-1] > 1:
            tied = x.copy()
            tied[..., 1] = tied[..., 0]
            yield f"{names[k]} with equal entries along the last axis", replaced(k, tied)
            top = x.copy()
            top[...] = np.minimum(x, np.partition(x, -2, axis=-1)[..., -2:-1])
            yield f"{names[k]} with a tie at its maximum along the last axis", replaced(k, top)
        if x.ndim > 1 and x.shape[0] > 1:
            rows = x.copy()
            rows[1] = rows[0]
            yield f"{names[k]} with two equal rows", replaced(k, rows)
        size = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
        if size:
            yield f"{names[k]} large", replaced(k, x * (1000.0 if ev.backward_epsilon < 1e-10 else 100.0) / size)
        for i in wrt:
            if i < k and base[i].shape == x.shape and not np.array_equal(base[i], x):
                yield f"{names[i]} equal to {names[k]}", replaced(k, np.asarray(base[i], dtype=np.float64))
                half = x.copy()
                half.flat[0] = float(np.asarray(base[i]).flat[0])
                yield f"an entry of {names[i]} equal to that of {names[k]}", replaced(k, half)
    for k, x in enumerate(base):
        if x.dtype.kind in "iu" and x.size > 1:
            same = x.copy()
            same.flat[1] = same.flat[0]
            yield f"{names[k]} with a repeated index", replaced(k, same)
    arguments = [k for k in range(ev.subject.arguments) if base[k].ndim]
    if arguments and ev.outputs:
        b = base[arguments[0]].shape[0]
        if b > 1 and all(y.ndim and y.shape[0] == b for y in ev.outputs):
            yield "a batch of one", [x[:1] if k in arguments and x.shape[0] == b else x for k, x in enumerate(base)]


def usable(ev: Evaluator, inputs: list[Array]) -> bool:
    """Whether the function runs there, and is finite."""
    try:
        outputs = ev.forward(inputs)
    except Exception:
        return False
    return len(outputs) == len(ev.outputs) and all(
        np.isfinite(np.asarray(y, dtype=np.float64)).all() for y in outputs if is_float(y)
    )
