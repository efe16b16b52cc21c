"""Fixed linear maps, without parameters to learn: reshaping, and standardising the input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backproof._errors import ArgumentError, ShapeError
from backproof.arrays import Array, Shape, as_floats, require_finite
from backproof.layers.base import FixedMap, Kept, Params, diagonal_jacobian


@dataclass(frozen=True, repr=False, eq=False)
class Flatten(FixedMap):
    """(N, a, b, ...) -> (N, a b ...). The Jacobian is a reshaped identity.

    >>> import numpy as np
    >>> Flatten().forward({}, np.zeros((5, 8, 8)))[0].shape
    (5, 64)
    """

    produces: ClassVar[str] = "same"

    def out_shape(self, in_shape: Shape) -> Shape:
        return (math.prod(in_shape),)

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        return x.reshape(x.shape[0], *self.out_shape(x.shape[1:])).copy(), x.shape[1:]

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return dy.reshape(dy.shape[0], *kept).copy(), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self.forward(params, tx)[0]

    def jacobian(self, params: Params, x: Array) -> Array:
        full = diagonal_jacobian(np.ones_like(x))
        return full.reshape(x.shape[0], *self.out_shape(x.shape[1:]), *x.shape[1:])


@dataclass(frozen=True, repr=False, eq=False)
class Standardize(FixedMap):
    """y = (x - mean) / scale for x (N, ..., features), with fixed mean and scale (features,); dx = dy / scale.

    As the first layer of a network it keeps the preparation of the data with the model, which then takes raw features, and
    `Network.jacobian` is with respect to these. Raises `ArgumentError` for a scale that is not above 0 or numbers that are not
    finite, `ShapeError` for arrays that do not fit. Source: LeCun et al., Efficient BackProp, 1998, section 4.3.

    >>> import numpy as np
    >>> x = np.array([[1.0, 10.0], [3.0, 10.0]])
    >>> Standardize.fit(x, unit="own").forward({}, x)[0].tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    mean: Any
    scale: Any
    produces: ClassVar[str] = "same"

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            array = as_floats(getattr(self, name), f"Standardize: {name}").copy()
            require_finite(array, f"Standardize: {name}")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.mean.ndim != 1 or self.mean.shape != self.scale.shape:
            raise ShapeError(
                f"Standardize: expected mean and scale of one shape (features,), received {self.mean.shape} and {self.scale.shape}"
            )
        if not (self.scale > 0).all():
            raise ArgumentError(f"Standardize: expected scale to be above 0, received {self.scale.min()}")

    @classmethod
    def fit(cls, x: Array, unit: str = "auto") -> Standardize:
        """Centre each feature of `x` (N, ..., features), and scale to a mean square of 1.

        unit="own": each feature by its own standard deviation, for features in units of their own. "common": all by one, for
        features in one unit (pixels), where a rare small feature should stay small. "auto": "common" if no feature's range is
        above four times the median range. A constant feature is only centred.
        """
        rows = as_floats(x, "x", np.float64).reshape(-1, np.shape(x)[-1])
        if rows.size == 0:
            raise ShapeError(f"Standardize: expected x with at least one example and feature, received shape {np.shape(x)}")
        return cls.of(rows.mean(axis=0), rows.std(axis=0), rows.max(axis=0) - rows.min(axis=0), unit)

    @classmethod
    def of(cls, mean: Array, deviation: Array, ranges: Array, unit: str = "auto") -> Standardize:
        """As `fit`, from the features' means, standard deviations and ranges."""
        if unit not in ("own", "common", "auto"):
            raise ArgumentError(f"Standardize: expected unit to be 'own', 'common' or 'auto', received {unit!r}")
        scale = np.where(deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean), 0.0, deviation)
        if unit == "common" or (unit == "auto" and ranges.max() <= 4 * np.median(ranges)):
            scale = np.full_like(scale, np.sqrt(np.mean(scale * scale)))
        return cls(mean, np.where(scale > 0, scale, 1.0))

    def out_shape(self, in_shape: Shape) -> Shape:
        if not in_shape or in_shape[-1] != self.mean.size:
            raise ShapeError(f"Standardize: expected examples of shape (..., {self.mean.size}), received {in_shape}")
        return in_shape

    def _scaled(self, x: Array) -> Array:
        scaled: Array = x / self.scale.astype(x.real.dtype, copy=False)
        return scaled

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        self.out_shape(x.shape[1:])
        x = as_floats(x, "x")
        return self._scaled(x - self.mean.astype(x.real.dtype, copy=False)), None

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return self._scaled(dy), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self._scaled(tx)

    def jacobian(self, params: Params, x: Array) -> Array:
        return diagonal_jacobian(self._scaled(np.ones_like(as_floats(x, "x"))))
