"""A vector type for compiled code: `Row`, as many numbers as stand side by side in a panel, held in two vector registers.

    r = load(array, i)          store(array, i, r)         splat(array, x)           r + s, r - s, r * s, r / s, r * 2.0
    where_greater(r, s, yes, no)        where_equal(r, s, yes, no)        wide(r) in double precision        total(r)

Loops written with rows are vector code as they stand: nothing hangs on what the compiler makes of a loop, and it has less to do.
A product may be fused with a sum; nan and infinity keep their meaning. The length follows the processor's vectors.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, misc"

from __future__ import annotations

import operator
from functools import cache
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

from backproof.kernels.compiled import element, intrinsic

FLAGS = ("contract", "nsz")


@cache
def vector_bytes() -> int:
    """The length of this processor's vectors."""
    features = llvm.get_host_cpu_features()
    return 64 if features.get("avx512f") else 32 if features.get("avx") else 16


def panel_width(itemsize: int) -> int:
    """How many numbers stand side by side in a panel: two vectors."""
    return 2 * vector_bytes() // itemsize


class Row(types.Type):
    def __init__(self, dtype: Any, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Row({dtype} x {lanes})")

    @property
    def vector(self) -> Any:
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.lanes)


@register_model(Row)
class _RowModel(models.PrimitiveModel):
    def __init__(self, manager: Any, row: Row) -> None:
        super().__init__(manager, row, row.vector)


