"""Rules for mistakes inside a composition, where A = J D or A = D J no longer shows them: a layer before and a layer after.

What still shows: a factor of a hidden unit is the same for all weights that lead into the unit, and for all outputs it leads to;
hidden probabilities are the Jacobian of what they are multiplied with; a weight that is used r times has a gradient that is a sum
of r outer products; and a function of degree d in x has J x = d f (Euler).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, same_shape, significant, single
from backproof.gradcheck.rules.wrong_point import stands_still
from backproof.gradcheck.values import Pair, measure


def hidden_factor(p: Pair) -> Finding | None:
    """J / A, over (output axes, input axes), is one number along some axis, and not along all: the factor of a hidden unit."""
    shape = (*(single(p) or (len(p.numerical),)), *p.x.shape)
    for much, (whole, part) in (("missing", (p.numerical, p.analytical)), ("too much", (p.analytical, p.numerical))):
        on = significant(p, part)
        if (significant(p, whole) & ~on).any() or not on.any():
            continue
        with np.errstate(all="ignore"):
            ratio = np.where(on, whole / np.where(on, part, 1.0), np.nan).reshape(shape)
        axes = [i for i, size in enumerate(shape) if size > 1 and _constant_along(ratio, i, on.reshape(shape))]
        if not axes:
            continue
        factors = _collapsed(ratio, axes)
        known = factors[np.isfinite(factors)]
        if known.size < 3 or on.sum() < 2 * known.size or np.ptp(known) <= 1e-4 * np.abs(known).max():
            continue
        if np.mean(np.isclose(known, 1)) > 0.75:
            continue  # right at most of them: another rule's case
        outputs = len(single(p) or (0,))
        units = [i for i in range(outputs) if shape[i] > 1 and (i > 0 or len(shape) == outputs + 1 or outputs == 1)]
        if outputs > 1 and units and not set(units) & set(axes):
            continue  # a hidden unit has one factor for all outputs that it leads to
        kept = [i for i in range(len(shape)) if i not in axes]
        varies = [i for i in range(factors.ndim) if _varies_along(factors, i)]
        if outputs > 1 and shape[0] > 1 and 0 not in kept and p.x.shape[:1] != shape[:1]:
            continue  # and it depends on the sample
        mask = bool((np.isclose(known, 0) | np.isclose(known, 1)).all())
        if mask and len(varies) < 2:
            continue  # whole samples or whole units: those are entries
        verb = "lacks" if much == "missing" else "has too much"
        what = "a mask (0 or 1: the derivative of a ReLU, dropout)" if mask else f"{np.round(known[:4], 4).tolist()} ..."
        return found(
            p,
            "missing-factor",
            _sureness(known, mask),
            f"the gradient of {p.name} {verb} a factor of hidden units, one for all that leads to a unit or away from it: {what}",
            ("multiply the error at the hidden units" if much == "missing" else "do not multiply the error at the hidden units")
            + " by their activation's derivative (or mask, or scale) before it goes on",
            f"{p.name}, inside",
            values=known[:16].tolist(),
            side="inside",
            form=much,
        )
    return None


def _sureness(known: Array, mask: bool) -> float:
    """A mask is no accident; nor is it one that some units (a gate of several) lack a factor while the others are exactly right."""
    right = np.isclose(known, 1)
    some = right.mean() >= 0.25 and not mask and (~right).sum() >= 3 and np.abs(known[~right]).min() > 1e-3
    return 0.87 if mask else 0.936 if some else 0.82


def _constant_along(ratio: Array, axis: int, on: Array) -> bool:
    """Whether the ratio is one number along each line of the axis; lines with one entry do not count, and some must have more."""
    several = on.sum(axis=axis) > 1
    if not several.any() or several.sum() < 0.3 * on.any(axis=axis).sum():
        return False
    with np.errstate(all="ignore"):
        high, low = np.nanmax(np.where(on, ratio, -np.inf), axis=axis), np.nanmin(np.where(on, ratio, np.inf), axis=axis)
        size = np.nanmax(np.where(on, np.abs(ratio), 0.0))
    return bool(((high - low)[several] <= 1e-5 * np.maximum(np.abs(high), np.abs(low))[several] + 1e-7 * size).all())


def _collapsed(ratio: Array, axes: list[int]) -> Array:
    """The one number of each line."""
    count = np.isfinite(ratio).sum(axis=tuple(axes))
    with np.errstate(all="ignore"):
        return np.asarray(np.nansum(ratio, axis=tuple(axes)) / np.where(count, count, np.nan))


def _varies_along(factors: Array, axis: int) -> bool:
    filled = np.isfinite(factors)
    high = np.where(filled, factors, -np.inf).max(axis=axis)
    low = np.where(filled, factors, np.inf).min(axis=axis)
    both = filled.sum(axis=axis) > 1
    return bool((high - low)[both].max(initial=0.0) > 1e-4 * np.abs(factors[filled]).max(initial=0.0))


def linear_part(p: Pair) -> Finding | None:
    """J changes with x and A does not: the derivative of what lies between the linear parts is left out."""
    if min(p.numerical.shape) < 2 or not np.any(p.analytical) or not stands_still(p):
        return None
    x = p.x * (1 + 0.03 * np.linspace(0.5, 1, p.x.size).reshape(p.x.shape))
    try:
        q = measure(p.function, p.input, None, p.function.perturbed(p.input, x.astype(p.inputs[p.input].dtype), p.inputs))
    except Exception:  # the neighbour is outside the function's domain
        return None
    if p.same(p.numerical, q.numerical):
        return None
    return found(
        p,
        "missing-factor",
        0.5,
        f"the right gradient of {p.name} depends on the inputs, yours does not: it is that of the linear parts, without the "
        "derivative of what lies between them",
        "multiply the error by the activation's derivative on its way back",
        f"{p.name}, inside",
        side="inside",
        form="missing",
    )


def hidden_softmax(p: Pair) -> Finding | None:
    """Along an axis of x, J = S V for a softmax Jacobian S = diag(h) - h h^T, and A is V times something simpler.

    h is the softmax of x itself (logits), or the rows of another input's Jacobian (attention's values, the next layer's weights).
    """
    for axis, size in enumerate(p.x.shape):
        if size < 2:
            continue
        j, a = (np.moveaxis(m.reshape(-1, *p.x.shape), axis + 1, 1).reshape(len(m), size, -1) for m in (p.numerical, p.analytical))
        scale, room = float(np.abs(j).max(initial=0.0)), max(1e-6, 100 * p.relative)

        def like(b: Array, c: Array, scale: float = scale, room: float = room) -> bool:
            return bool(np.abs(b - c).max(initial=0.0) <= room * max(scale, float(np.abs(c).max(initial=0.0))))

        if not scale or like(a, j) or not np.isfinite(a).all():
            continue
        gap, size = np.abs(a - j).max(axis=1), np.maximum(np.abs(a), np.abs(j)).max(axis=1)
        if (gap[size > 1e-9 * scale] <= 1e-6 * size[size > 1e-9 * scale]).any():
            continue  # right for some samples: those that are wrong are special
        for whose, h in _distributions(p, axis):
            for cause, v, back, text in _softmax_slips(h, a):
                if like(back, j) and not like(v, np.zeros_like(v)):
                    return found(
                        p,
                        cause,
                        0.96,
                        f"a softmax lies between {p.name} and the output ({whose}), and in your gradient of {p.name} {text}",
                        "dz = h * (g - (h * g).sum(axis, keepdims=True)) at the softmax, then on to its inputs; with cross-entropy "
                        "fused, dz = h - t at once",
                        f"{p.name}, inside",
                        axis=axis,
                        form="inside",
                    )
    return None


def _softmax_slips(h: Array, a: Array) -> Iterator[tuple[str, Array, Array, str]]:
    """(cause, the upstream gradient that A would come from, the right gradient for it, what A has)."""

    def softmax(v: Array) -> Array:
        return np.asarray(h * (v - (h * v).sum(axis=1, keepdims=True)))

    def log_softmax(v: Array) -> Array:
        return np.asarray(v - h * v.sum(axis=1, keepdims=True))

    cells = "only the diagonal h (1 - h) of the softmax Jacobian is applied"
    with np.errstate(all="ignore"):
        for cause, v, right, text in (
            ("missing-cross-terms", a / (h * (1 - h)), softmax, cells),
            (
                "missing-normalizer-term",
                a / h,
                softmax,
                "only h of the softmax Jacobian is applied: the term - h <h, g> is missing",
            ),
            ("fused-twice", a, softmax, "the softmax Jacobian is left out, as if a loss had fused it"),
            ("rows-summed", a / (1 - h.shape[1] * h), log_softmax, "the log-softmax Jacobian is summed over its rows"),
            ("missing-cross-terms", a / (1 - h), log_softmax, "only the diagonal 1 - h of the log-softmax Jacobian is applied"),
            ("missing-normalizer-term", a, log_softmax, "the term - h sum(g) of the log-softmax is missing"),
        ):
            if np.isfinite(v).all():
                yield cause, v, right(v), text


def _distributions(p: Pair, axis: int) -> Iterator[tuple[str, Array]]:
    """Probabilities (outputs, size, 1 or rest) that may belong to a softmax along the axis of x."""
    size = p.x.shape[axis]
    for q in p.others.values():
        if q.input != p.input and (h := _probabilities(q, size)) is not None:
            yield f"its probabilities multiply {q.name}", h[:, :, None]
    z = np.moveaxis(p.x, axis, 0).reshape(size, -1)
    if np.isfinite(z).all() and not (same_shape(p) and p.x.ndim > 0 and z.size == size):
        e = np.exp(z - z.max(axis=0))
        yield f"that of {p.name}", np.asarray((e / e.sum(axis=0))[None])


def _probabilities(q: Pair, size: int) -> Array | None:
    """For each output the `size` probabilities that its derivatives with respect to q are, or None."""
    m = len(q.numerical)
    for axis in range(q.x.ndim):
        if q.x.shape[axis] != size:
            continue
        lines = np.moveaxis(q.numerical.reshape(m, *q.x.shape), axis + 1, 1).reshape(m, size, -1)
        best = np.abs(lines).sum(axis=1).argmax(axis=1)  # the one column of q that this output uses
        h = lines[np.arange(m), :, best]
        if (h > 0).all() and np.allclose(h.sum(axis=1), 1, atol=1e-5):
            return np.asarray(h)
    return None


def lost_use(p: Pair) -> Finding | None:
    """One use of several is not counted: fewer outer products in a weight's gradient, or too low a degree by Euler's theorem."""
    for how, evidence in (*_outer_products(p), *_degrees(p)):
        return found(
            p,
            "missing-accumulation",
            0.9,
            f"{p.name} is used several times on the way to the output, and your gradient counts a part of the uses: {how}",
            "add the gradients of all uses (tied weights, both sides of a product, every time step): dW += ...",
            uses=evidence["uses"],
            counted=evidence["counted"],
        )
    return None


def _outer_products(p: Pair) -> Iterator[tuple[str, dict[str, int]]]:
    """Each row of J, as a matrix, is a sum of r outer products, one a use; A's is a sum of fewer of them, and J - A of the rest.

    Ranks add up only so: a wrong factor leaves A and J - A of full rank.
    """
    if p.x.ndim != 2 or min(p.x.shape) < 2 or not np.isfinite(p.analytical).all():
        return
    ranks = []
    for j, a in zip(p.numerical, p.analytical, strict=True):
        of = [_matrix_rank(m.reshape(p.x.shape), max(1e-6, 100 * p.relative) * np.abs(j).max(initial=0.0)) for m in (j, a, j - a)]
        if of[0] and (of[2] or of[1] != of[0]):
            ranks.append(of)
    if len(ranks) < 1 or any(r[1] + r[2] != r[0] for r in ranks):
        return
    if all(0 < r[1] < r[0] < min(p.x.shape) or (0 < r[1] < r[0] and r[0] == 2) for r in ranks):
        total, mine = max(r[0] for r in ranks), max(r[1] for r in ranks)
        yield f"it is a sum of {mine} outer products, where the right one is a sum of {total}", {"uses": total, "counted": mine}


def _matrix_rank(a: Array, floor: float) -> int:
    return int((np.linalg.svd(a, compute_uv=False) > floor).sum())


def _degrees(p: Pair) -> Iterator[tuple[str, dict[str, int]]]:
    """f is homogeneous of degree d in x if J x = d f; each use of x in a product adds 1 to d."""
    out = np.concatenate([y.ravel().astype(float) for y in p.outputs])
    x = p.x.ravel()
    if not np.any(out) or x.size < 2 or not np.isfinite(p.analytical).all():
        return
    scale = float(np.abs(out).max())
    degrees = []
    for m in (p.numerical, p.analytical):
        along = m @ x
        d = float(along @ out / (out @ out))
        if np.abs(along - d * out).max() > 1e-6 * scale * max(1.0, abs(d)) or abs(d - round(d)) > 1e-6:
            return
        degrees.append(round(d))
    if 0 < degrees[1] < degrees[0]:
        yield (
            f"the output is of degree {degrees[0]} in {p.name} (J x = {degrees[0]} f), by your gradient of degree {degrees[1]}",
            {"uses": degrees[0], "counted": degrees[1]},
        )
