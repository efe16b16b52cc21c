"""What is reported beside the loss: functions of what the loss receives (logits, or outputs) and the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.kernels.chosen import softmax
from backproof.layers.base import require_count
from backproof.losses.base import Loss
from backproof.losses.softmax import CrossEntropy

Metric: TypeAlias = Callable[[Array, Array], float]


def accuracy(z: Array, t: Array) -> float:
    """Share of the rows of logits z (N, ..., classes) whose largest entry is at the label in t (N, ...), or at the most probable
    class of a distribution in t (N, ..., classes). Of no rows: 0. Source: Bishop, PRML (2006), section 1.5.1.

    >>> import numpy as np
    >>> accuracy(np.array([[3.0, 2.0], [1.0, 2.0], [0.0, 1.0]]), np.array([0, 0, 1]))
    0.6666666666666666
    """
    if z.size == 0:
        return 0.0
    labels = np.argmax(t, axis=-1) if t.shape == z.shape else t
    return float(np.mean(np.argmax(z, axis=-1) == labels))


def top_k_accuracy(k: int) -> Metric:
    """The metric: share of the rows in which less than k other classes have a logit as large as the label's.

    It takes logits (N, ..., classes) and labels (N, ...) or distributions. Raises `ArgumentError` for a k that is no whole number
    above 0. Source: Russakovsky et al., IJCV 115 (2015), section 4.1.

    >>> import numpy as np
    >>> z = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    >>> top_k_accuracy(2)(z, np.array([1, 0])), top_k_accuracy(3)(z, np.array([1, 0]))
    (0.5, 1.0)
    """
    require_count("top_k_accuracy", "k", k)

    def metric(z: Array, t: Array) -> float:
        if z.size == 0:
            return 0.0
        labels = np.argmax(t, axis=-1) if t.shape == z.shape else t
        others = np.count_nonzero(z >= np.take_along_axis(z, labels[..., None], axis=-1), axis=-1) - 1
        return float(np.mean(others < k))

    return metric


def log_loss(z: Array, t: Array) -> float:
    """Mean cross-entropy of softmax(z) and labels or distributions, in nats: without smoothing, weights or penalty.

    z (N, ..., classes), t (N, ...) or like z. Of no rows: 0. Source: Good, Rational decisions, JRSS B 14 (1952); Bishop 1995,
    section 6.9.

    >>> import numpy as np
    >>> round(log_loss(np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0])), 4)      # (-ln(3/4) - ln(1/2)) / 2
    0.4904
    """
    return CrossEntropy().reduced(z, t)[0] if z.size else 0.0


def f1(average: str) -> Metric:
    """The metric: harmonic mean of precision and recall, "macro" (mean over the classes) or "micro" (over all examples).

    It takes logits (N, classes) and labels (N,) or distributions. "weighted" is the mean over the classes by their numbers of
    examples. Computed by scikit-learn; a class that is neither there nor predicted counts 0 in the mean only if its label is among
    the data. Raises `ArgumentError` for another average. Source: van Rijsbergen, Information Retrieval (1979), chapter 7.

    >>> import numpy as np
    >>> z = np.array([[3.0, 2.0], [1.0, 2.0], [0.0, 1.0]])
    >>> round(f1("macro")(z, np.array([0, 0, 1])), 4)
    0.6667
    """
    if average not in ("macro", "micro", "weighted"):
        raise ArgumentError(f"f1: expected average to be 'macro', 'micro' or 'weighted', received {average!r}")

    def metric(z: Array, t: Array) -> float:
        from sklearn.metrics import f1_score

        labels = np.argmax(t, axis=-1) if t.shape == z.shape else t
        return float(f1_score(labels, np.argmax(z, axis=-1), average=average, zero_division=0.0))

    return metric


def roc_auc(z: Array, t: Array) -> float:
    """Area under the ROC curve: of the second class if there are two, else the mean over the classes, one against the rest.

    z (N, classes) are logits, t (N,) labels or like z. nan where a class has no example or is all there is. Computed by
    scikit-learn. Source: Hanley & McNeil, Radiology 143, 1982.

    >>> import numpy as np
    >>> roc_auc(np.array([[0.0, 0.1], [0.0, 0.4], [0.0, 0.3], [0.0, 0.8]]), np.array([0, 0, 1, 1]))
    0.75
    """
    from sklearn.metrics import roc_auc_score

    labels = np.argmax(t, axis=-1) if t.shape == z.shape else t
    if len(np.unique(labels)) < z.shape[1] or z.shape[1] < 2:
        return math.nan
    if z.shape[1] == 2:
        return float(roc_auc_score(labels, z[:, 1].astype(np.float64) - z[:, 0]))  # the order of h_1 without its roundings
    return float(roc_auc_score(labels, softmax(z.astype(np.float64), 1), multi_class="ovr"))


def label_accuracy(z: Array, t: Array) -> float:
    """Share of the labels on the right side of one half: z > 0 where t > 1/2. z (N, labels) or (N,), t of as many entries.

    >>> import numpy as np
    >>> label_accuracy(np.array([[1.0, -1.0], [2.0, 3.0]]), np.array([[1, 0], [0, 1]]))
    0.75
    """
    return float(np.mean((z > 0) == (t.reshape(z.shape) > 0.5)))


def r2(y: Array, t: Array) -> float:
    """Coefficient of determination 1 - sum (t - y)^2 / sum (t - mean t)^2, averaged over the outputs: y and t (N, ...) alike.

    Of a constant t it is 1 if y is right, else 0. Source: Draper & Smith, Applied Regression Analysis (1998), section 1.3.

    >>> import numpy as np
    >>> r2(np.array([[1.0], [2.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]))
    0.5
    """
    y, t = y.reshape(len(y), -1).astype(np.float64), t.reshape(len(y), -1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # of a training that diverges, which says so itself
        total = np.sum((t - t.mean(axis=0)) ** 2, axis=0)
        lost = np.sum((t - y) ** 2, axis=0)
        return float(np.mean(np.where(total > 0, 1 - lost / np.where(total > 0, total, 1.0), np.where(lost > 0, 0.0, 1.0))))


_BY_LINK: dict[str, dict[str, Metric]] = {
    "softmax": {"accuracy": accuracy},
    "sigmoid": {"accuracy": label_accuracy},
    "identity": {"r2": r2},
}


def default_metrics(loss: Loss) -> dict[str, Metric]:
    """What is usually watched with this loss, as {name: function of (outputs, targets)}; examples that it ignores do not count.

    >>> from backproof import CrossEntropy, SquaredError
    >>> list(default_metrics(CrossEntropy())), list(default_metrics(SquaredError()))
    (['accuracy'], ['r2'])
    """
    ignored = loss.ignore_index if isinstance(loss, CrossEntropy) else None
    if ignored is None:
        return _BY_LINK[loss.link]
    return {"accuracy": lambda z, t: accuracy(z[t != ignored], t[t != ignored])}
