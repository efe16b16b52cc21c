"""The three products of a linear layer with cross-entropy, by NumPy's BLAS; linear_panels.py has its words."""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.arrays import Array


def room(rows: int, features: int, block: int, segments: int, item: int, gradient: bool) -> int:
    """Bytes: for each segment perhaps a block of W, for gradients one of dW, the rows' sums and their next terms; and the rows."""
    each = (2 * block + 2 * rows if gradient else block) * features
    return (segments * each + rows * features) * item


class Products:
    """The products of one chunk of rows after the other."""

    def __init__(self, dtype: np.dtype[Any], rows: int, features: int, block: int, segments: int, gradient: bool) -> None:
        self.sums = np.empty((segments if gradient else 0, rows, features), dtype)

    def begin(self, x: Array) -> None:
        self.x = x

    def logits(self, segment: int, w: Array, bias: Array | None, z: Array) -> None:
        np.matmul(self.x, w.T, out=z)
        if bias is not None:
            z += bias

    def gradients(self, segment: int, w: Array, g: Array, dw: Array, db: Array | None, first: bool, begun: bool) -> None:
        if first:
            np.matmul(g.T, self.x, out=dw)
        else:
            dw += g.T @ self.x
        dx = self.sums[segment, : len(self.x)]
        if begun:
            dx += g @ w
        else:
            np.matmul(g, w, out=dx)
        if db is not None:
            db += np.add.reduce(g, axis=0, dtype=np.float64)

    def dx(self) -> Array:
        with np.errstate(all="ignore"):
            found: Array = np.add.reduce(self.sums[:, : len(self.x)], axis=0)
        return found
