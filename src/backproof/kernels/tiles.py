"""The inner product of all inner products: a tile of a few rows of c, held in registers while the sum runs.

    c[r] (+)= sum over k of a[r, k] b[k]        r < rows,  b[k] and c[r] one panel row each

Each step k loads a row of b (two vectors), and for each row of c broadcasts one number of a and makes two fused multiply-adds. Six
rows keep 12 vectors in flight, which covers the latency of the multiply-adds and fits 16 registers with the operands (Goto & van de
Geijn, ACM TOMS 34, 2008). a[r, k] lies at a0 + r a_row + (k // inner) a_outer + (k % inner) a_inner; b[k] at b0 + k widths.
"""

from __future__ import annotations

from backproof.arrays import Array
from backproof.kernels.compiled import compiled
from backproof.kernels.rows import add_product, load, splat, store, width_of

TILE = 6  # rows of the largest tile


@compiled()
def _tile6(
    a: Array, a0: int, a_row: int, a_outer: int, a_inner: int, b: Array, b0: int, outer: int, inner: int,
    c: Array, c0: int, c_row: int, accumulate: bool,
) -> None:  # fmt: skip
    s0 = s1 = s2 = s3 = s4 = s5 = splat(c, 0.0)
    if accumulate:
        s0, s1, s2 = load(c, c0), load(c, c0 + c_row), load(c, c0 + 2 * c_row)
        s3, s4, s5 = load(c, c0 + 3 * c_row), load(c, c0 + 4 * c_row), load(c, c0 + 5 * c_row)
    for turn in range(outer):
        at, bt = a0 + turn * a_outer, b0 + turn * inner * width_of(c)
        for _ in range(inner):
            x = load(b, bt)
            s0 = add_product(s0, x, a, at)
            s1 = add_product(s1, x, a, at + a_row)
            s2 = add_product(s2, x, a, at + 2 * a_row)
            s3 = add_product(s3, x, a, at + 3 * a_row)
            s4 = add_product(s4, x, a, at + 4 * a_row)
            s5 = add_product(s5, x, a, at + 5 * a_row)
            at += a_inner
            bt += width_of(c)
    store(c, c0, s0)
    store(c, c0 + c_row, s1)
    store(c, c0 + 2 * c_row, s2)
    store(c, c0 + 3 * c_row, s3)
    store(c, c0 + 4 * c_row, s4)
    store(c, c0 + 5 * c_row, s5)


@compiled()
def _tile4(
    a: Array, a0: int, a_row: int, a_outer: int, a_inner: int, b: Array, b0: int, outer: int, inner: int,
    c: Array, c0: int, c_row: int, accumulate: bool, rows: int,
) -> None:  # fmt: skip
    """Of fewer than four rows the last is done more than once, with the same result in the same place."""
    r1, r2, r3 = min(1, rows - 1), min(2, rows - 1), min(3, rows - 1)
    c1, c2, c3, a1, a2, a3 = c0 + r1 * c_row, c0 + r2 * c_row, c0 + r3 * c_row, r1 * a_row, r2 * a_row, r3 * a_row
    s0 = s1 = s2 = s3 = splat(c, 0.0)
    if accumulate:
        s0, s1, s2, s3 = load(c, c0), load(c, c1), load(c, c2), load(c, c3)
    for turn in range(outer):
        at, bt = a0 + turn * a_outer, b0 + turn * inner * width_of(c)
        for _ in range(inner):
            x = load(b, bt)
            s0 = add_product(s0, x, a, at)
            s1 = add_product(s1, x, a, at + a1)
            s2 = add_product(s2, x, a, at + a2)
            s3 = add_product(s3, x, a, at + a3)
            at += a_inner
            bt += width_of(c)
    store(c, c0, s0)
    store(c, c1, s1)
    store(c, c2, s2)
    store(c, c3, s3)


@compiled()
def rows_times_panel(
    a: Array, a0: int, a_group: int, a_row: int, a_outer: int, a_inner: int, b: Array, b0: int, outer: int, inner: int,
    c: Array, c0: int, c_row: int, rows: int, accumulate: bool,
) -> None:  # fmt: skip
    """c = a b (or c += a b) for any number of rows; consecutive groups of TILE rows of a are `a_group` apart."""
    while rows >= TILE:
        _tile6(a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate)
        rows -= TILE
        a0 += a_group
        c0 += TILE * c_row
    while rows > 0:
        _tile4(a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate, rows)
        rows -= 4
        a0 += 4 * a_row
        c0 += 4 * c_row
