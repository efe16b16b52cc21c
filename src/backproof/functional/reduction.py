"""One reduction for value and gradient: E = sum_n w_n L_n, dE/dz_n = w_n dL_n/dz_n, so that the two cannot disagree."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array, Shape, is_numpy, namespace, widened
from backproof.functional.arguments import floats_beside, loss_dtype, require_finite, require_shape, rounded
from backproof.kernels import dispatch

REDUCTIONS = ("mean", "sum", "none")


class Reduction(NamedTuple):
    """What becomes of n rows: each has a weight; the mean divides by the sum of what they count."""

    kind: str
    n: int
    weight: Array | None  # (n,), wide; None: all 1
    divisor: Array | None  # for a mean: the sum of the weights that count, wide, (1,)

    def scale(self) -> Array | None:
        """The w_n, (n,); None: all 1. A mean over nothing has the weights 0."""
        if self.divisor is None:
            return self.weight
        xp = namespace(self.divisor)
        factor = _divided(xp.ones_like(self.divisor), self.divisor)
        if self.weight is None:
            return xp.broadcast_to(factor, (self.n,))
        return xp.where(self.weight == 0, xp.zeros_like(self.weight), self.weight * factor)

    def value(self, rows: Array, shape: Shape, z: Array) -> Array:
        """The rows (n,) reduced, or given back in `shape`, rounded once. A row of weight 0 counts nothing, nan or not."""
        xp = namespace(rows)
        if self.weight is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                rows = xp.where(self.weight == 0, xp.zeros_like(rows), self.weight * rows)
        dtype = loss_dtype(z)
        if self.kind == "none":
            return rounded(xp.reshape(rows, shape), dtype)
        high, low = dispatch.total(rows)
        with np.errstate(invalid="ignore", over="ignore"):
            result = high + low
            if self.divisor is not None:
                result = _divided(result, self.divisor)
        return rounded(xp.reshape(result, ()), dtype)


def _divided(dividend: Array, divisor: Array) -> Array:
    """The quotient, (1,), 0 where there is nothing to divide by."""
    if is_numpy(divisor):
        return dividend / divisor if divisor[0] else np.zeros_like(dividend)
    xp = namespace(divisor)
    nothing = divisor == 0
    return xp.where(nothing, xp.zeros_like(dividend), dividend / xp.where(nothing, xp.ones_like(divisor), divisor))


def reduction_of(kind: object, sample_weight: object, counts: Array | None, shape: Shape, z: Array, n: int) -> Reduction:
    """`counts`, (n,) wide: what each row counts in a mean before its sample weight (None: 1). A count of 0 leaves the row out."""
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
        return Reduction(str(kind), n, weight, None)
    if weight is None and counts is None:
        return Reduction("mean", n, None, _one(z) * n)
    if weight is None:
        weight = xp.broadcast_to(_one(z), (n,))
    high, low = dispatch.total(weight if counts is None else weight * counts)
    return Reduction("mean", n, weight, high + low)


def _one(z: Array) -> Any:
    """A one, (1,), wide and real, where z is."""
    if isinstance(z, np.ndarray):
        return np.ones(1, np.result_type(z.real.dtype, np.float64))
    xp = namespace(z)
    like = widened(xp.zeros_like(xp.reshape(z, (-1,))[:1]))
    like = xp.real(like) if xp.isdtype(like.dtype, "complex floating") else like
    return xp.reshape(xp.sum(like) + 1, (1,))  # of an empty z too
