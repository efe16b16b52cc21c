"""Whether probabilities mean what they say, and the one number that mends most of it: calibration of softmax classifiers.

Source: Guo, Pleiss, Sun & Weinberger, On calibration of modern neural networks, ICML 2017.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from backproof._errors import ArgumentError, LabelError, ShapeError
from backproof.arrays import Array, as_floats, require_finite, to_numpy
from backproof.functional import cross_entropy
from backproof.kernels.chosen import softmax
from backproof.layers.base import require_count

COLDEST, HOTTEST = 2.0**-10, 2.0**10  # temperatures between which is looked


class Reliability(NamedTuple):
    """Examples by the probability of the class that they were taken for; arrays have one entry a bin, nan in empty ones.

    edges : (bins + 1,), from 0 to 1. confidence : mean of those probabilities. accuracy : share of right ones. examples : how many.
    Source: Guo et al., ICML 2017, section 2.

    >>> import numpy as np
    >>> found = Reliability(np.array([0, 0.5, 1]), np.array([np.nan, 0.8]), np.array([np.nan, 0.75]), np.array([0, 4]))
    >>> round(found.expected_error, 3), round(found.largest_error, 3)
    (0.05, 0.05)
    """

    edges: Array
    confidence: Array
    accuracy: Array
    examples: Array

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean over the examples of |accuracy - confidence| of their bin (equation 3)."""
        filled = self.examples > 0
        gap = np.abs(self.accuracy - self.confidence)[filled]
        return float(gap @ self.examples[filled] / self.examples.sum())

    @property
    def largest_error(self) -> float:
        """Maximum calibration error: the largest |accuracy - confidence| of a bin (equation 5)."""
        return float(np.nanmax(np.abs(self.accuracy - self.confidence)))


def reliability(logits: object, labels: object, *, bins: int = 15) -> Reliability:
    """The reliability diagram of logits (N, classes) and labels (N,): `bins` of equal width, each without its left edge.

    Source: DeGroot & Fienberg, The Statistician 32 (1983); Guo et al., ICML 2017, section 2.

    Raises `ShapeError`, `LabelError` for a label outside the classes, `ArgumentError` for no examples or logits not finite.

    >>> import numpy as np
    >>> z = np.log([[0.7, 0.3], [0.7, 0.3], [0.9, 0.1], [0.1, 0.9]])
    >>> found = reliability(z, [0, 1, 0, 1], bins=2)
    >>> found.accuracy.tolist(), found.confidence.round(2).tolist(), round(found.expected_error, 3)
    ([nan, 0.75], [nan, 0.8], 0.05)
    """
    z, t = _checked(logits, labels, "reliability")
    require_count("reliability", "bins", bins)
    h = softmax(z, 1)
    top, right = h.max(axis=1), h.argmax(axis=1) == t
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, top, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(place, top, minlength=bins) / count
        share = np.bincount(place, right, minlength=bins) / count
    return Reliability(edges, confidence, share, count)


def joined(one: Reliability, two: Reliability) -> Reliability:
    """The diagram of the examples of both, which have the same bins: for data that come in pieces."""
    if len(one.edges) != len(two.edges):
        raise ArgumentError(f"joined: expected diagrams of as many bins, received {len(one.edges) - 1} and {len(two.edges) - 1}")
    examples = one.examples + two.examples
    with np.errstate(invalid="ignore"):
        means = [
            (np.nan_to_num(a) * one.examples + np.nan_to_num(b) * two.examples) / examples
            for a, b in ((one.confidence, two.confidence), (one.accuracy, two.accuracy))
        ]
    return Reliability(one.edges, means[0], means[1], examples)


def expected_calibration_error(logits: object, labels: object, *, bins: int = 15) -> float:
    """`reliability(...).expected_error`: by how much, on average, the confidence differs from the accuracy; 0 is best.

    Logits (N, classes), labels (N,). Raises what `reliability` raises. Source: Naeini, Cooper & Hauskrecht, AAAI 2015.

    >>> import numpy as np
    >>> z = np.log([[0.7, 0.3], [0.7, 0.3], [0.9, 0.1], [0.1, 0.9]])
    >>> round(expected_calibration_error(z, [0, 1, 0, 1], bins=2), 3)
    0.05
    """
    return reliability(logits, labels, bins=bins).expected_error


def fit_temperature(logits: object, labels: object) -> float:
    """The T > 0 with the least cross-entropy of softmax(logits / T) and the labels: T > 1 for overconfident classifiers.

    Logits (N, classes) and labels (N,) of examples that were *not* trained on (Guo et al., ICML 2017,
    section 4.2). The loss is convex in 1 / T; where it
    falls for ever (every example right: T towards 0; no better than chance: towards infinity), the end of the range
    [2^-10, 2^10] is returned. The accuracy does not change. Raises what `reliability` raises.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(20000, 5))
    >>> t = (z + rng.gumbel(size=z.shape)).argmax(axis=1)       # labels drawn from softmax(z)
    >>> abs(fit_temperature(3 * z, t) - 3) < 0.1
    True
    """
    from scipy.optimize import minimize_scalar

    z, t = _checked(logits, labels, "fit_temperature")
    found = minimize_scalar(
        lambda log_t: float(cross_entropy(z, t, temperature=math.exp(log_t))),
        bounds=(math.log(COLDEST), math.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(math.exp(found.x))


def _checked(logits: object, labels: object, owner: str) -> tuple[Array, Array]:
    z, t = as_floats(logits, f"{owner}: logits", np.float64), to_numpy(labels, f"{owner}: labels")
    if z.ndim != 2 or t.shape != z.shape[:1]:
        raise ShapeError(f"{owner}: expected logits (N, classes) and labels (N,), received {z.shape} and {t.shape}")
    if len(z) == 0:
        raise ArgumentError(f"{owner}: expected at least one example, received none")
    require_finite(z, f"{owner}: logits")
    if t.dtype.kind not in "iu" or t.min() < 0 or t.max() >= z.shape[1]:
        raise LabelError(
            f"{owner}: expected whole-number labels from 0 to {z.shape[1] - 1}, received {t.dtype} from {t.min()} to {t.max()}"
        )
    return z, t
