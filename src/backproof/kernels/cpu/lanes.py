"""What the softmax kernels need of vectors and memory beyond rows.py.

Logits are of dtype T (float32 or float64); a row of T has as many lanes as its partner in double precision. `like` is any number of
type T: it tells the variants apart.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import intrinsic
from backproof.kernels.rows import Row, panel_width, spread, vector_bytes

LINE = 64  # bytes of a line of the cache


def constant(vector: Any, number: float) -> Any:
    return ir.Constant(vector, [number] * vector.count)


def integers(vector: Any) -> Any:
    """The type of a vector's bits as integers."""
    return ir.VectorType(ir.IntType(32 if vector.element == ir.FloatType() else 64), vector.count)


def is_double_type(kind: Any) -> bool:
    return bool(kind == types.float64)


@intrinsic
def is_double(typingctx: Any, like: Any) -> Any:
    """Whether T is float64, a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(1), int(is_double_type(sig.args[0])))

    return types.boolean(like), codegen


@intrinsic
def at(typingctx: Any, array: Any, index: Any) -> Any:
    """The pointer moved on by so many numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return array(array, types.intp), codegen


@intrinsic
def itemsize(typingctx: Any, like: Any) -> Any:
    """The bytes of a T, a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.int64, sig.args[0].bitwidth // 8)

    return types.int64(like), codegen


@intrinsic
def lanes_of(typingctx: Any, like: Any) -> Any:
    """How many logits are worked on side by side."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.get_constant(types.intp, panel_width(sig.args[0].bitwidth // 8))

    return types.intp(like), codegen


