"""Rows of a few numbers into panels and back, half a panel's width of them at a time, in registers.

A row is read and written as a vector of which only its own numbers are touched: with vectors of 512 bits as fast as a whole one.
Of softmax's time with ten classes 40 % went into numbers copied one by one, which a compiler makes gathers of.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from backproof.kernels.compiled import element, intrinsic
from backproof.kernels.cpu.lanes import lanes_before, masked_load, masked_store
from backproof.kernels.rows import Row, exchanged, panel_width, vector_bytes

IN_REGISTERS = vector_bytes() == 64


def _block(builder: Any, array: Any, n: Any) -> tuple[Any, int, list[Any], Any]:
    """A vector, the bytes of a number, the numbers of the lanes, and the first n lanes."""
    size = array.dtype.bitwidth // 8
    vector = Row(array.dtype, panel_width(size) // 2).vector
    return vector, size, [ir.Constant(n.type, i) for i in range(vector.count)], lanes_before(builder, n, range(vector.count))


def _place(builder: Any, array: Any, start: Any, step: Any, r: Any, vector: Any) -> Any:
    at = builder.add(start, builder.mul(step, r))
    return builder.bitcast(element(builder, array, at), vector.as_pointer())


@intrinsic
def fill_block(typingctx: Any, x: Any, x0: Any, step: Any, panel: Any, p0: Any, width: Any, n: Any) -> Any:
    """panel[c, lane] = x[lane, c] for c < n, fewer than there are lanes; rows of x begin `step` after each other."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x0, step, panel, p0, width, n = args
        vector, size, numbers, first = _block(builder, sig.args[0], n)
        rows = [masked_load(builder, _place(builder, x, x0, step, r, vector), first, vector) for r in numbers]
        for c, row in zip(numbers[:-1], exchanged(builder, rows), strict=False):
            with builder.if_then(builder.icmp_signed("<", c, n), likely=True):
                builder.store(row, _place(builder, panel, p0, width, c, vector), align=size)
        return context.get_dummy_value()

    i = types.int64
    return types.void(x, i, i, panel, i, i, i), codegen


@intrinsic
def pour_block(typingctx: Any, panel: Any, p0: Any, width: Any, out: Any, o0: Any, step: Any, n: Any) -> Any:
    """out[lane, c] = panel[c, lane] for c < n: the way back."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        panel, p0, width, out, o0, step, n = args
        vector, size, numbers, first = _block(builder, sig.args[0], n)
        last, rows = builder.sub(n, ir.Constant(n.type, 1)), []
        for c in numbers:  # beyond the last row comes the last one again, to lanes that are not touched
            here = builder.select(builder.icmp_signed("<", c, last), c, last)
            rows.append(builder.load(_place(builder, panel, p0, width, here, vector), align=size))
        for r, row in zip(numbers, exchanged(builder, rows), strict=True):
            masked_store(builder, row, _place(builder, out, o0, step, r, vector), first)
        return context.get_dummy_value()

    i = types.int64
    return types.void(panel, i, i, out, i, i, i), codegen
