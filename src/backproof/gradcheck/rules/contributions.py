"""Rules for contributions that are left out: of a broadcast, of one path among several."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, same_shape, significant, single
from backproof.gradcheck.values import Pair


def _shifted(p: Pair, there: Array, counted: Array) -> bool:
    """Whether whole outputs or inputs have no gradient: that is another mistake than a lost path."""
    return bool((there.any(axis=0) & ~counted.any(axis=0)).any() or (there.any(axis=1) & ~counted.any(axis=1)).any())


def missing_broadcast(p: Pair) -> Finding | None:
    """A broadcast input whose gradient counts one slice of the outputs only."""
    pattern = broadcast_pattern(p)
    if pattern is None:
        return None
    counted = significant(p, p.analytical)
    if not counted.any() or not p.near(p.analytical, p.numerical)[counted].all():
        return None
    missed = significant(p, p.numerical) & ~counted
    if not missed.any():
        return None
    per_input = counted.sum(axis=0)
    if per_input.max() >= pattern.sum(axis=0).max():
        return None
    return found(
        p,
        "missing-broadcast-sum",
        0.95,
        f"{p.name} is broadcast: {int(pattern.sum(axis=0).max())} outputs use each of its entries, "
        f"but your gradient counts {int(per_input.max())} of them",
        "sum the upstream gradient over the broadcast axes: db = g.sum(axis=0)",
        counted=int(per_input.max()),
        of=int(pattern.sum(axis=0).max()),
    )


def broadcast_pattern(p: Pair) -> Array | None:
    """Which outputs use which entry of an input that is broadcast: by NumPy's rule, or along other axes (channels)."""
    out = single(p)
    if out is None or p.x.size >= int(np.prod(out)):
        return None
    numbers = np.arange(p.x.size).reshape(p.x.shape)
    for axes in combinations(range(len(out)), p.x.ndim):
        shape = [1] * len(out)
        for axis, size in zip(axes, p.x.shape, strict=True):
            shape[axis] = size
        try:
            owner = np.broadcast_to(numbers.reshape(shape), out).ravel()
        except ValueError:
            continue
        pattern = np.asarray(owner[:, None] == np.arange(p.x.size)[None, :])
        if not (significant(p, p.numerical) & ~pattern).any():
            return pattern
    return None


def missing_accumulation(p: Pair) -> Finding | None:
    """One contribution of several: a skip path left out, an output of several not counted, repeated indices overwritten."""
    j, a = p.numerical, p.analytical
    fix = "add the contributions of all paths (dx += ..., np.add.at(dx, index, g) for indices), do not overwrite"
    text = f"{p.name} reaches the output along several paths, and only part of them is counted: "
    if len(p.shapes) > 1:
        at = 0
        for i, shape in enumerate(p.shapes):
            rows = slice(at, at + int(np.prod(shape)))
            at = rows.stop
            if not np.any(a[rows]) and significant(p, j)[rows].any() and np.any(a):
                return found(
                    p, "missing-accumulation", 0.92, text + f"the path through output {i} is missing", fix, f"output {i}", output=i
                )
    if same_shape(p):
        e = j - a
        n = p.x.size
        c = float(np.median(np.diag(e)))
        diagonal = significant(p, a) & ~np.eye(n, dtype=bool)
        if abs(c) > 1e-6 and n > 1 and p.same(e + a, a + c * np.eye(n)) and (diagonal.any() or np.ptp(np.diag(a)) > 1e-6):
            extra = "the identity (skip) path" if abs(c - 1) < 1e-5 else f"a path with the constant factor {c:.4g}"
            if abs(c - 1) < 1e-5 or not diagonal.any():
                return found(p, "missing-accumulation", 0.94, text + f"{extra} is missing", fix, skip=c)
        if diagonal.any() and p.same(e, np.diag(np.diag(e))) and (significant(p, np.diag(np.diag(e))).sum() > 0.7 * n):
            return found(p, "missing-accumulation", 0.86, text + "an elementwise path beside the others is missing (a gate)", fix)
        if p.same(a, np.eye(n)) and (significant(p, j) & ~np.eye(n, dtype=bool)).any() and np.linalg.matrix_rank(e, tol=1e-6) > 2:
            return found(p, "missing-accumulation", 0.7, text + "only the identity (skip) path is there", fix, skip=1.0)
    counted, there = significant(p, a), significant(p, j)
    pattern = broadcast_pattern(p)
    if not there.any() or (counted & ~there).any() or pattern is not None:
        return None
    if same_shape(p) and p.same(a, np.where(np.eye(p.x.size, dtype=bool), j, 0.0)):
        return None  # the diagonal alone: missing cross terms
    right = p.near(a, j)
    uses = there.sum(axis=0)
    lost = there & ~counted
    with np.errstate(all="ignore"):
        ratio = np.where(there, a / np.where(there, j, 1.0), 1.0)
    if lost.any() and right[counted].all():
        columns = lost.any(axis=0)
        # an entry used once cannot lose a contribution: those must all be right; of those used more often, some part is left
        if (uses[columns] > 1).all() and counted[:, columns].any(axis=0).all():
            return found(
                p,
                "missing-accumulation",
                0.935,
                text + f"{int(lost.sum())} contributions of {int(there.sum())} are lost, "
                "all at entries that several outputs use (repeated indices, shared weights)",
                fix,
                lost=int(lost.sum()),
            )
    if lost.sum() > 0.3 * there.sum() and not right[counted].all() and min(j.shape) > 1 and not _shifted(p, there, counted):
        return found(
            p,
            "missing-accumulation",
            0.5,
            text + f"{int(lost.sum())} of {int(there.sum())} dependencies have no gradient at all (a detached or forgotten path)",
            fix,
            lost=int(lost.sum()),
        )
    parts = there & ~right
    if parts.any() and right[there].any():
        share = 1 / ratio[parts & counted] if (parts & counted).any() else np.zeros(0)
        if share.size and np.allclose(share, np.round(share), atol=1e-4) and (share > 1.5).all():
            return found(
                p,
                "missing-accumulation",
                0.8,
                text + "some entries hold one contribution of several",
                fix,
                share=float(share.max()),
            )
    return None