@intrinsic
def every(typingctx: Any, like: Any, number: Any) -> Any:
    """The number, in double precision, in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, args[1], sig.return_type.vector)

    return Row(types.float64, panel_width(like.bitwidth // 8))(like, types.float64), codegen


@intrinsic
def every_narrow(typingctx: Any, like: Any, number: Any) -> Any:
    """The number, rounded to T, in every lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return spread(builder, context.cast(builder, args[1], types.float64, sig.args[0]), sig.return_type.vector)

    return Row(like, panel_width(like.bitwidth // 8))(like, types.float64), codegen


def _bound(sign: str, doc: str) -> Any:
    def choose(typingctx: Any, one: Any, two: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(sign, args[0], args[1]), args[0], args[1])

        return one(one, one), codegen

    choose.__doc__ = doc
    return intrinsic(choose)


larger = _bound(">", "Lane by lane the larger; `two` where one of them is nan.")
smaller = _bound("<", "Lane by lane the smaller; `two` where one of them is nan.")


@intrinsic
def first_lane(typingctx: Any, row: Any) -> Any:
    """The row's first number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(ir.IntType(32), 0))

    return row.dtype(row), codegen


def lanes_before(builder: Any, count: Any, places: Any) -> Any:
    """The lanes whose place is less than `count`, an integer of 64 bits."""
    whole = ir.VectorType(ir.IntType(32), len(places))
    return builder.icmp_signed("<", ir.Constant(whole, list(places)), spread(builder, builder.trunc(count, whole.element), whole))


def lanes_between(builder: Any, first: Any, last: Any, count: int) -> Any:
    """Of so many lanes, those from `first` to `last` - 1."""
    before, within = (lanes_before(builder, number, range(count)) for number in (first, last))
    return builder.and_(within, builder.not_(before))


def _some(backwards: bool, doc: str) -> Any:
    def keep(typingctx: Any, row: Any, count: Any, filling: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            row, count, filling = args
            places = range(row.type.count)
            return builder.select(lanes_before(builder, count, places[::-1] if backwards else places), row, filling)

        return row(row, types.int64, row), codegen

    keep.__doc__ = doc
    return intrinsic(keep)


first_lanes = _some(False, "The row with all but its first `count` lanes taken from `filling`.")
last_lanes = _some(True, "The row with all but its last `count` lanes taken from `filling`.")


@intrinsic
def product(typingctx: Any, one: Any, two: Any) -> Any:
    """one * two, rounded: never fused with a sum that follows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return one(one, one), codegen


def _halves(builder: Any, row: Any, h: int) -> Any:
    """The first and the second h of a row's first 2h lanes."""
    undefined = ir.Constant(row.type, ir.Undefined)
    kind = ir.IntType(32)
    picks = [ir.Constant(ir.VectorType(kind, h), list(range(start, start + h))) for start in (0, h)]
    return [builder.shuffle_vector(row, undefined, pick) for pick in picks]


def _two_largest(builder: Any, first: Any, second: Any) -> Any:
    def pick(sign: str, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(sign, a, b), a, b)

    h = first.type.count
    while h > 1:
        h //= 2
        (a, b), (c, d) = _halves(builder, first, h), _halves(builder, second, h)
        first, second = pick(">", a, b), pick(">", pick("<", a, b), pick(">", c, d))
    zero = ir.Constant(ir.IntType(32), 0)
    return [builder.extract_element(number, zero) for number in (first, second)]


@intrinsic
def two_largest(typingctx: Any, first: Any, second: Any) -> Any:
    """The largest and the second largest of all lanes, each lane of `first` being at least its lane of `second`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_tuple(builder, sig.return_type, _two_largest(builder, *args))

    return types.UniTuple(first.dtype, 2)(first, first), codegen


def _end(sign: str, doc: str) -> Any:
    def find(typingctx: Any, row: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            row = args[0]
            while (lanes := row.type.count) > 1:
                one, two = _halves(builder, row, lanes // 2)
                row = builder.select(builder.fcmp_ordered(sign, one, two), one, two)
            return builder.extract_element(row, ir.Constant(ir.IntType(32), 0))

        return row.dtype(row), codegen

    find.__doc__ = doc
    return intrinsic(find)


largest_lane = _end(">", "The largest number of the row.")
smallest_lane = _end("<", "The smallest number of the row.")


@intrinsic
def store_past(typingctx: Any, array: Any, index: Any, row: Any) -> Any:
    """Put the row at array[index], which must be at a multiple of a vector's bytes, past the caches to memory."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = Row(sig.args[0].dtype, sig.args[2].lanes).vector
        value = args[2] if vector == args[2].type else builder.fptrunc(args[2], vector)
        place = builder.bitcast(builder.gep(args[0], [args[1]]), vector.as_pointer())
        half = min(vector.count, vector_bytes() // (sig.args[0].dtype.bitwidth // 8))
        parts = _halves(builder, value, half) if half < vector.count else [value]
        size = sig.args[0].dtype.bitwidth // 8
        short = ir.VectorType(vector.element, half)
        place = builder.bitcast(place, short.as_pointer())
        for number, part in enumerate(parts):
            at = builder.gep(place, [ir.Constant(ir.IntType(32), number)])
            done = builder.store(part, at, align=half * size)
            done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, row), codegen


def _in_memory(vector: Any) -> tuple[str, Any]:
    """The end of the name that LLVM has for functions of such a vector in memory, and the bytes of a number."""
    size = 4 if vector.element == ir.FloatType() else 8
    return f"v{vector.count}f{8 * size}.p0", ir.Constant(ir.IntType(32), size)


def masked_load(builder: Any, place: Any, mask: Any, vector: Any) -> Any:
    """The numbers at `place` in the lanes of the mask, and 0 in the others, whose memory is not touched."""
    name, size = _in_memory(vector)
    kind = ir.FunctionType(vector, [place.type, size.type, mask.type, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.{name}")
    return builder.call(function, [place, size, mask, constant(vector, 0.0)])


def masked_store(builder: Any, row: Any, place: Any, mask: Any) -> None:
    """The lanes of the mask to `place`; other memory is not touched."""
    name, size = _in_memory(row.type)
    kind = ir.FunctionType(ir.VoidType(), [row.type, place.type, size.type, mask.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.store.{name}")
    builder.call(function, [row, place, size, mask])


@intrinsic
def store_lanes(typingctx: Any, array: Any, index: Any, row: Any, first: Any, last: Any) -> Any:
    """Store the row at array[index], but only its lanes from `first` to `last` - 1."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[2].type
        place = builder.bitcast(builder.gep(args[0], [args[1]]), vector.as_pointer())
        masked_store(builder, args[2], place, lanes_between(builder, args[3], args[4], vector.count))
        return context.get_dummy_value()

    return types.void(array, types.intp, row, types.int64, types.int64), codegen


def prefetch(builder: Any, place: Any, intent: int = 0, nearness: int = 3) -> None:
    """Ask for the line at an address, to read from it (0) or to write to it, to be brought to the first cache (3) or the second."""
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(place, byte), *(ir.Constant(number, n) for n in (intent, nearness, 1))])


def _fetching(registers: int, doc: str, intent: int = 0) -> Any:
    def ask(typingctx: Any, array: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            start = builder.bitcast(builder.gep(args[0], [args[1]]), ir.IntType(8).as_pointer())
            for line in range(0, max(1, registers * vector_bytes()), LINE):
                prefetch(builder, builder.gep(start, [ir.Constant(ir.IntType(32), line)]), intent)
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    ask.__doc__ = doc
    return intrinsic(ask)


fetch = _fetching(2, "Ask for the row at array[index] to be brought to the cache; it may lie outside.")
fetch_half = _fetching(1, "The same for half a row.")
fetch_to_write = _fetching(0, "Ask for the line that holds array[index], which will be written to.", 1)
