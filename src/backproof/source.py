"""What `train` takes in place of arrays that are too large."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from backproof.arrays import Array


@runtime_checkable
class Source(Protocol):
    """Examples that `train` takes a batch at a time, without ever holding them all."""

    def __len__(self) -> int:
        """How many examples one pass gives."""

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """One pass as (x, t) of `size` examples, the last of fewer: in an order drawn from `rng`, or, without it, as they lie."""