def row_of(array: Any) -> Row:
    return Row(array.dtype, panel_width(array.dtype.bitwidth // 8))


def spread(builder: Any, number: Any, vector: Any) -> Any:
    """The number in every lane."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), lanes)


def _arithmetic(operation: Any, name: str) -> None:
    @infer_global(operation)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            rows = [a for a in args if isinstance(a, Row)]
            numbers = [a for a in args if isinstance(a, (types.Float, types.Integer))]
            if not rows or len(rows) + len(numbers) != len(args) or any(r != rows[0] for r in rows):
                return None
            return signature(rows[0], *(a if isinstance(a, Row) else rows[0].dtype for a in args))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = sig.return_type.vector
        sides = [v if isinstance(t, Row) else spread(builder, v, vector) for v, t in zip(args, sig.args, strict=True)]
        return getattr(builder, name)(*sides, flags=FLAGS)

    for kinds in ((Row, Row), (Row, types.Float), (types.Float, Row)):
        lower_builtin(operation, *kinds)(lower)


for _name, _operations in {
    "fadd": (operator.add, operator.iadd),
    "fsub": (operator.sub, operator.isub),
    "fmul": (operator.mul, operator.imul),
    "fdiv": (operator.truediv, operator.itruediv),
}.items():
    for _operation in _operations:
        _arithmetic(_operation, _name)


def _address(builder: Any, array: Any, index: Any, vector: Any) -> Any:
    return builder.bitcast(element(builder, array, index), vector.as_pointer())


@intrinsic
def width_of(typingctx: Any, array: Any) -> Any:
    """The panel width for the array's dtype, a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.intp, row_of(sig.args[0]).lanes)

    return types.intp(array), codegen


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """The row that begins at array[index]."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = _address(builder, args[0], args[1], sig.return_type.vector)
        return builder.load(place, align=sig.args[0].dtype.bitwidth // 8)

    return row_of(array)(array, types.intp), codegen


@intrinsic
def load_wide(typingctx: Any, array: Any, index: Any, like: Any) -> Any:
    """As many numbers of a double precision array as a row of `like` has."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(builder, args[0], args[1], sig.return_type.vector), align=8)

    return Row(types.float64, row_of(like).lanes)(array, types.intp, like), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, row: Any) -> Any:
    """Put the row at array[index] and behind, rounded to the array's dtype."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = Row(sig.args[0].dtype, sig.args[2].lanes).vector
        value = args[2] if vector == args[2].type else builder.fptrunc(args[2], vector)
        builder.store(value, _address(builder, args[0], args[1], vector), align=sig.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, row), codegen


@intrinsic
def splat(typingctx: Any, array: Any, number: Any) -> Any:
    """The number in every lane of a row for the array's dtype."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, args[1], sig.return_type.vector)

    return row_of(array)(array, array.dtype), codegen


@intrinsic
def splat_wide(typingctx: Any, like: Any, number: Any) -> Any:
    """The number in every lane of a double precision row, as long as a row of `like`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, args[1], sig.return_type.vector)

    return Row(types.float64, row_of(like).lanes)(like, types.float64), codegen


@intrinsic
def wide(typingctx: Any, row: Any) -> Any:
    """The row in double precision."""
    to = Row(types.float64, row.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[0] if args[0].type == to.vector else builder.fpext(args[0], to.vector)

    return to(row), codegen


def _selection(comparison: str, doc: str) -> Any:
    def select(typingctx: Any, one: Any, two: Any, yes: Any, no: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, args[0], args[1]), args[2], args[3])

        return yes(one, one, yes, yes), codegen

    select.__doc__ = doc
    return intrinsic(select)


where_greater = _selection(">", "Lane by lane: yes where one > two, else (also for nan) no.")
where_equal = _selection("==", "Lane by lane: yes where one == two, else (also for nan) no.")


@intrinsic
def magnitude(typingctx: Any, row: Any) -> Any:
    """|row|."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.fabs.v{row.lanes}f{row.dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(row.vector, [row.vector]), name), args)

    return row(row), codegen


@intrinsic
def two_to_the(typingctx: Any, shifted: Any) -> Any:
    """2^k for a row of numbers whose low bits are the integer k: k + 1023 is put where a double has its exponent."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = ir.VectorType(ir.IntType(64), shifted.lanes)
        bits = builder.add(builder.bitcast(args[0], whole), ir.Constant(whole, [1023] * shifted.lanes))
        return builder.bitcast(builder.shl(bits, ir.Constant(whole, [52] * shifted.lanes)), shifted.vector)

    return shifted(shifted), codegen


def _bits(doc: str, keep: int, mark: int, shift: int) -> Any:
    """((bits >> shift) & keep) | mark of each lane, as a double again."""

    def change(typingctx: Any, row: Any) -> Any:
        whole = ir.VectorType(ir.IntType(64), row.lanes)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            shifted = builder.lshr(builder.bitcast(args[0], whole), ir.Constant(whole, [shift] * row.lanes))
            kept = builder.and_(shifted, ir.Constant(whole, [keep] * row.lanes))
            return builder.bitcast(builder.or_(kept, ir.Constant(whole, [mark] * row.lanes)), row.vector)

        return row(row), codegen

    change.__doc__ = doc
    return intrinsic(change)


mantissa = _bits("m in [1, 2) with u = m 2^k, for a row of normal u > 0.", (1 << 52) - 1, 0x3FF << 52, 0)
raised_exponent = _bits("2^52 + 1023 + k with u = m 2^k, for a row of normal u > 0.", 0x7FF, 0x433 << 52, 52)


@intrinsic
def total(typingctx: Any, row: Any) -> Any:
    """The sum of the lanes, by halves."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = row.vector.element
        name = f"llvm.vector.reduce.fadd.v{row.lanes}f{row.dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number, row.vector]), name)
        return builder.call(function, [ir.Constant(number, 0.0), args[0]], fastmath=("reassoc",))

    return row.dtype(row), codegen


def exchanged(builder: Any, rows: list[Any]) -> list[Any]:
    """The transpose of a square block, its rows in registers.

    Stage by stage (h = 1, 2, 4, ...) the off-diagonal quarters of each 2h x 2h block are exchanged: log2(lanes) shuffles a vector.
    """
    rows, lanes, h = list(rows), len(rows), 1
    pick = ir.VectorType(ir.IntType(32), lanes)
    while h < lanes:
        upper = ir.Constant(pick, [j if j & h == 0 else lanes + j - h for j in range(lanes)])
        lower = ir.Constant(pick, [j + h if j & h == 0 else lanes + j for j in range(lanes)])
        for r in range(lanes):
            if r & h == 0:
                one, two = rows[r], rows[r + h]
                rows[r], rows[r + h] = builder.shuffle_vector(one, two, upper), builder.shuffle_vector(one, two, lower)
        h *= 2
    return rows


@intrinsic
def transpose(typingctx: Any, source: Any, s0: Any, s_row: Any, target: Any, t0: Any, t_row: Any) -> Any:
    """target[j, i] = source[i, j] for a square block of half a panel's width."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        source, s0, s_row, target, t0, t_row = args
        kind = row_of(sig.args[3])
        lanes, size = kind.lanes // 2, kind.dtype.bitwidth // 8
        vector = ir.VectorType(kind.vector.element, lanes)

        def place(array: Any, start: Any, step: Any, r: int) -> Any:
            index = builder.add(start, builder.mul(step, context.get_constant(types.intp, r)))
            return _address(builder, array, index, vector)

        rows = exchanged(builder, [builder.load(place(source, s0, s_row, r), align=size) for r in range(lanes)])
        for r in range(lanes):
            builder.store(rows[r], place(target, t0, t_row, r), align=size)
        return context.get_dummy_value()

    i = types.intp
    return types.void(source, i, i, target, i, i), codegen
