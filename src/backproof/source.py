"""What `train` takes in place of arrays that are too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from backproof.arrays import Array


@runtime_checkable
class Source(Protocol):
    """Examples that `train` takes a batch at a time, without ever holding them all.

    >>> import numpy as np
    >>> from backproof import CrossEntropy, Linear, Network, train
    >>> class Drawn:                                    # a thousand examples, made when they are needed
    ...     def __len__(self):
    ...         return 1000
    ...     def batches(self, size, rng=None):
    ...         rng = rng or np.random.default_rng(0)
    ...         for start in range(0, 1000, size):
    ...             x = rng.normal(size=(min(size, 1000 - start), 2))
    ...             yield x, (x[:, 0] > x[:, 1]).astype(int)
    >>> isinstance(Drawn(), Source)
    True
    >>> first, *_, last = train(Network([Linear(2)], CrossEntropy()), Drawn(), epochs=10, seed=0)
    >>> last.train_loss < first.train_loss
    True
    """

    def __len__(self) -> int:
        """How many examples one pass gives."""

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """One pass as (x, t) of `size` examples, the last of fewer: in an order drawn from `rng`, or, without it, as they lie."""
