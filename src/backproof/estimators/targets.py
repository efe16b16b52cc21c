"""What stands in y, for the network's loss and back: labels, several labels at once, probabilities, numbers.

A coding knows the classes and the number of outputs, which output layer makes its predictions of the logits, and turns y into what
the loss takes. It is made of the first y, and later ones must fit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from backproof._errors import ArgumentError, LabelError, ShapeError
from backproof.arrays import Array
from backproof.layers import Identity, Layer, Sigmoid, Softmax
from backproof.losses import CrossEntropy, Loss


@dataclass(frozen=True)
class Coding:
    """Classes and outputs; `encode(y)` is for `loss_targets`, `predict(z)` makes of logits what stands in y."""

    classes: Array
    kind: ClassVar[str] = ""
    output_layer: ClassVar[type[Layer]] = Softmax

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def encode(self, y: Any) -> Array:
        raise NotImplementedError

    def loss_targets(self, t: Array, loss: Loss) -> Array:
        """Encoded y as this loss takes it."""
        return t

    def predict(self, z: Array) -> Array:
        return np.asarray(self.classes[z.argmax(axis=1)])


class Labels(Coding):
    """One class an example, by its index in the sorted classes."""

    kind = "labels"

    def encode(self, y: Any) -> Array:
        y = column_or_1d(y, warn=True)
        index = np.searchsorted(self.classes, y) if _comparable(self.classes, y) else np.zeros(len(y), dtype=np.int64)
        index = np.minimum(index, len(self.classes) - 1)
        unseen = self.classes[index] != y
        if unseen.any():
            raise LabelError(f"y: expected the classes {_shown(self.classes)}, received {y[unseen].tolist()[0]!r} besides")
        return np.asarray(index, dtype=np.int64)

    def loss_targets(self, t: Array, loss: Loss) -> Array:
        return t if isinstance(loss, CrossEntropy) else np.eye(self.outputs)[t]


class Indicators(Coding):
    """Several labels an example: a matrix of zeros and ones, a column a label, each with a sigmoid of its own."""

    kind = "indicators"
    output_layer = Sigmoid

    def encode(self, y: Any) -> Array:
        t = np.asarray(y.toarray() if hasattr(y, "toarray") else y, dtype=np.float64)
        _require_columns(t, self.outputs)
        if not np.isin(t, (0.0, 1.0)).all():
            raise ArgumentError(f"y: expected zeros and ones, a column a label, received {t[~np.isin(t, (0.0, 1.0))][0]}")
        return t

    def predict(self, z: Array) -> Array:
        return (z > 0).astype(np.int64)


class Probabilities(Coding):
    """A distribution over the classes for each example: rows that are not negative and sum to 1."""

    kind = "probabilities"

    def encode(self, y: Any) -> Array:
        t = np.asarray(y, dtype=np.float64)
        _require_columns(t, self.outputs)
        if not ((t >= 0) & np.isfinite(t)).all():
            raise ArgumentError("y: expected probabilities that are finite and not negative, with targets='probabilities'")
        off = np.abs(t.sum(axis=1) - 1.0)
        if off.max(initial=0.0) > 1e-6 * max(1, self.outputs) ** 0.5:  # what single precision leaves of a sum
            worst = int(off.argmax())
            raise ArgumentError(
                f"y: expected rows that sum to 1 with targets='probabilities', received the sum {t[worst].sum():.6g} in row {worst}"
            )
        return t


class Values(Coding):
    """Numbers: one an example, or a row of several."""

    kind = "values"
    output_layer = Identity

    def encode(self, y: Any) -> Array:
        t = np.asarray(y, dtype=np.float64)
        _require_columns(t.reshape(len(t), -1), self.outputs)
        return t.reshape(len(t), -1)


def coding_of(y: Any, targets: str, classes: Any = None, names: Any = None) -> Coding:
    """The coding of a classifier's first y; `classes`, if given, names those that y may lack; `names` are those of its columns."""
    if targets == "probabilities":
        columns = np.shape(y)[1] if len(np.shape(y)) == 2 else 0
        if columns < 1:
            raise ShapeError(f"y: expected shape (N, classes) with targets='probabilities', received {np.shape(y)}")
        given = np.asarray(classes if classes is not None else np.arange(columns) if names is None else list(names))
        return Probabilities(_as_many(given, columns))
    if type_of_target(y, input_name="y") == "multilabel-indicator":
        return Indicators(_as_many(np.arange(y.shape[1]) if classes is None else np.asarray(classes), y.shape[1]))
    if classes is not None:
        return Labels(np.unique(np.asarray(classes)))
    if np.ndim(y) == 2 and np.shape(y)[1] > 1:
        raise ShapeError(
            "y: expected labels of shape (N,), zeros and ones of shape (N, labels), or probabilities with targets='probabilities', "
            f"received shape {np.shape(y)}"
        )
    flat = column_or_1d(y, warn=True)
    check_classification_targets(flat)
    return Labels(np.unique(flat))


def _as_many(classes: Array, columns: int) -> Array:
    if classes.shape != (columns,):
        raise ArgumentError(f"classes: expected {columns}, one for each column of y, received {len(classes)}")
    return classes


def _require_columns(t: Array, columns: int) -> None:
    if t.ndim != 2 or t.shape[1] != columns:
        raise ShapeError(f"y: expected shape (N, {columns}), received {t.shape}")


def _comparable(classes: Array, y: Array) -> bool:
    """Whether the two are both numbers or both text, so that they can be put in one order."""
    return (classes.dtype.kind in "biuf") == (y.dtype.kind in "biuf")


def _shown(classes: Array) -> str:
    return str(classes.tolist()) if len(classes) <= 10 else f"{classes[:10].tolist()} and {len(classes) - 10} more"
