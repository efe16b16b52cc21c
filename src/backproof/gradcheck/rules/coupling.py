"""Rules for who depends on whom: along which axes, and whether samples depend on each other."""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import coupled_axes, cross_samples, found, same_shape, significant, single
from backproof.gradcheck.values import Pair


def wrong_axis(p: Pair) -> Finding | None:
    out = single(p)
    if out is None:
        return None
    fix = "use the forward's axis (and keepdims=True) in every sum, mean and broadcast of the backward"
    if same_shape(p):
        true, yours = coupled_axes(p, p.numerical), coupled_axes(p, p.analytical)
        if true and yours and true != yours and not yours > true and not true > yours:
            return found(
                p,
                "wrong-axis",
                0.95,
                f"the forward couples {p.name} along axis {_axes(true)}, your gradient along axis {_axes(yours)}",
                fix,
                forward=sorted(true),
                backward=sorted(yours),
            )
        return None
    if (slip := _extremum_elsewhere(p)) is not None:
        return found(
            p,
            "wrong-axis",
            0.95,
            f"your gradient of {p.name} goes to the largest or smallest entries along axis {slip}, not along the forward's",
            fix,
            backward=[slip],
        )
    if (pair := _normalised_elsewhere(p)) is not None:
        return found(
            p,
            "wrong-axis",
            0.92,
            f"the derivatives of each output sum to one number along axis {pair[0]} of {p.name}, yours along axis {pair[1]}",
            fix,
            forward=[pair[0]],
            backward=[pair[1]],
        )
    kept = tuple(s for s in out if s != 1)
    for axis in range(p.x.ndim):
        if tuple(s for i, s in enumerate(p.x.shape) if i != axis and s != 1) != kept or p.x.shape[axis] < 2:
            continue
        pattern = _reduction(p, axis)
        if (significant(p, p.numerical) & ~pattern).any():
            continue
        for other in range(p.x.ndim):
            if other == axis or tuple(s for i, s in enumerate(p.x.shape) if i != other and s != 1) != kept:
                continue
            elsewhere = _reduction(p, other)
            if not (significant(p, p.analytical) & ~elsewhere).any() and (significant(p, p.analytical) & ~pattern).any():
                return found(
                    p,
                    "wrong-axis",
                    0.965 if _flat(p) else 0.93,
                    f"the forward reduces {p.name} along axis {axis}, your gradient is spread along axis {other}",
                    fix,
                    forward=[axis],
                    backward=[other],
                )
    return None


def _extremum_elsewhere(p: Pair) -> int | None:
    """For max and min: the axis whose extrema take your gradient, if J's go to those of another."""
    j, a = p.numerical, p.analytical
    if not (np.isclose(j, 0, atol=1e-6) | np.isclose(j, 1, atol=1e-6)).all() or not ((a == 0) | (a == 1)).all():
        return None
    chosen, yours = (np.abs(j) > 0.5).any(axis=0).reshape(p.x.shape), a.any(axis=0).reshape(p.x.shape)
    for pick in (np.max, np.min):
        at = [axis for axis in range(p.x.ndim) if np.array_equal(p.x == pick(p.x, axis=axis, keepdims=True), yours)]
        if at and any(
            np.array_equal(p.x == pick(p.x, axis=axis, keepdims=True), chosen) for axis in range(p.x.ndim) if axis not in at
        ):
            return at[0]
    return None


def _normalised_elsewhere(p: Pair) -> tuple[int, int] | None:
    """For reductions that grow by c when x does (logsumexp, a weighted mean): the axis along which J's weights sum to a constant,
    and another along which yours do."""
    if ((np.abs(p.numerical) > 1e-9).sum(axis=0) > 1).any() or _flat(p):
        return None
    j, a = p.numerical.sum(axis=0).reshape(p.x.shape), p.analytical.sum(axis=0).reshape(p.x.shape)
    size = float(np.abs(j).max())

    def even(m: Array, axis: int) -> bool:
        sums = m.sum(axis=axis)
        return m.shape[axis] > 1 and bool(np.ptp(sums) <= 1e-5 * size) and abs(float(sums.flat[0])) > 1e-3 * size

    for axis in range(p.x.ndim):
        for other in range(p.x.ndim):
            if other != axis and even(j, axis) and even(a, other) and not even(j, other) and not even(a, axis):
                return axis, other
    return None


def _flat(p: Pair) -> bool:
    """Whether all derivatives are alike (a sum, a mean), so that axes cannot have been exchanged in anything else."""
    values = np.abs(p.numerical[significant(p, p.numerical)])
    return bool(values.size and np.ptp(values) <= 1e-4 * values.max())


def _reduction(p: Pair, axis: int) -> Array:
    """Which (output, input) pairs belong together in a reduction along `axis`."""
    out = np.arange(p.x.size // p.x.shape[axis]).reshape([1 if i == axis else s for i, s in enumerate(p.x.shape)])
    owner = np.broadcast_to(out, p.x.shape).ravel()
    return np.asarray(owner[None, :] == np.arange(p.numerical.shape[0])[:, None])


def _axes(axes: set[int]) -> str:
    return " and ".join(str(a) for a in sorted(axes))


def batch_coupling(p: Pair) -> Finding | None:
    true, yours = cross_samples(p, p.numerical), cross_samples(p, p.analytical)
    if true and p.input and p.x.shape[0] != p.inputs[0].shape[:1]:
        true = None if p.inputs[0].shape[:1] != p.x.shape[:1] else true  # a parameter has no samples
    if true is None or yours is None or true == yours:
        axes = (coupled_axes(p, p.numerical), coupled_axes(p, p.analytical)) if same_shape(p) else (set(), set())
        if same_shape(p) and axes[1] > axes[0] and p.x.ndim > 1 and axes[0] and 0 not in axes[1] - axes[0]:
            extra = _axes(axes[1] - axes[0])
            return found(
                p,
                "wrong-axis",
                0.9,
                f"your gradient of {p.name} mixes entries along axis {extra}, which the forward keeps apart",
                "sum along the forward's own axis only (axis=..., keepdims=True), not over the whole array",
                axes=sorted(axes[1]),
            )
        return None
    if true:
        return found(
            p,
            "missing-batch-coupling",
            0.94,  # above what it looks like from one side only: contributions that are lost
            f"every sample of {p.name} reaches the outputs of the others (batch statistics), but your gradient treats each "
            "sample alone: its blocks between samples are 0",
            "differentiate the statistics too: for batch normalisation dx = (g' - mean(g') - xhat * mean(g' * xhat)) / std "
            "with means over the batch",
            largest_missing=float(np.abs(p.numerical).max()),
        )
    return found(
        p,
        "spurious-batch-coupling",
        0.945,
        f"your gradient of {p.name} mixes samples which the forward keeps apart",
        "sum within each sample only (axis=-1, keepdims=True), not over the whole batch",
        largest=float(np.abs(p.analytical).max()),
    )
