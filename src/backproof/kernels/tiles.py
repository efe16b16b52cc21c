"""The inner product of all inner products: a tile of a few rows of c, held in registers while the sum runs.

    c[r] (+)= sum over k of a[r, k] b[k]        r < rows,  b[k] and c[r] one panel row each

Each step k loads a row of b (two vectors), and for each row of c broadcasts one number of a and makes two fused multiply-adds.
Six rows keep 12 vectors in flight, which covers the latency of the multiply-adds and fits 16 registers with the operands; of 32
registers twelve rows take 24, and read b half as often (Goto & van de Geijn, ACM TOMS 34, 2008). What is in c is added last, so
that a long sum in several stretches has the error of short ones.

a[r, k] lies at a0 + r a_row + (k // inner) a_outer + (k % inner) a_inner; b[k] at b0 + k widths. What will be read next is asked
for meanwhile: at step k what lies at ahead[ahead0 + k ahead_step], which may be anywhere.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, element, intrinsic
from backproof.kernels.cpu.lanes import prefetch
from backproof.kernels.rows import FLAGS, row_of, spread, vector_bytes

TILE = 12 if vector_bytes() == 64 else 6  # rows of the largest tile
HALF, LEAST = 6, 4


@intrinsic
def _tile(
    typingctx: Any, size: Any, a: Any, a0: Any, a_row: Any, a_outer: Any, a_inner: Any, b: Any, b0: Any, outer: Any, inner: Any,
    c: Any, c0: Any, c_row: Any, accumulate: Any, ahead: Any, ahead0: Any, ahead_step: Any, rows: Any,
) -> Any:  # fmt: skip
    """`size` rows of c. Of fewer rows the last is done more than once, with the same result in the same place."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    i, row = types.int64, row_of(c)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate, ahead, ahead0, ahead_step, rows = args
        vector, integer = row.vector, ir.IntType(64)
        lanes, zero = ir.Constant(integer, row.lanes), ir.Constant(vector, [0.0] * row.lanes)

        def at(array: Any, index: Any) -> Any:
            return builder.bitcast(element(builder, array, index), vector.as_pointer())

        alignment = row.dtype.bitwidth // 8
        last = builder.sub(rows, ir.Constant(integer, 1))
        numbers = [ir.Constant(integer, r) for r in range(size.literal_value)]
        numbers = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in numbers]
        places = [at(c, builder.add(c0, builder.mul(r, c_row))) for r in numbers]
        steps = [builder.mul(r, a_row) for r in numbers]
        sums = [cgutils.alloca_once(builder, vector) for _ in numbers]
        for total in sums:
            builder.store(zero, total)
        with cgutils.for_range(builder, outer) as turn:
            done = builder.mul(turn.index, inner)
            a_turn = builder.add(a0, builder.mul(turn.index, a_outer))
            with cgutils.for_range(builder, inner) as step:
                k = builder.add(done, step.index)
                prefetch(builder, element(builder, ahead, builder.add(ahead0, builder.mul(k, ahead_step))), nearness=2)
                x = builder.load(at(b, builder.add(b0, builder.mul(k, lanes))), align=alignment)
                a_k = builder.add(a_turn, builder.mul(step.index, a_inner))
                for away, total in zip(steps, sums, strict=True):
                    factor = spread(builder, builder.load(element(builder, a, builder.add(a_k, away))), vector)
                    product = builder.fmul(x, factor, flags=FLAGS)
                    builder.store(builder.fadd(builder.load(total), product, flags=FLAGS), total)
        with builder.if_then(accumulate):
            for place, total in zip(places, sums, strict=True):
                before = builder.load(place, align=alignment)
                builder.store(builder.fadd(before, builder.load(total), flags=FLAGS), total)
        for place, total in zip(places, sums, strict=True):
            builder.store(builder.load(total), place, align=alignment)
        return context.get_dummy_value()

    return types.void(size, a, i, i, i, i, b, i, i, i, c, i, i, types.boolean, ahead, i, i, i), codegen


@compiled()
def rows_times_panel(
    a: Array, a0: int, a_group: int, a_row: int, a_outer: int, a_inner: int, b: Array, b0: int, outer: int, inner: int,
    c: Array, c0: int, c_row: int, rows: int, accumulate: bool, ahead: Array, ahead0: int, ahead_step: int,
) -> None:  # fmt: skip
    """c = a b (or c += a b) for any number of rows; consecutive groups of TILE rows of a are `a_group` apart."""
    while rows >= TILE:
        _tile(
            TILE, a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate, ahead, ahead0, ahead_step, TILE
        )  # fmt: skip
        rows -= TILE
        a0 += a_group
        c0 += TILE * c_row
        ahead0 += outer * inner * ahead_step
    if rows >= HALF and 1 <= rows % LEAST <= 2:  # or one tile of the least would be for a row or two
        _tile(
            HALF, a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate, ahead, ahead0, ahead_step, HALF
        )  # fmt: skip
        rows -= HALF
        a0 += HALF * a_row
        c0 += HALF * c_row
    while rows > 0:
        _tile(
            LEAST, a, a0, a_row, a_outer, a_inner, b, b0, outer, inner, c, c0, c_row, accumulate, ahead, ahead0, ahead_step, rows
        )  # fmt: skip
        rows -= LEAST
        a0 += LEAST * a_row
        c0 += LEAST * c_row
