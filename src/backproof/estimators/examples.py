"""Examples of an estimator: X, encoded y and weights, chosen by row and split."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from backproof.arrays import Array, is_tensor, to_numpy

Examples = tuple[Any, Array, Array | None]


def rows_of(data: Examples, rows: Array) -> Examples:
    return data[0][rows], data[1][rows], None if data[2] is None else data[2][rows]


def without_zeros(x: Any, t: Array, weights: Array | None) -> Examples:
    """Examples of weight zero are left out: they would fill batches and say nothing."""
    if weights is None or weights.all():
        return x, t, weights
    return rows_of((x, t, weights), weights > 0)


def parts(t: Array, labels: bool, fraction: float, seed: int) -> tuple[Array, Array]:
    """Numbers of the examples to train on and to hold out; labels in proportion, where there are enough of each for that."""
    strata, n = None, len(t)
    if labels:
        counts = np.bincount(t)
        enough = counts[counts > 0].min() > 1 and np.count_nonzero(counts) <= min(np.ceil(fraction * n), n - np.ceil(fraction * n))
        strata = t if enough else None
    kept, held = train_test_split(np.arange(n), test_size=fraction, stratify=strata, random_state=seed)
    return kept, held


def dense(x: Any) -> Array:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x)


def without_tensors(*values: Any) -> list[Any]:
    """torch's tensors as NumPy arrays: scikit-learn, told to dispatch, would keep them; on a GPU they must come down anyway."""
    return [to_numpy(value, "X") if is_tensor(value) else value for value in values]
