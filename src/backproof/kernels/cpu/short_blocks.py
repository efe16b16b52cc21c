"""Rows of a few numbers into panels and back, half a panel's width of them at a time, in registers.

A row is read and written as a vector of which only its own numbers are touched: with vectors of 512 bits as fast as a whole one.
Of softmax's time with ten classes 40 % went into numbers copied one by one, which a compiler makes gathers of.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import element, intrinsic
from backproof.kernels.rows import exchanged, panel_width, spread, vector_bytes

IN_REGISTERS = vector_bytes() == 64


def _block(array: Any) -> tuple[int, Any, Any, int]:
    """Lanes, vector, mask and bytes of a number."""
    size = array.dtype.bitwidth // 8
    lanes = panel_width(size) // 2
    number = ir.FloatType() if size == 4 else ir.DoubleType()
    return lanes, ir.VectorType(number, lanes), ir.VectorType(ir.IntType(1), lanes), size


def _first(builder: Any, n: Any, mask: Any) -> Any:
    """The first n lanes."""
    whole = ir.VectorType(ir.IntType(32), mask.count)
    count = spread(builder, builder.trunc(n, ir.IntType(32)), whole)
    return builder.icmp_signed("<", ir.Constant(whole, list(range(mask.count))), count)


def _place(builder: Any, array: Any, start: Any, step: Any, r: int, vector: Any) -> Any:
    at = builder.add(start, builder.mul(step, ir.Constant(ir.IntType(64), r)))
    return builder.bitcast(element(builder, array, at), vector.as_pointer())


@intrinsic
def fill_block(typingctx: Any, x: Any, x0: Any, step: Any, panel: Any, p0: Any, width: Any, n: Any) -> Any:
    """panel[c, lane] = x[lane, c] for c < n, fewer than there are lanes; rows of x begin `step` after each other."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        x, x0, step, panel, p0, width, n = args
        lanes, vector, mask, size = _block(sig.args[0])
        number = ir.IntType(32)
        name = f"llvm.masked.load.v{lanes}f{8 * size}.p0"
        kind = ir.FunctionType(vector, [vector.as_pointer(), number, mask, vector])
        function, first = cgutils.get_or_insert_function(builder.module, kind, name), _first(builder, n, mask)
        nothing, align = ir.Constant(vector, [0.0] * lanes), ir.Constant(number, size)
        rows = [builder.call(function, [_place(builder, x, x0, step, r, vector), align, first, nothing]) for r in range(lanes)]
        for c, row in enumerate(exchanged(builder, rows)[: lanes - 1]):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(ir.IntType(64), c), n), likely=True):
                builder.store(row, _place(builder, panel, p0, width, c, vector), align=size)
        return context.get_dummy_value()

    i = types.int64
    return types.void(x, i, i, panel, i, i, i), codegen


@intrinsic
def pour_block(typingctx: Any, panel: Any, p0: Any, width: Any, out: Any, o0: Any, step: Any, n: Any) -> Any:
    """out[lane, c] = panel[c, lane] for c < n: the way back."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        panel, p0, width, out, o0, step, n = args
        lanes, vector, mask, size = _block(sig.args[0])
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [vector, vector.as_pointer(), number, mask])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.v{lanes}f{8 * size}.p0")
        first, align, last = _first(builder, n, mask), ir.Constant(number, size), builder.sub(n, ir.Constant(n.type, 1))
        rows = []
        for c in range(lanes):  # beyond the last row comes the last one again, to lanes that are not touched
            here = ir.Constant(n.type, c)
            row = builder.select(builder.icmp_signed("<", here, last), here, last)
            at = builder.add(p0, builder.mul(width, row))
            rows.append(builder.load(builder.bitcast(element(builder, panel, at), vector.as_pointer()), align=size))
        for r, row in enumerate(exchanged(builder, rows)):
            builder.call(function, [row, _place(builder, out, o0, step, r, vector), align, first])
        return context.get_dummy_value()

    i = types.int64
    return types.void(panel, i, i, out, i, i, i), codegen
