"""Dropout of the compiled step, on one panel: the layer's own draws, so that both ways of training drop the same numbers.

    y <- y m / (1 - rate)      f'(z) <- f'(z) m / (1 - rate)      m = 1 where the number drawn is at least the rate, else 0

With the factor in the slopes as well, backward is the multiplication that it is without dropout. The numbers come as the layers
draw them: one layer after the other, each (examples, features) by rows, in single precision.
"""

from __future__ import annotations

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, rounded
from backproof.kernels.panels import to_panel
from backproof.kernels.rows import load, splat, store, where_greater, width_of


@compiled()
def drop(rate: float, draws: Array, start: int, examples: int, features: int, p: int, u0: int, y: Array, y0: int, s0: int) -> None:
    """Panel p, its values at y0, slopes at s0; draws[start:] by rows, which go to u0 as a panel. Missing examples are dropped."""
    to_panel(draws, start, features, examples, features, p, y, u0)
    width = width_of(y)
    limit, zero, scale = splat(y, rounded(y, rate)), splat(y, 0.0), splat(y, rounded(y, 1.0 / (1.0 - rate)))
    for j in range(0, features * width, width):
        factor = where_greater(limit, load(y, u0 + j), zero, scale)
        store(y, y0 + j, load(y, y0 + j) * factor)
        store(y, s0 + j, load(y, s0 + j) * factor)
