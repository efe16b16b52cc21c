"""Dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array, as_floats
from backproof.layers.base import FixedMap, Kept, Params, diagonal_jacobian, require_number


@dataclass(frozen=True, repr=False, eq=False)
class Dropout(FixedMap):
    """While training, y = x * m / (1 - rate) with m_i = 0 with probability `rate`, else 1; otherwise y = x.

    dx = dy * m / (1 - rate): the same mask on the way back, from `kept`. Source: Srivastava et al., JMLR 15 (2014); the division
    while training ("inverted" dropout) keeps the expected output equal in both modes.
    Raises `ArgumentError` for a rate outside [0, 1), and for training without `rng`.

    >>> import numpy as np
    >>> layer = Dropout(0.5)
    >>> y, mask = layer.forward({}, np.ones((1, 4)), train=True, rng=np.random.default_rng(1))
    >>> bool((layer.backward({}, mask, np.ones((1, 4)))[0] == y).all())
    True
    """

    rate: float
    produces: ClassVar[str] = "same"

    def __post_init__(self) -> None:
        require_number("Dropout", "rate", self.rate, low=0.0, high=1.0)

    @property
    def is_random(self) -> bool:
        return self.rate > 0

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        x = as_floats(x, "x")
        if not train or self.rate == 0:
            return x.copy(), None
        if rng is None:
            raise ArgumentError("Dropout: expected rng, a numpy.random.Generator, with train=True; received None")
        draws = rng.random(x.shape, dtype=np.float32)  # one precision for all: the mask does not depend on x's dtype
        mask = (draws >= self.rate) * x.dtype.type(1 / (1 - self.rate))
        return x * mask, mask

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        return (dy.copy() if kept is None else dy * kept), {}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self.backward(params, kept, tx)[0]

    def jacobian(self, params: Params, x: Array) -> Array:
        """The identity of each example: outside training, dropout does nothing."""
        return diagonal_jacobian(np.ones_like(as_floats(x, "x")))
