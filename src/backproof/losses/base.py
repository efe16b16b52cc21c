"""Losses on logits: one value an example, and one reduction that value, gradient and Hessian product share.

A loss gives rows: values L_n and gradients dL_n/dz. Weights and the mean turn them into E = sum_n w_n L_n and dE/dz = w_n dL_n/dz
with the same w_n, so that the reported loss and the gradient cannot disagree. Each loss names its `link`, the output layer whose
inverse it takes its logits through; with that layer the gradient with respect to the logits is `y - t`:
    softmax + cross-entropy,  sigmoid + binary cross-entropy,  identity + half squared error   (Bishop 1995, sections 6.1-6.9)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from backproof._errors import ArgumentError, ShapeError
from backproof.arrays import Array, Shape, as_floats


@dataclass(frozen=True, repr=False)
class Loss:
    """E = sum_n w_n L_n(z_n, t_n).

    `reduction="mean"` divides by the sum of the weights of the examples that count, "sum" does not; a mean over nothing is 0 with
    a zero gradient. Values are formed and added in double precision whatever the dtype of z; gradients come in z's dtype. Raises
    `ArgumentError` for another reduction, and for weights that are negative or of another shape.

    >>> import dataclasses
    >>> import numpy as np
    >>> @dataclasses.dataclass(frozen=True, repr=False)
    ... class LogCosh(Loss):
    ...     def targets(self, z, target):
    ...         return np.asarray(target, dtype=np.float64)
    ...     def rows(self, z, t):
    ...         return np.log(np.cosh(z - t)).sum(axis=1), np.tanh(z - t)
    >>> from backproof import check
    >>> check(LogCosh(), np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]])).ok
    True
    """

    reduction: str = dataclasses.field(default="mean", kw_only=True)

    link: ClassVar[str] = "identity"
    """The canonical output layer: "softmax", "sigmoid" or "identity"."""

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ArgumentError(f"{type(self).__name__}: expected reduction to be 'mean' or 'sum', received {self.reduction!r}")

    # --- what a loss defines -----------------------------------------------------------------------------------------------
    def targets(self, z: Array, target: object) -> Array:
        """`target`, checked against z."""
        raise NotImplementedError

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        """Values L_n, one an example, and gradients dL_n/dz of z's shape, both in double precision."""
        raise NotImplementedError

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        """H_n v_n, with H_n the Hessian of L_n with respect to its logits."""
        raise NotImplementedError

    def counts(self, z: Array, t: Array) -> Array | float:
        """How much each example counts in the denominator of the mean, before sample weights."""
        return 1.0

    # --- the reduction -----------------------------------------------------------------------------------------------------
    def row_weights(self, shape: Shape, sample_weight: object = None, counts: Array | float = 1.0) -> Array:
        """The w_n: sample weights, divided by their sum (each times what its example counts) if the reduction is a mean."""
        weight = np.ones(shape)
        if sample_weight is not None:
            weight = as_floats(sample_weight, "sample_weight", np.float64)
            if weight.shape != shape:
                raise ShapeError(f"sample_weight: expected shape {shape}, received {weight.shape}")
            require_weights(weight, "sample_weight")
        if self.reduction == "sum":
            return weight
        total = float(np.sum(weight * counts))
        return weight / total if total > 0 else np.zeros(shape)

    def reduced(self, z: Array, target: object, sample_weight: object = None) -> tuple[float, Array]:
        """E and dE/dz, without a look at what kind of numbers z holds."""
        t = self.targets(z, target)
        values, gradients = self.rows(z, t)
        weight = self.row_weights(values.shape, sample_weight, self.counts(z, t))
        value = float(np.sum(np.where(weight == 0, 0.0, weight * values)))
        return value, _scaled_rows(weight, gradients).astype(z.dtype, copy=False)

    def hessian_product(self, z: Array, target: object, v: Array, sample_weight: object = None) -> Array:
        """H v with H = d^2E/dz^2: shape of z. Block diagonal over the examples."""
        t = self.targets(z, target)
        product = self.hessian_rows(z, t, v)
        weight = self.row_weights(z.shape[: self._row_axes(z)], sample_weight, self.counts(z, t))
        return _scaled_rows(weight, product).astype(z.dtype, copy=False)

    def _row_axes(self, z: Array) -> int:
        return 1

    # --- what a user calls -------------------------------------------------------------------------------------------------
    def __call__(self, z: npt.ArrayLike, t: object, sample_weight: object = None) -> float:
        return self.value_and_gradient(z, t, sample_weight)[0]

    def value_and_gradient(self, z: npt.ArrayLike, t: object, sample_weight: object = None) -> tuple[float, Array]:
        """(E, dE/dz) for logits z and targets t; `sample_weight` has one entry an example."""
        return self.reduced(self._logits(z), t, sample_weight)

    def each(self, z: npt.ArrayLike, t: object) -> Array:
        """L_n, one value an example, in double precision; neither weighted by example nor averaged."""
        logits = self._logits(z)
        return self.rows(logits, self.targets(logits, t))[0]

    def __repr__(self) -> str:
        changed = [f for f in dataclasses.fields(self) if getattr(self, f.name) != f.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"

    def _logits(self, z: object) -> Array:
        return as_floats(z, "z")


def require_weights(weight: Array, name: str) -> None:
    """Raise `ArgumentError` unless every weight is finite and not negative."""
    if not (np.isfinite(weight) & (weight >= 0)).all():
        wrong = weight[~(np.isfinite(weight) & (weight >= 0))].flat[0]
        raise ArgumentError(f"{name}: expected finite numbers that are not negative, received {wrong}")


def class_weights(owner: str, value: object) -> tuple[float, ...] | None:
    """One weight a class as a tuple, checked; None stays None."""
    if value is None:
        return None
    weight = as_floats(value, f"{owner}: class_weight", np.float64)
    if weight.ndim != 1:
        raise ShapeError(f"{owner}: expected class_weight of shape (classes,), received {weight.shape}")
    require_weights(weight, f"{owner}: class_weight")
    return tuple(weight.tolist())


def _scaled_rows(weight: Array, rows: Array) -> Array:
    """w_n rows_n; a row of weight 0 gives exact zeros, even where it holds nan."""
    weight = weight.reshape(weight.shape + (1,) * (rows.ndim - weight.ndim))
    scaled: Array = rows * weight
    return np.where(weight == 0, 0.0, scaled) if not weight.all() else scaled
