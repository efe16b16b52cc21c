"""One reduction for value and gradient: E = sum_n w_n L_n, dE/dz_n = w_n dL_n/dz_n, so that the two cannot disagree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array, Shape, namespace, widened
from backproof.functional.arguments import floats_beside, loss_dtype, require_finite, require_shape, rounded
from backproof.kernels.exact import total

REDUCTIONS = ("mean", "sum", "none")


class Reduction(NamedTuple):
    """What becomes of rows (N,): each has a weight; the mean divides by the sum of what they count."""

    kind: str
    weight: Array | None  # (N,), wide; None: all 1
    divisor: Array | None  # for a mean: the sum of the weights that count, wide, (1,)

    def scale(self) -> Array | None:
        """The w_n, (N,); None: all 1. A mean over nothing has the weights 0."""
        if self.divisor is None:
            return self.weight
        xp = namespace(self.divisor)
        nothing = self.divisor == 0
        factor = xp.where(nothing, xp.zeros_like(self.divisor), 1 / xp.where(nothing, xp.ones_like(self.divisor), self.divisor))
        assert self.weight is not None
        return xp.where(self.weight == 0, xp.zeros_like(self.weight), self.weight * factor)

    def value(self, rows: Array, shape: Shape, z: Array) -> Array:
        """The rows (N,) reduced, or given back in `shape`, rounded once. A row of weight 0 counts nothing, nan or not."""
        xp = namespace(rows)
        if self.weight is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                rows = xp.where(self.weight == 0, xp.zeros_like(rows), self.weight * rows)
        dtype = loss_dtype(z)
        if self.kind == "none":
            return rounded(xp.reshape(rows, shape), dtype)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            high, low = total(rows)
            result = high + low
            if self.divisor is not None:
                nothing = self.divisor == 0
                ones = xp.ones_like(self.divisor)
                result = xp.where(nothing, xp.zeros_like(result), result / xp.where(nothing, ones, self.divisor))
        return rounded(xp.reshape(result, ()), dtype)


def reduction_of(kind: object, sample_weight: object, counts: Array | None, shape: Shape, z: Array, n: int) -> Reduction:
    """`counts`, (N,) wide: what each row counts in a mean before its sample weight (None: 1). A count of 0 leaves the row out."""
    if kind not in REDUCTIONS:
        raise ArgumentError(f"reduction: expected one of {', '.join(map(repr, REDUCTIONS))}, received {kind!r}")
    xp = namespace(z)
    weight = None
    if sample_weight is not None:
        weight = floats_beside(sample_weight, z, "sample_weight")
        require_shape(weight, shape, "sample_weight")
        require_finite(weight, "sample_weight")
        weight = xp.reshape(widened(weight), (n,))
    if kind != "mean":
        return Reduction(str(kind), weight, None)
    if weight is None:
        weight = _ones(z, n)
        if counts is None:
            return Reduction("mean", weight, xp.sum(weight, axis=-1, keepdims=True))  # whole numbers: nothing is rounded
    high, low = total(weight if counts is None else weight * counts)
    return Reduction("mean", weight, high + low)


def _ones(z: Array, n: int) -> Any:
    """n ones, wide and real, where z is."""
    if isinstance(z, np.ndarray):
        return np.ones(n, np.result_type(z.real.dtype, np.float64))
    xp = namespace(z)
    like = widened(xp.zeros_like(xp.reshape(z, (-1,))[:1]))
    one = xp.sum(xp.real(like) if xp.isdtype(like.dtype, "complex floating") else like) + 1
    return xp.broadcast_to(one, (n,)) + 0
