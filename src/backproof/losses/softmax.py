"""Losses over a softmax: cross-entropy and the Kullback-Leibler divergence. Both have the gradient T h - t."""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, DoubleSoftmaxWarning, LabelError, ShapeError
from backproof.arrays import Array, as_floats, to_numpy, widened
from backproof.kernels import chosen, reference_losses
from backproof.layers.base import require_number
from backproof.losses.base import Loss, class_weights, require_weights


@dataclass(frozen=True, repr=False)
class _OnSoftmax(Loss):
    """A loss that normalises its logits by a softmax over the last axis."""

    link: ClassVar[str] = "softmax"

    def _row_axes(self, z: Array) -> int:
        return z.ndim - 1

    def _logits(self, z: object) -> Array:
        logits = super()._logits(z)
        if logits.ndim and logits.shape[-1] > 1 and are_probabilities(logits):
            warnings.warn(
                f"{type(self).__name__} expected logits and received rows that are probabilities already (not negative, sum 1): "
                "they would pass through a second softmax. Give it the input of the softmax, or the logarithm of these rows.",
                DoubleSoftmaxWarning,
                stacklevel=4,
            )
        return logits

    def _distributions(self, z: Array, t: Array) -> Array:
        t = as_floats(t, "target")
        require_weights(t, "target")
        return t


def are_probabilities(z: Array) -> bool:
    """Whether every row of the last axis is a distribution to within rounding (and so hardly a set of logits)."""
    if z.size == 0 or np.iscomplexobj(z) or not (z >= 0).all():
        return False
    return bool(np.allclose(z.sum(axis=-1, dtype=np.float64), 1.0, rtol=0, atol=z.shape[-1] * np.finfo(z.dtype).eps))


