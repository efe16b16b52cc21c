"""Rows of numbers read as integers of as many bits, for exact_sum.py and word_sums.py."""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import intrinsic
from backproof.kernels.cpu.lanes import constant, integers
from backproof.kernels.rows import spread


@intrinsic
def add_bits(typingctx: Any, count: Any, row: Any) -> Any:
    """Lane by lane the sum, modulo 2^64 (or 2^32), of what the two are as integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        return builder.bitcast(builder.add(builder.bitcast(args[0], whole), builder.bitcast(args[1], whole)), args[0].type)

    return count(count, row), codegen


@intrinsic
def total_bits(typingctx: Any, count: Any) -> Any:
    """The sum of the lanes as integers, modulo 2^64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = builder.bitcast(args[0], integers(args[0].type))
        wide = ir.VectorType(ir.IntType(64), lanes.type.count)
        kind = ir.FunctionType(ir.IntType(64), [wide])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{wide.count}i64")
        return builder.call(function, [lanes if lanes.type == wide else builder.sext(lanes, wide)])

    return types.int64(count), codegen


@intrinsic
def first_bits(typingctx: Any, count: Any) -> Any:
    """The first lane as an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = builder.bitcast(args[0], integers(args[0].type))
        first, wide = builder.extract_element(lanes, ir.Constant(ir.IntType(32), 0)), ir.IntType(64)
        return first if first.type == wide else builder.sext(first, wide)

    return types.int64(count), codegen


@intrinsic
def bits(typingctx: Any, number: Any) -> Any:
    """The number's 64 bits as an integer."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@intrinsic
def from_bits(typingctx: Any, number: Any) -> Any:
    """The number with these 64 bits."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def fixed_points(typingctx: Any, second: Any) -> Any:
    """exact_sum.fixed_point of each lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0].type
        whole = integers(vector)
        exponent = builder.lshr(builder.bitcast(args[0], whole), constant(whole, 52))
        high = builder.shl(builder.add(exponent, constant(whole, 2)), constant(whole, 52))
        low = builder.sub(exponent, constant(whole, 49))
        low = builder.select(builder.icmp_signed("<", low, constant(whole, 1)), constant(whole, 1), low)
        low = builder.or_(builder.shl(low, constant(whole, 52)), constant(whole, 1 << 51))
        return context.make_tuple(builder, sig.return_type, [builder.bitcast(each, vector) for each in (high, low)])

    return types.UniTuple(second, 2)(second), codegen


@intrinsic
def settled(typingctx: Any, count: Any, high: Any, numbers: Any) -> Any:
    """s of each lane: the sum without the constants and without the largest, as exact_sum has it for float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, high, numbers = args
        vector = count.type
        whole = integers(vector)
        raised = builder.bitcast(builder.fadd(high, constant(vector, 1.0)), whole)
        constants = builder.mul(
            builder.bitcast(high, whole), spread(builder, builder.sub(numbers, ir.Constant(numbers.type, 1)), whole)
        )
        units = builder.sub(builder.sub(builder.bitcast(count, whole), raised), constants)
        return builder.fmul(builder.sitofp(units, vector), builder.fmul(high, constant(vector, 2.0**-52)))

    return count(count, count, types.int64), codegen
