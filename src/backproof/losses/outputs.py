"""Losses that are sums over the outputs: binary cross-entropy, half squared error, Huber."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backproof._errors import ArgumentError, ShapeError
from backproof.arrays import Array, as_floats, require_finite, widened
from backproof.kernels import reference_losses
from backproof.kernels.elementwise import sigmoid_slope
from backproof.layers.base import require_number
from backproof.losses.base import Loss, class_weights


@dataclass(frozen=True, repr=False)
class _OnOutputs(Loss):
    """A loss whose example's value is the sum over its outputs; the target has z's shape ((N,) is taken for (N, 1))."""

    def targets(self, z: Array, target: object) -> Array:
        t = as_floats(target, "target", np.float64)
        if z.ndim == 2 and z.shape[1] == 1 and t.shape == z.shape[:1]:
            t = t[:, None]
        if t.shape != z.shape or z.ndim < 1:
            raise ShapeError(f"target: expected shape {z.shape}, received {t.shape}")
        require_finite(t, "target")
        return t


def _sum_outputs(terms: Array) -> Array:
    return np.asarray(terms.reshape(terms.shape[0], -1).sum(axis=1))


@dataclass(frozen=True, repr=False)
class BinaryCrossEntropy(_OnOutputs):
    """L_n = -sum_l c_l (t_nl ln y_nl + (1 - t_nl) ln(1 - y_nl)) with y = sigmoid(z); dL_n/dz = c (y - t).

    z is (N,) or (N, labels): several labels an example may be on at once. Targets lie in [0, 1]. `class_weight` c has one entry a
    label. Source: Bishop 1995, section 6.7.

    >>> import numpy as np
    >>> loss, dz = BinaryCrossEntropy().value_and_gradient(np.array([[0.0, 0.0]]), [[1, 0]])
    >>> round(loss, 4), dz.tolist()
    (1.3863, [[-0.5, 0.5]])
    """

    class_weight: Any = None

    link: ClassVar[str] = "sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "class_weight", class_weights("BinaryCrossEntropy", self.class_weight))

    def targets(self, z: Array, target: object) -> Array:
        t = super().targets(z, target)
        if self.class_weight is not None and (z.ndim != 2 or z.shape[1] != len(self.class_weight)):
            raise ShapeError(f"class_weight: expected one a label of logits {z.shape}, received {len(self.class_weight)}")
        if not ((t >= 0) & (t <= 1)).all():
            raise ArgumentError(f"target: expected numbers from 0 to 1, received {t.min()} to {t.max()}")
        return t

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        values, gradients = reference_losses.binary_cross_entropy_terms(z, t)
        return _sum_outputs(self._per_label(values)), self._per_label(gradients)

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        return self._per_label(sigmoid_slope(widened(z)) * v)

    def _per_label(self, terms: Array) -> Array:
        return terms if self.class_weight is None else terms * np.asarray(self.class_weight)


@dataclass(frozen=True, repr=False)
class SquaredError(_OnOutputs):
    """L_n = 1/2 sum_k (z_nk - t_nk)^2; dL_n/dz = z - t. The outputs are summed, the examples averaged, in both (Bishop 1995, 6.1).

    >>> import numpy as np
    >>> SquaredError().value_and_gradient(np.array([[1.0, 3.0]]), [[0.0, 1.0]])
    (2.5, array([[1., 2.]]))
    """

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        residual = widened(z) - t
        return _sum_outputs(residual * residual / 2), residual

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        return np.asarray(widened(v))


@dataclass(frozen=True, repr=False)
class Huber(_OnOutputs):
    """L_n = sum_k rho(z_nk - t_nk), rho(r) = r^2/2 where |r| <= delta, else delta (|r| - delta/2).

    dL_n/dz = clip(r, -delta, delta).

    Source: Huber, Annals of Mathematical Statistics 35 (1964). The second derivative at |r| = delta is taken from inside (1).
    Raises `ArgumentError` for a delta that is not above 0, `ShapeError` for a target of another shape.

    >>> import numpy as np
    >>> Huber(delta=1.0).value_and_gradient(np.array([[3.0]]), [[0.0]])
    (2.5, array([[1.]]))
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("Huber", "delta", self.delta, low=0.0, open_low=True)

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        residual = widened(z) - t
        clipped = np.clip(residual, -self.delta, self.delta)
        return _sum_outputs(clipped * (residual - clipped / 2)), clipped

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        return np.where(np.abs(widened(z) - t) <= self.delta, widened(v), 0.0)
