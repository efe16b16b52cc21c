"""Rules for the path through a shared statistic: a mean, a variance, a norm, a softmax's normaliser."""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import coupled_axes, found, same_shape, significant, single
from backproof.gradcheck.rules.coupling import _axes as axes_text
from backproof.gradcheck.values import Pair


def missing_normalizer(p: Pair) -> Finding | None:
    """J - A of low rank in every coupled block, while A is not: a term u v^T of a shared statistic is left out."""
    if not same_shape(p):
        return None
    e = p.numerical - p.analytical
    true, yours = coupled_axes(p, p.numerical), coupled_axes(p, p.analytical)
    axes = sorted(true | yours)
    if not axes or not np.any(p.analytical):
        return None
    rest = [i for i in range(p.x.ndim) if i not in axes]
    order = rest + axes
    width = int(np.prod([p.x.shape[i] for i in axes]))
    blocks = p.x.size // width
    numbers = np.arange(p.x.size).reshape(p.x.shape).transpose(order).reshape(blocks, width)
    remainder = [e[np.ix_(b, b)] for b in numbers]
    rank = max(_rank(r, p) for r in remainder)
    own = min(_rank(p.analytical[np.ix_(b, b)], p) for b in numbers)
    if (
        (width < 3 and rank >= width)
        or rank == 0
        or rank > max(1, min(2, width - 2))
        or (own <= rank and width > 2 and own < width - 2)
    ):
        return None
    statistic = _statistic(p, remainder, numbers)
    confidence = 0.9 if rank == 1 and true else 0.85 if true else 0.6
    if true and all(_through_extrema(r, x) for r, x in zip(remainder, p.x.ravel()[numbers], strict=True)):
        statistic, confidence = "the minimum or maximum", 0.94
    return found(
        p,
        "missing-normalizer-term",
        confidence,
        f"your gradient of {p.name} is right but for a term of rank {rank} along axis {axes_text(set(axes))}: "
        "the path through a shared statistic is missing or wrong" + (f" ({statistic})" if statistic else ""),
        "differentiate the statistic as well (mean: subtract mean(g); variance or norm: subtract xhat * mean(g * xhat); "
        "softmax: subtract h * <h, g>)",
        rank=rank,
        statistic=statistic,
        axes=axes,
    )


def missing_reduced_term(p: Pair) -> Finding | None:
    """Outputs of another shape (norms, similarities): each row of J - A is parallel to x, or to ones, where J's row is not zero."""
    if same_shape(p) or single(p) is None or p.numerical.shape[1] < 3:
        return None
    e, support = p.numerical - p.analytical, significant(p, p.numerical)
    names: set[str] = set()
    for row, a, on in zip(e, p.analytical, support, strict=True):
        if on.sum() < 3 or not np.any(a[on]) or np.abs(row[on]).max() <= 1e-6 * np.abs(p.numerical).max():
            return None
        for name, v in (("the norm of " + p.name, p.x.ravel()), ("a mean or sum", np.ones(p.x.size))):
            c = float(row[on] @ v[on] / (v[on] @ v[on])) if np.any(v[on]) else 0.0
            parallel = float(a[on] @ v[on] / (v[on] @ v[on])) if np.any(v[on]) else 0.0
            if (
                c
                and np.abs(row[on] - c * v[on]).max() < 1e-5 * np.abs(row[on]).max()
                and np.abs(a[on] - parallel * v[on]).max() > 1e-3 * np.abs(a[on]).max()
            ):
                names.add(name)
                break
        else:
            return None
    return found(
        p,
        "missing-normalizer-term",
        0.9,
        f"your gradient of {p.name} is right but for a term along {' or '.join(names)}: "
        "the path through that statistic is left out",
        "differentiate the norm or mean as well: d(x/|x|) has the term - x <x, .> / |x|^3",
        statistic=sorted(names),
        rank=1,
    )


