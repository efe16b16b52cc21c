"""Rules for what was exchanged: the matrix and its transpose, two inputs, a layer and its loss."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, significant, single
from backproof.gradcheck.values import Pair


def transposed(p: Pair) -> Finding | None:
    """A = J^T, or A = D J^T / D (a diagonal factor beside the matrix), or the gradient with permuted axes."""
    j, a = p.numerical, p.analytical
    m, n = j.shape
    text = "the gradient of {} uses the Jacobian where its transpose is needed, or the reverse: {}"
    fix = "exchange the transposition: for y = x W, dx = g W^T and dW = x^T g"
    if m == n:
        if not p.same(j, j.T) and p.same(a, j.T):
            return found(p, "transposed", 0.97, text.format(p.name, "yours = J^T exactly"), fix, form="J^T")
        out = single(p)
        big = significant(p, j)
        if out is not None and not p.same(j, j.T) and (significant(p, a) == big.T).all() and big.sum() > 2 * n:
            d = _conjugation(a, j.T, big.T)
            if d is not None and p.same(a, d[:, None] * j.T / d[None, :], 1e-4):
                return found(
                    p, "transposed", 0.9, text.format(p.name, "yours = D J^T / D with a diagonal D"), fix, form="D J^T / D"
                )
    for side, shape in [("input", p.x.shape), ("output", single(p))]:
        if shape is None or len(shape) < 2 or max(shape) < 2:
            continue
        for order in permutations(range(len(shape))):
            if order == tuple(range(len(shape))):
                continue
            numbers = np.arange(int(np.prod(shape))).reshape(shape).transpose(order).ravel()
            for places in (numbers, np.argsort(numbers)):
                moved = j[:, places] if side == "input" else j[places]
                if not p.same(j, moved) and p.same(a, moved):
                    what = "its axes exchanged" if side == "input" else "the axes of the upstream gradient exchanged"
                    return found(
                        p, "transposed", 0.94, text.format(p.name, f"yours is the right one with {what} {order}"), fix, axes=order
                    )
    return None


def _conjugation(a: Array, b: Array, where: Array) -> Array | None:
    """d with a_ij / b_ij = d_i / d_j, followed from entry to entry; None if the entries hang together in no such way."""
    n = len(a)
    d = np.zeros(n)
    for start in range(n):
        if d[start]:
            continue
        d[start], queue = 1.0, [start]
        while queue:
            i = queue.pop()
            for k in np.flatnonzero(where[i]):
                if not d[k]:
                    d[k] = d[i] * b[i, k] / a[i, k]
                    queue.append(int(k))
            for k in np.flatnonzero(where[:, i]):
                if not d[k]:
                    d[k] = d[i] * a[k, i] / b[k, i]
                    queue.append(int(k))
    return d if np.isfinite(d).all() and d.all() else None


def swapped(p: Pair) -> Finding | None:
    for k, other in p.others.items():
        if k == p.input or other.x.shape != p.x.shape or p.same(other.numerical, p.numerical):
            continue
        if p.same(p.analytical, other.numerical) and other.same(other.analytical, p.numerical):
            return found(
                p,
                "swapped-gradients",
                0.985,
                f"the gradients of {p.name} and {other.name} are exchanged: each is right for the other",
                f"return them in the order of the inputs: exchange the gradients of {p.name} and {other.name}",
                other=k,
            )
    return None


def fused_twice(p: Pair) -> Finding | None:
    """With S the Jacobian of softmax(x) (rows along some axis): A = S J (applied on top of h - t), or S A = J (never applied)."""
    if p.x.ndim < 1:
        return None
    for axis in range(p.x.ndim - 1, -1, -1):
        if p.x.shape[axis] < 2:
            continue
        z = np.moveaxis(p.x, axis, -1)
        with np.errstate(all="ignore"):
            e = np.exp(z - z.max(axis=-1, keepdims=True))
            h = e / e.sum(axis=-1, keepdims=True)

        def product(rows: Array, h: Array = h, axis: int = axis) -> Array:
            s = np.moveaxis(rows.reshape(-1, *p.x.shape), axis + 1, -1)
            out = h * (s - (h * s).sum(axis=-1, keepdims=True))
            return np.asarray(np.moveaxis(out, -1, axis + 1).reshape(rows.shape))

        if not np.isfinite(h).all():
            continue
        # x are probabilities, and their loss's backward returns h - t
        if (z >= 0).all() and np.allclose(z.sum(axis=-1), 1, atol=1e-5):
            s = np.moveaxis(p.numerical.reshape(-1, *p.x.shape), axis + 1, -1)
            fused = np.moveaxis(z * (s - (z * s).sum(axis=-1, keepdims=True)), -1, axis + 1).reshape(p.numerical.shape)
            if p.same(p.analytical, fused):
                return found(
                    p,
                    "fused-twice",
                    0.96,
                    f"the gradient of the probabilities {p.name} is h - t, which is that of the logits: "
                    "the softmax Jacobian is in it already, and the softmax layer will apply it again",
                    "return -t / h for probabilities, or take logits and fuse",
                    axis=axis,
                    form="h - t for probabilities",
                )
        if p.same(p.analytical, product(p.numerical)):
            return found(
                p,
                "fused-twice",
                0.97,
                f"the gradient of {p.name} is h * (s - <h, s>) of the right one: the loss already "
                "returned the fused h - t, and the softmax Jacobian is applied to it once more",
                "return h - t as it is: softmax with cross-entropy collapses to h - t with respect to the logits",
                axis=axis,
                form="softmax Jacobian on top",
            )
        if np.any(p.analytical) and p.same(product(p.analytical), p.numerical) and not p.same(p.analytical, p.numerical):
            return found(
                p,
                "fused-twice",
                0.95,
                f"the gradient of {p.name} lacks the softmax Jacobian: h * (s - <h, s>) of yours is the right one. "
                "The softmax layer passes its upstream on as if the loss had fused it, and it had not",
                "apply dz = h * (s - <h, s>) in the softmax, or return h - t from the fused loss: one of the two, once",
                axis=axis,
                form="softmax Jacobian left out",
            )
    return None
