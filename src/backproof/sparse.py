"""Sparse matrices as examples: dense a few rows at a time."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from backproof.arrays import Array, require_finite
from backproof.network import Network


def is_sparse(value: object) -> TypeGuard[Any]:
    """Whether this is a sparse matrix or array of SciPy's, told without importing SciPy."""
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "tocsr")


class SparseRows:
    """The rows of a sparse matrix as the network's layers take them: `rows[index]` is dense, prepared and no longer than the index.

    >>> import scipy.sparse
    >>> from backproof import Linear, Network
    >>> network = Network([Linear(1)]).initialise(np.eye(3), seed=0)
    >>> SparseRows(scipy.sparse.eye_array(3), network)[np.array([2, 0])].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(self, matrix: Any, network: Network) -> None:
        self.matrix, self.network = matrix.tocsr(), network
        with np.errstate(over="ignore"):
            require_finite(self.matrix.data.astype(network.dtype), f"x as {network.dtype}")

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """The numbers that are not 0, and where they are."""
        return self.matrix.data, self.matrix.indices, self.matrix.indptr

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def __getitem__(self, rows: slice | Array) -> Array:
        return self.network.prepared(self.matrix[rows].toarray())
