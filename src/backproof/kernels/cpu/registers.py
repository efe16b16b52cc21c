"""Parts of a row, for rows shorter than one: half a row of T, and the quarter that fills a register in double precision."""
# mypy: disable-error-code="import-untyped, no-untyped-call, misc"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from backproof.kernels.compiled import element, intrinsic
from backproof.kernels.cpu.exponential import fused, held
from backproof.kernels.cpu.lanes import lanes_before, lanes_between, masked_load
from backproof.kernels.rows import Row, panel_width, spread


def _part(array: Any, share: int) -> Row:
    return Row(array.dtype, panel_width(array.dtype.bitwidth // 8) // share)


@intrinsic
def load_half(typingctx: Any, array: Any, index: Any) -> Any:
    """The half row that begins at array[index]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.bitcast(element(builder, *args), sig.return_type.vector.as_pointer())
        return builder.load(place, align=sig.args[0].dtype.bitwidth // 8)

    return _part(array, 2)(array, types.intp), codegen


@intrinsic
def hold(typingctx: Any, row: Any) -> Any:
    """exponential.held for a row in a register."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return held(builder, args[0])

    return row(row), codegen


@intrinsic
def load_register(typingctx: Any, array: Any, index: Any) -> Any:
    """As many numbers as fill a register in double precision, in double precision."""
    narrow = _part(array, 4)
    to = Row(types.float64, narrow.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.bitcast(element(builder, *args), narrow.vector.as_pointer())
        return builder.fpext(builder.load(place, align=narrow.dtype.bitwidth // 8), to.vector)

    return to(array, types.intp), codegen


@intrinsic
def load_start(typingctx: Any, array: Any, index: Any, count: Any) -> Any:
    """The same for its first `count` numbers; the other lanes hold 0, and their memory is not touched."""
    narrow = _part(array, 4)
    to = Row(types.float64, narrow.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector, mask = narrow.vector, lanes_before(builder, args[2], range(narrow.lanes))
        place = builder.bitcast(element(builder, *args[:2]), vector.as_pointer())
        return builder.fpext(masked_load(builder, place, mask, vector), to.vector)

    return to(array, types.intp, types.int64), codegen


@intrinsic
def load_lanes(typingctx: Any, array: Any, index: Any, first: Any, last: Any) -> Any:
    """The half row that begins at array[index], but only its lanes from `first` to `last` - 1: others hold 0, and their memory is
    not touched."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = sig.return_type.vector
        place = builder.bitcast(element(builder, *args[:2]), vector.as_pointer())
        return masked_load(builder, place, lanes_between(builder, args[2], args[3], vector.count), vector)

    return _part(array, 2)(array, types.intp, types.int64, types.int64), codegen


@intrinsic
def store_half(typingctx: Any, array: Any, index: Any, row: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = builder.bitcast(element(builder, *args[:2]), sig.args[2].vector.as_pointer())
        builder.store(args[2], place, align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, row), codegen


@intrinsic
def half_of(typingctx: Any, array: Any, place: Any) -> Any:
    """array[place] in every lane of half a row."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, builder.load(element(builder, *args)), sig.return_type.vector)

    return _part(array, 2)(array, types.intp), codegen


@intrinsic
def every_half(typingctx: Any, like: Any, number: Any) -> Any:
    """The number, rounded to T, in every lane of half a row."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, context.cast(builder, args[1], types.float64, sig.args[0]), sig.return_type.vector)

    return Row(like, panel_width(like.bitwidth // 8) // 2)(like, types.float64), codegen


@intrinsic
def same_in(typingctx: Any, row: Any, number: Any) -> Any:
    """The number in every lane of a row like this."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, args[1], args[0].type)

    return row(row, row.dtype), codegen


@intrinsic
def register_of(typingctx: Any, array: Any, place: Any) -> Any:
    """array[place] in every lane of a register, in double precision."""
    to = Row(types.float64, _part(array, 4).lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.load(element(builder, *args))
        return spread(builder, builder.fpext(number, ir.DoubleType()), to.vector)

    return to(array, types.intp), codegen


@intrinsic
def plus_product(typingctx: Any, sums: Any, one: Any, two: Any) -> Any:
    """sums + one * two, fused."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return fused(builder, args[1], args[2], args[0])

    return sums(sums, sums, sums), codegen


@intrinsic
def folded(typingctx: Any, row: Any) -> Any:
    """The sum of the lanes, by halves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        while (lanes := value.type.count) > 1:
            kind = ir.VectorType(ir.IntType(32), lanes // 2)
            first, second = (ir.Constant(kind, list(range(start, start + lanes // 2))) for start in (0, lanes // 2))
            value = builder.fadd(builder.shuffle_vector(value, value, first), builder.shuffle_vector(value, value, second))
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return row.dtype(row), codegen


@intrinsic
def lanes_greater(typingctx: Any, one: Any, two: Any) -> Any:
    """The lanes in which one > two, as the bits of a number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        mask = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(args[0].type.count))
        return builder.zext(mask, ir.IntType(64))

    return types.uint64(one, one), codegen


@intrinsic
def first_bit(typingctx: Any, bits: Any) -> Any:
    """The number of the lowest bit of a number that has one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


@intrinsic
def shifted(typingctx: Any, bits: Any, count: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.shl(*args)

    return types.uint64(types.uint64, types.int64), codegen
