"""Means, deviations and ranges of columns, a piece of the data at a time."""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array


class Moments:
    """Count, mean, sum of squared deviations, smallest and largest of each column of all pieces so far.

    Two sets are merged without subtracting squares of means: Chan, Golub & LeVeque, Updating formulae and a pairwise algorithm
    for computing sample variances, Stanford STAN-CS-79-773 (1979).

    >>> import numpy as np
    >>> moments = Moments()
    >>> for piece in ([[1.0], [2.0]], [[6.0]]):
    ...     moments.add(np.array(piece))
    >>> moments.mean.tolist(), moments.variance.tolist(), moments.range.tolist()
    ([3.0], [4.666666666666667], [5.0])
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._squares = self._low = self._high = np.zeros(0)

    def add(self, x: Array) -> None:
        """Take in the rows of x (n, columns)."""
        if not len(x):
            return
        x = x.astype(np.float64, copy=False)
        mean, low, high = x.mean(axis=0), x.min(axis=0), x.max(axis=0)
        squares = len(x) * x.var(axis=0)
        if not self.count:
            self.count, self.mean, self._squares, self._low, self._high = len(x), mean, squares, low, high
            return
        total, apart = self.count + len(x), mean - self.mean
        self._squares = self._squares + squares + apart * apart * (self.count * len(x) / total)
        self.mean = self.mean + apart * (len(x) / total)
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self.count = total

    @property
    def variance(self) -> Array:
        """Mean squared deviation of each column."""
        variance: Array = self._squares / self.count
        return variance

    @property
    def range(self) -> Array:
        """Largest less smallest number of each column."""
        spread: Array = self._high - self._low
        return spread
