"""Rules for single entries: not finite, wrong at some places, and what remains unknown."""

from __future__ import annotations

import numpy as np

from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules.base import found, index, significant, single
from backproof.gradcheck.values import Pair


def non_finite(p: Pair) -> Finding | None:
    bad = ~np.isfinite(p.analytical) & p.wrong & np.isfinite(p.numerical)
    if not bad.any():
        return None
    i, k = np.argwhere(bad)[0]
    return found(
        p,
        "non-finite",
        0.98,
        f"the gradient of {p.name} is {p.analytical[i, k]} at {index(int(k), p.x.shape)}, where the function is finite and has "
        f"the derivative {p.numerical[i, k]:.4g} (x = {p.x.flat[k]:.4g}); {int(bad.any(axis=0).sum())} of {p.x.size} entries",
        "avoid 0/0, 0*inf and overflow: rewrite the formula (subtract the maximum, divide before multiplying), or mask "
        "before dividing",
        f"{p.name}{list(index(int(k), p.x.shape))}",
        count=int(bad.any(axis=0).sum()),
    )


def some_entries(p: Pair) -> Finding | None:
    """Right at many entries, wrong at others: whole columns (inputs), rows (outputs), or cells."""
    wrong = p.wrong
    matter = significant(p, p.numerical) | significant(p, np.where(np.isfinite(p.analytical), p.analytical, 0.0))
    right = matter & ~wrong
    columns, rows = np.asarray(wrong.any(axis=0)), np.asarray(wrong.any(axis=1))
    live = matter.any(axis=0)
    good_columns = int((live & ~columns).sum())
    good_rows = int((matter.any(axis=1) & ~rows).sum())
    if not wrong.any() or not right.any():
        return None
    if good_columns:
        share, places, shape, what = columns[live].mean(), np.flatnonzero(columns), p.x.shape, p.name
    elif good_rows:
        share, places, shape, what = rows.mean(), np.flatnonzero(rows), single(p) or (len(rows),), "the output"
    else:
        share, places, shape, what = wrong[matter].mean(), np.flatnonzero(wrong.ravel()), (*wrong.shape,), "the Jacobian"
    if share > (0.72 if good_columns or good_rows else 0.5):
        return None  # wrong nearly everywhere: the few right ones are no explanation
    listed = [index(int(i), shape) for i in places[:6]]
    i, k = np.argwhere(wrong)[0]
    return found(
        p,
        "wrong-at-some-entries",
        0.93 if share < 0.5 and good_columns else 0.85 if share < 0.5 else 0.7,
        f"the gradient of {p.name} is right but at {len(places)} entries of {what}: "
        f"{', '.join(map(str, listed))}{' ...' if len(places) > 6 else ''}; the first is {p.analytical[i, k]:.5g}, should be "
        f"{p.numerical[i, k]:.5g}",
        "look at what is special there: masked, ignored, padded, clipped, tied or boundary entries",
        f"{what} at {listed}",
        count=len(places),
        share=float(share),
        indices=[list(i) for i in listed],
    )


def unknown(p: Pair) -> Finding:
    e = np.where(np.isfinite(p.analytical), p.analytical, 0.0) - p.numerical
    wrong = p.wrong
    s = np.linalg.svd(e, compute_uv=False) if e.size else np.zeros(0)
    rank = int((s > 1e-6 * s.max(initial=1e-300)).sum())
    i, k = np.unravel_index(int(np.argmax(np.where(wrong, np.abs(e), 0))), e.shape)
    return found(
        p,
        "unknown",
        0.4,
        f"the gradient of {p.name} differs from the numerical one at {int(wrong.sum())} of {wrong.size} Jacobian entries "
        f"(rank of the difference {rank}); largest at output {int(i)}, {p.name}{list(index(int(k), p.x.shape))}: yours "
        f"{p.analytical[i, k]:.5g}, numerical {p.numerical[i, k]:.5g}",
        "derive this entry by hand and compare term by term",
        rank=rank,
        wrong=int(wrong.sum()),
        sparsity=float(wrong.mean()),
        place=[int(i), int(k)],
    )
