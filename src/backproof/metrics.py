"""What is reported beside the loss: functions of what the loss receives (logits, or outputs) and the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from backproof.arrays import Array
from backproof.losses.base import Loss
from backproof.losses.softmax import CrossEntropy

Metric: TypeAlias = Callable[[Array, Array], float]


def accuracy(z: Array, t: Array) -> float:
    """Share of the rows whose largest logit is at the label (or at the most probable class of a distribution)."""
    if z.size == 0:
        return 0.0
    labels = np.argmax(t, axis=-1) if t.shape == z.shape else t
    return float(np.mean(np.argmax(z, axis=-1) == labels))


def label_accuracy(z: Array, t: Array) -> float:
    """Share of the labels on the right side of one half: z > 0 where t > 1/2."""
    return float(np.mean((z > 0) == (t.reshape(z.shape) > 0.5)))


def r2(y: Array, t: Array) -> float:
    """Coefficient of determination 1 - sum (t - y)^2 / sum (t - mean t)^2, averaged over the outputs."""
    y, t = y.reshape(len(y), -1).astype(np.float64), t.reshape(len(y), -1).astype(np.float64)
    total = np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    lost = np.sum((t - y) ** 2, axis=0)
    return float(np.mean(np.where(total > 0, 1 - lost / np.where(total > 0, total, 1.0), np.where(lost > 0, 0.0, 1.0))))


_BY_LINK: dict[str, dict[str, Metric]] = {
    "softmax": {"accuracy": accuracy},
    "sigmoid": {"accuracy": label_accuracy},
    "identity": {"r2": r2},
}


def default_metrics(loss: Loss) -> dict[str, Metric]:
    """What is usually watched with this loss; examples that it ignores do not count."""
    ignored = loss.ignore_index if isinstance(loss, CrossEntropy) else None
    if ignored is None:
        return _BY_LINK[loss.link]
    return {"accuracy": lambda z, t: accuracy(z[t != ignored], t[t != ignored])}
