"""The L2 penalty of the compiled step, l2/2 sum of squared weights, and its gradient l2 W."""

from __future__ import annotations

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, put, rounded
from backproof.kernels.rows import load, splat_wide, total, wide, width_of


@compiled()
def sum_of_squares(p: Array, p0: int, count: int) -> float:
    """The sum of p[p0 + i]^2, i < count, in double precision."""
    width = width_of(p)
    lanes = splat_wide(p, 0.0)
    whole = count // width * width
    for j in range(p0, p0 + whole, width):
        row = wide(load(p, j))
        lanes += row * row
    result: float = total(lanes)
    for j in range(p0 + whole, p0 + count):
        result += float(get(p, j)) * float(get(p, j))
    return result


@compiled()
def add_multiple(g: Array, g0: int, l2: float, p: Array, p0: int, count: int) -> None:
    """g[g0 + i] += l2 p[p0 + i]."""
    factor = rounded(p, l2)
    for i in range(count):
        put(g, g0 + i, get(g, g0 + i) + factor * get(p, p0 + i))
