"""The examples that a classifier takes most confidently for another class: where to look first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backproof.arrays import Array
from backproof.kernels.chosen import softmax


class Mistakes:
    """The `most` mistakes with the highest probability for the wrong class, of examples that come in pieces.

    x (K, features), true (K,), taken (K,), confidence (K,): the examples, their labels, the classes that they were taken for and
    the probabilities of these; the most confident first. true_probability (K,): those of the true classes. order (K,): their
    numbers, from 0, among all examples that were looked at. count : all mistakes.

    >>> found = Mistakes(most=1)
    >>> found.add(np.array([[1.0], [2.0], [3.0]]), np.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]]), np.array([1, 1, 1]))
    >>> found.count, found.x.tolist(), found.taken.tolist(), found.confidence.round(3).tolist()
    (2, [[2.0]], [0], [0.993])
    """

    def __init__(self, most: int = 24) -> None:
        self.most, self.count, self._seen = most, 0, 0
        self._kept: Sequence[Array] = ()

    def add(self, x: Array, logits: Array, labels: Array) -> None:
        """Look at x (N, features) with logits (N, classes) and labels (N,); those whose logits are not finite are left out."""
        with np.errstate(all="ignore"):
            wrong = np.flatnonzero((logits.argmax(axis=1) != labels) & np.isfinite(logits).all(axis=1))
        self.count, before, self._seen = self.count + len(wrong), self._seen, self._seen + len(labels)
        if not len(wrong):
            return
        h = softmax(logits[wrong].astype(np.float64), 1)
        taken, rows = h.argmax(axis=1), np.arange(len(wrong))
        found = (labels[wrong], taken, h[rows, taken], h[rows, labels[wrong]], before + wrong)
        chosen = np.argsort(-found[2], kind="stable")[: self.most]  # the rest of x need not be copied
        new = [x[wrong[chosen]], *(part[chosen] for part in found)]
        kept = [np.concatenate(pair) for pair in zip(self._kept, new, strict=True)] if self._kept else new
        order = np.argsort(-kept[3], kind="stable")[: self.most]
        self._kept = [part[order] for part in kept]

    def __len__(self) -> int:
        return len(self._kept[1]) if self._kept else 0

    def _part(self, k: int) -> Array:
        return self._kept[k] if self._kept else np.zeros((0,) if k else (0, 0))

    @property
    def x(self) -> Array:
        return self._part(0)

    @property
    def true(self) -> Array:
        return self._part(1).astype(np.int64)

    @property
    def taken(self) -> Array:
        return self._part(2).astype(np.int64)

    @property
    def confidence(self) -> Array:
        return self._part(3)

    @property
    def true_probability(self) -> Array:
        return self._part(4)

    @property
    def order(self) -> Array:
        return self._part(5).astype(np.int64)
