"""The sum of a few numbers, rounded once, as `math.fsum` has it: the same bits.

What rounding takes from the sum of n numbers is itself summed, with an error of n^2 2^-106 of their magnitudes: nearly always that
tells how the sum is rounded. Where it does not, the sum so far is kept without rounding in parts that do not overlap, from the
smallest on, and each number goes through all of them.
Sources: Knuth 1969 (TwoSum); Ogita, Rump & Oishi, SIAM J. Sci. Comput. 26, 2005 (the error); Shewchuk, Discrete & Computational
Geometry 18, 1997; CPython's mathmodule.c (the last digit of a near tie).
"""

from __future__ import annotations

from typing import Any

from backproof.kernels.compiled import compiled, get, put

SQUARE = 2.0**-106
PARTS = 64  # more than doubles have places for


@compiled()
def nearest_sum(x: Any, n: int, parts: Any) -> float:
    """Of n doubles; not finite where one of them is not, or a sum of some of them. `parts`: room for PARTS."""
    whole, taken, size = 0.0, 0.0, 0.0
    for i in range(n):
        value = get(x, i)
        new = whole + value
        back = new - whole
        taken += (whole - (new - back)) + (value - back)
        whole = new
        size += abs(value)
    result, error = whole + taken, (2.0 * n * n) * (SQUARE * size)
    rest = taken - (result - whole)
    if result - result == 0.0 and result + (rest - error) == result + (rest + error):
        return result
    many = 0
    for i in range(n):
        value = get(x, i)
        if value - value != 0.0:
            return value
        kept = 0
        for j in range(many):
            part = get(parts, j)
            large, small = (value, part) if abs(value) >= abs(part) else (part, value)
            value = large + small
            rest = small - (value - large)
            if rest != 0.0:
                put(parts, kept, rest)
                kept += 1
        if value - value != 0.0:
            return value
        put(parts, kept, value)
        many = kept + 1
    if many == 0:
        return 0.0
    many -= 1
    result, rest = get(parts, many), 0.0
    while many > 0 and rest == 0.0:
        many -= 1
        before, part = result, get(parts, many)
        result = before + part
        rest = part - (result - before)
    if many > 0 and (rest < 0.0) == (get(parts, many - 1) < 0.0):  # what follows decides a tie
        twice = rest * 2.0
        moved = result + twice
        if moved - result == twice:
            result = moved
    return result