@dataclass(frozen=True, repr=False)
class CrossEntropy(_OnSoftmax):
    """L_n = -sum_k c_k t_nk ln softmax(z_n)_k, and dL_n/dz = T h - t with T = sum_k c_k t_nk: `h - t` for a distribution t.

    z is (N, ..., classes). The target is whole-number labels (N, ...) or probabilities (N, ..., classes).
    `class_weight` c, (classes,), multiplies inside the sum; the mean over labels divides by the weights of the labels that count,
    as in torch, the mean over probabilities by the number of examples. `label_smoothing` e replaces t by (1 - e) t + e / classes
    (Szegedy et al., CVPR 2016). Examples with the label `ignore_index` count nothing, even if they hold nan.
    Source: Bishop 1995, section 6.9; the rounding of the gradient: `backproof.kernels.reference`.

    Raises `LabelError` for a label outside the classes, `ArgumentTypeError` for labels that are not whole numbers, `ShapeError`.

    >>> import numpy as np
    >>> loss, dz = CrossEntropy().value_and_gradient(np.log([[1.0, 2.0, 5.0]]), [2])
    >>> round(loss, 4), dz.round(3).tolist()
    (0.47, [[0.125, 0.25, -0.375]])
    """

    class_weight: Any = None
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("CrossEntropy", "label_smoothing", self.label_smoothing, low=0.0, high=np.nextafter(1.0, 2.0))
        object.__setattr__(self, "class_weight", class_weights("CrossEntropy", self.class_weight))
        if self.ignore_index is not None:
            try:
                object.__setattr__(self, "ignore_index", operator.index(self.ignore_index))
            except TypeError:
                received = f"{self.ignore_index!r:.80}"
                raise ArgumentTypeError(f"CrossEntropy: expected ignore_index to be a whole number, received {received}") from None

    def targets(self, z: Array, target: object) -> Array:
        t = to_numpy(target, "target")
        if z.ndim < 1 or z.shape[-1] == 0:
            raise ShapeError(f"z: expected logits of shape (N, ..., classes), received {z.shape}")
        if self.class_weight is not None and len(self.class_weight) != z.shape[-1]:
            raise ShapeError(f"class_weight: expected {z.shape[-1]} entries, one a class, received {len(self.class_weight)}")
        if t.shape == z.shape:
            if self.ignore_index is not None:
                raise ArgumentError("ignore_index: expected None with probabilities as targets; it names a label")
            return self._distributions(z, t)
        if t.shape != z.shape[:-1]:
            raise ShapeError(
                f"target: expected labels of shape {z.shape[:-1]} or probabilities of shape {z.shape}, received {t.shape}"
            )
        return self._labels(t, z.shape[-1])

    def _labels(self, t: Array, classes: int) -> Array:
        if t.dtype.kind not in "iu":
            raise ArgumentTypeError(f"target: expected whole-number labels (dtype int), received dtype {t.dtype}")
        bad = (t < 0) | (t >= classes)
        if self.ignore_index is not None:
            bad &= t != self.ignore_index
        if bad.any():
            raise LabelError(f"target: expected labels from 0 to {classes - 1}, received {t[bad].flat[0]}")
        return t

    def _dense(self, z: Array, t: Array) -> Array:
        """Targets as c_k ((1 - e) t_nk + e / classes), 0 throughout ignored rows."""
        classes = z.shape[-1]
        if t.shape != z.shape:
            dense = np.zeros(z.shape)
            kept = self._kept(t)
            np.put_along_axis(dense, np.where(kept, t, 0)[..., None], 1.0, -1)
            if not kept.all():
                dense[~kept] = 0.0
        else:
            kept, dense = np.ones(z.shape[:-1], dtype=bool), t.astype(np.float64)
        if self.label_smoothing:
            e = self.label_smoothing
            dense = np.where(kept[..., None], (1 - e) * dense + e / classes, 0.0)
        return dense if self.class_weight is None else dense * np.asarray(self.class_weight)

    def _kept(self, labels: Array) -> Array:
        return np.ones(labels.shape, dtype=bool) if self.ignore_index is None else labels != self.ignore_index

    def counts(self, z: Array, t: Array) -> Array | float:
        if t.shape == z.shape:
            return 1.0
        return self._kept(t) * (1.0 if self.class_weight is None else self._class_weights(t))

    def _class_weights(self, labels: Array) -> Array:
        """c at each label; whatever at ignored ones."""
        return np.asarray(self.class_weight)[np.where(self._kept(labels), labels, 0)]

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        weight = None if self.class_weight is None else np.asarray(self.class_weight)
        options = reference_losses.Options(weight, self.ignore_index, self.label_smoothing)
        classes = z.shape[-1]
        target = t.reshape(-1, classes) if t.shape == z.shape else t.reshape(-1)
        values, gradients = chosen.cross_entropy(z.reshape(-1, classes), target, options)
        return values.reshape(z.shape[:-1]), gradients.reshape(z.shape)

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        # d(T h - t)/dz = T J, J the softmax Jacobian
        total = np.sum(self._dense(z, t), axis=-1, keepdims=True)
        product = total * chosen.softmax_vjp(chosen.softmax(widened(z), -1), widened(v), -1)
        return np.where(total == 0, 0.0, product)


@dataclass(frozen=True, repr=False)
class KLDivergence(_OnSoftmax):
    """L_n = KL(t_n || h_n) = sum_k t_nk ln(t_nk / h_nk) - t_nk + h_nk with h = softmax(z); dL_n/dz = T h - t.

    Cross-entropy less the target's entropy: the same gradient, never negative, and 0 at the optimum. z is (N, ..., classes),
    logits or log-probabilities; the target is probabilities of the same shape. Source: Kullback & Leibler 1951; Bishop, PRML
    (2006), section 1.6.1.

    >>> import numpy as np
    >>> p = np.array([[0.2, 0.8]])
    >>> KLDivergence()(np.log(p), p) < 1e-30
    True
    """

    def targets(self, z: Array, target: object) -> Array:
        t = to_numpy(target, "target")
        if t.shape != z.shape or z.ndim < 1:
            raise ShapeError(f"target: expected probabilities of shape {z.shape}, received {t.shape}")
        return self._distributions(z, t)

    def rows(self, z: Array, t: Array) -> tuple[Array, Array]:
        return reference_losses.kl_rows(z, t)

    def hessian_rows(self, z: Array, t: Array, v: Array) -> Array:
        total: Array = np.sum(t, axis=-1, keepdims=True)
        return total * chosen.softmax_vjp(chosen.softmax(widened(z), -1), widened(v), -1)