def projected(p: Pair) -> Finding | None:
    """J is A without its part along x (a norm held constant), or along ones (a mean), within each vector along an axis of x."""
    a = p.analytical.reshape(-1, *p.x.shape)
    if not np.any(a) or not np.isfinite(a).all():
        return None
    for axis in range(p.x.ndim - 1, -1, -1):
        if p.x.shape[axis] < 3 and p.x.size < 6:
            continue
        for name, v in (("norm", p.x), ("mean or sum", np.ones(p.x.shape))):
            square = (v * v).sum(axis=axis, keepdims=True)
            if not square.all():
                continue
            along = (a * v).sum(axis=axis + 1, keepdims=True) * (v / square)
            if p.same((a - along).reshape(p.numerical.shape), p.numerical) and not p.same(p.analytical, p.numerical):
                return found(
                    p,
                    "missing-normalizer-term",
                    0.93,
                    f"your gradient of {p.name} is right but for a term along axis {axis}: the path through the {name} is left out",
                    "differentiate the norm or mean as well: for u = x / |x|, dx = (du - u <u, du>) / |x|",
                    statistic=name,
                    axes=[axis],
                )
    return None


def softmax_behind(p: Pair) -> Finding | None:
    """Outputs are probabilities h of something inside: with A = D M, is J = S M for the softmax Jacobian S = diag(h) - h h^T?"""
    if len(p.shapes) != 1 or (same_shape(p) and not (significant(p, p.numerical) & ~np.eye(p.x.size, dtype=bool)).any()):
        return None
    y = p.outputs[0].astype(float)
    for axis in range(y.ndim - 1, -1, -1):
        if y.shape[axis] < 2 or not (y > 0).all() or not np.allclose(y.sum(axis=axis), 1, atol=1e-4):
            continue

        def through(m: Array, axis: int = axis) -> Array:
            t = m.reshape(*y.shape, -1)
            h = y[..., None]
            return np.asarray((h * (t - (h * t).sum(axis=axis, keepdims=True))).reshape(m.shape))

        if same_shape(p) and p.same(through(np.eye(p.x.size)), p.numerical):
            continue  # the softmax itself: other rules know it better
        h = y.reshape(-1, 1)
        for cause, m, text in (
            ("missing-cross-terms", p.analytical / (h * (1 - h)), "only the diagonal h (1 - h) of the softmax Jacobian is applied"),
            (
                "missing-normalizer-term",
                p.analytical / h,
                "only h of the softmax Jacobian is applied: the term - h <h, g> is missing",
            ),
            ("fused-twice", p.analytical, "the softmax Jacobian is left out, as if the loss had fused it"),
        ):
            if same_shape(p) and not coupled_axes(p, p.analytical) <= coupled_axes(p, p.numerical):
                continue  # it mixes more than the softmax does: another mistake
            if p.same(through(m), p.numerical) and not p.same(p.analytical, p.numerical):
                return found(
                    p,
                    cause,
                    0.965,
                    f"the outputs are softmax probabilities, and in your gradient of {p.name} {text}",
                    "dz = h * (g - (h * g).sum(axis, keepdims=True)), then on to the softmax's inputs",
                    axis=axis,
                )
    return None


def _rank(a: Array, p: Pair) -> int:
    s = np.linalg.svd(np.where(np.isfinite(a), a, 0.0), compute_uv=False)
    floor = max(1e-6, 100 * p.relative) * float(np.abs(p.numerical).max(initial=0.0))
    return int((s > floor).sum())


def _statistic(p: Pair, remainder: list[Array], numbers: Array) -> str:
    """Which statistic a rank-one remainder u v^T belongs to, by what u and v are parallel to."""
    u, s, v = np.linalg.svd(remainder[0])
    if len(s) > 1 and s[1] > 1e-5 * s[0]:
        return "mean and variance" if len(s) > 2 and s[2] < 1e-5 * s[0] else ""
    x, y = p.x.ravel()[numbers[0]], p.outputs[0].ravel()[numbers[0]].astype(float)
    known = {"the mean or sum": np.ones_like(x), "the norm or variance": x - x.mean(), "the norm": x, "the output itself": y}
    for name, vector in known.items():
        size = np.linalg.norm(vector)
        if size and max(abs(v[0] @ vector), abs(u[:, 0] @ vector)) > (1 - 1e-6) * size:
            return name
    return ""


def _through_extrema(remainder: Array, x: Array) -> bool:
    """Whether nearly every output lacks what it owes to the smallest or largest entry, and to no other."""
    floor = 1e-6 * np.abs(remainder).max()
    columns = np.flatnonzero(np.abs(remainder).max(axis=0) > floor)
    reached = (np.abs(remainder[:, columns]) > floor).mean(axis=0)
    return set(columns) <= {int(x.argmin()), int(x.argmax())} and bool((reached > 0.6).all())
