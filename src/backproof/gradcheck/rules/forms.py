"""Rules for the form of the product: zero, sign, scale, the diagonal alone, rows or columns summed."""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import constant, found, matrix_text, name_factor, same_shape, significant, single
from backproof.gradcheck.values import Pair


def zero_gradient(p: Pair) -> Finding | None:
    largest = float(np.abs(p.numerical).max(initial=0.0))
    if not significant(p, p.numerical).any() or not np.abs(p.analytical).max(initial=0.0) <= 1e-12 * largest:
        return None
    if np.any(p.analytical) and np.abs(p.numerical.sum(axis=0)).max() < 1e-6 * largest:
        return found(
            p,
            "rows-summed",
            0.98,
            f"the gradient of {p.name} is zero but for rounding ({np.abs(p.analytical).max():.1g}): "
            "the Jacobian was summed over its rows, and those of a softmax or a normalisation sum to 0",
            "carry the error back by the product dx_j = sum_i J_ij g_i, not by J's sums",
        )
    return found(
        p,
        "zero-gradient",
        0.98,
        f"the gradient of {p.name} is zero everywhere, but the output depends on it (largest derivative "
        f"{np.abs(p.numerical).max():.4g}): its path is cut",
        "let the gradient through: look for a detached copy, a comparison, a rounding or a buffer that is returned before it is "
        "filled",
        largest=float(np.abs(p.numerical).max()),
    )


def sign_flipped(p: Pair) -> Finding | None:
    if not p.same(p.analytical, -p.numerical):
        return None
    return found(
        p,
        "sign-flipped",
        0.98,
        f"the gradient of {p.name} is the right one with the opposite sign",
        "change its sign (the second operand of a - b, a loss against a likelihood, t - y against y - t)",
        factor=-1.0,
    )


def wrong_scale(p: Pair) -> Finding | None:
    big = significant(p, p.numerical)
    if not big.any() or not p.near(p.analytical, np.zeros_like(p.numerical))[~big].all():
        return None
    weight = p.numerical[big]
    c = float((p.analytical[big] @ weight) / (weight @ weight))
    if abs(c) < 1e-10 or abs(c - 1) < 1e-7 or not p.same(p.analytical, c * p.numerical):
        return None
    what = name_factor(p, c)
    return found(
        p,
        "wrong-scale",
        0.97,
        f"the gradient of {p.name} is right but for a constant factor: yours = {c:.6g} x true"
        + (f", and {c:.6g} is {what}" if what else ""),
        f"divide it by {c:.6g}: look for a mean where a sum belongs or the reverse, a mean over the wrong axis, a 2 from a square, "
        "a forgotten constant",
        factor=c,
        named=what,
    )


def missing_cross_terms(p: Pair) -> Finding | None:
    """A = diag(J), but J is not diagonal (the question this library grew from)."""
    if not same_shape(p):
        return None
    diagonal = np.eye(p.x.size, dtype=bool)
    j = np.where(diagonal, p.numerical, 0.0)
    off = significant(p, p.numerical) & ~diagonal
    if not off.any() or not significant(p, j).any() or not p.same(p.analytical, j) or not np.any(p.analytical):
        return None
    a, b = np.argwhere(off)[0]
    softmax = ""
    y = p.outputs[0]
    for axis in range(y.ndim):
        if np.all(y >= 0) and np.allclose(y.sum(axis=axis), 1, atol=1e-4) and y.shape[axis] > 1:
            h = np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis])[0][:3]
            softmax = (
                " For the first three classes J_ij = h_i (delta_ij - h_j) = "
                + matrix_text(np.diag(h) - np.outer(h, h))
                + ", yours is its diagonal h (1 - h)."
            )
            break
    cure = (
        "dx = h * (upstream - (h * upstream).sum(axis, keepdims=True))"
        if softmax
        else "multiply by the whole Jacobian: dx = J^T g, with the terms dy_i/dx_j for i != j"
    )
    return found(
        p,
        "missing-cross-terms",
        0.98,
        f"every output depends on several inputs, but your gradient of {p.name} keeps only the diagonal "
        f"dy_i/dx_i; dy_{int(a)}/dx_{int(b)} is {p.numerical[a, b]:.4g}, yours 0.{softmax}",
        cure,
        missing=int(off.sum()),
        diagonal=np.diag(p.numerical)[:5].tolist(),
    )


def rows_summed(p: Pair) -> Finding | None:
    """dx = sum of J's rows or columns times something of the upstream gradient that is not the product J^T g."""
    j, a = p.numerical, p.analytical
    m, n = j.shape
    if m < 2:
        return None
    forms: list[tuple[str, Array]] = []
    for name, weights in _collapses(p):
        forms.append((name, weights.T @ j))  # A^T g = J^T (P g)
    if m == n:
        off = significant(p, j) & ~np.eye(n, dtype=bool)
        if off.any():
            forms += [
                ("g times the sums of J's columns", np.diag(j.sum(axis=0))),
                ("g times the sums of J's rows", np.diag(j.sum(axis=1))),
            ]
    for name, form in forms:
        if p.same(a, form) and not p.same(j, form):
            return found(
                p,
                "rows-summed",
                0.95 if "g[0]" in name or "last g" in name else 0.93,  # one g for all is no mixture of samples
                f"the gradient of {p.name} is {name}, not the product J^T g",
                "carry the error back by the product dx_j = sum_i J_ij g_i: every row of J with its own g_i, then the sum",
                form=name,
            )
    return None


def _collapses(p: Pair) -> list[tuple[str, Array]]:
    """Matrices P with which an upstream gradient loses its shape: g[0], sum(g), mean(g), over everything or along an axis."""
    m = p.numerical.shape[0]
    first = np.zeros((m, m))
    first[:, 0] = 1
    last = np.zeros((m, m))
    last[:, -1] = 1
    forms = [
        ("J's sum over its rows times g[0] for all of them", first),
        ("J's sum over its rows times the last g", last),
        ("J's sum over its rows times sum(g)", np.ones((m, m))),
        ("J's sum over its rows times mean(g)", np.full((m, m), 1 / m)),
    ]
    out = single(p)
    if out is not None and len(out) > 1:
        numbers = np.array(np.unravel_index(np.arange(m), out))
        for axis in range(len(out)):
            rest = [i for i in range(len(out)) if i != axis]
            together = (numbers[rest][:, :, None] == numbers[rest][:, None, :]).all(axis=0).astype(float)
            forms += [
                (f"the rows' sum times g summed along axis {axis}", together),
                (f"the rows' sum times the mean of g along axis {axis}", together / out[axis]),
            ]
            start = together * (numbers[axis] == 0)[None, :]
            forms.append((f"the rows' sum times the first g along axis {axis}", start))
    return forms


def scale_note(p: Pair) -> float | None:
    big = significant(p, p.numerical)
    return constant(p.analytical[big] / p.numerical[big])
