"""What the softmax kernels need of vectors beyond rows.py: exp to the precision of the dtype, integers in the lanes, top twos.

Here the same number must give the same bits wherever it stands, so nothing is left to the compiler's choice of fused operations:
a fused operation is one because it is written as one. Logits are of dtype T (float32 or float64); a row of T has as many lanes as
its partner in double precision. `like` is any number of type T: it tells the variants apart.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import compiled, intrinsic
from backproof.kernels.pointwise import LN2_HIGH, LN2_LOW, LOG2E, SHIFTER
from backproof.kernels.rows import Row, panel_width, spread, vector_bytes

LOWEST = -708.0  # below, exp is less than the smallest normal number ...
DEEPEST = -745.2  # ... and than half the smallest there is
LN2 = 0.6931471805599453

# exp(r) = 1 + r q(r) for |r| <= ln(2)/2, q interpolated at Chebyshev's points: 2^-38.7 at most, of exp(r)
SHORT = (
    0.9999999999955055, 0.4999999999995507, 0.1666666678638044, 0.041666666786337556, 0.008333283518768105,
    0.001388883909064138, 0.00019907582591325134, 2.4867883453521802e-05,
)  # fmt: skip
# the Taylor series of the same to r^13 / 13!: below 2^-57
LONG = tuple(1.0 / factorial for factorial in (
    1, 2, 6, 24, 120, 720, 5040, 40320, 362880, 3628800, 39916800, 479001600, 6227020800
))  # fmt: skip


def _has_fused() -> bool:
    return bool(llvm.get_host_cpu_features().get("fma")) or llvm.get_process_triple().startswith(("aarch64", "arm64"))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once where the processor can."""
    if not _has_fused():
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{a.type.count}f64"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def constant(vector: Any, number: float) -> Any:
    return ir.Constant(vector, [number] * vector.count)


def integers(vector: Any) -> Any:
    return ir.VectorType(ir.IntType(64), vector.count)


def _is_double(kind: Any) -> bool:
    return bool(kind == types.float64)


@intrinsic
def pointer(typingctx: Any, address: Any, like: Any) -> Any:
    """The address as one of numbers of the type of `like`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.unliteral(like))(types.int64, like), codegen


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


def _in_step(builder: Any, parts: list[Any]) -> list[Any]:
    """The parts, all computed up to here before anything goes on (a word to the compiler, no instruction).

    It would else put the whole chain of dependent products of one part before that of the next, which the processor cannot look
    past: its schedulers hold some 60 instructions that wait.
    """
    if not llvm.get_process_triple().startswith(("x86_64", "amd64")):
        return parts
    kind = ir.LiteralStructType([part.type for part in parts])
    places = ",".join(["=x"] * len(parts) + [str(i) for i in range(len(parts))])
    done = builder.asm(ir.FunctionType(kind, [part.type for part in parts]), "", places, parts, side_effect=False)
    return [builder.extract_value(done, i) for i in range(len(parts))]


def _split(builder: Any, row: Any) -> list[Any]:
    """The row in pieces that fit a register."""
    lanes = vector_bytes() // 8
    undefined = ir.Constant(row.type, ir.Undefined)
    pick = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(i, i + lanes))) for i in range(0, row.type.count, lanes)]
    return [builder.shuffle_vector(row, undefined, each) for each in pick]


def _join(builder: Any, parts: list[Any]) -> Any:
    while len(parts) > 1:
        lanes = parts[0].type.count
        both = ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), list(range(2 * lanes)))
        parts = [builder.shuffle_vector(parts[i], parts[i + 1], both) for i in range(0, len(parts), 2)]
    return parts[0]


@intrinsic
def reduced(typingctx: Any, like: Any, x: Any, top: Any) -> Any:
    """The first half of exp(x - top), for rows in double precision with x <= top: what `powers` makes the exponentials of.

    x - top = d + c. float32: d is exact or nearly so, c nothing. float64: c is what rounding takes from the difference (TwoSum,
    Knuth 1969), which for d large would cost hundreds of units in the last place. d + c = k ln 2 + r with k the integer next to
    d / ln 2, which stands in the low bits of k + SHIFTER. What is below LOWEST counts as LOWEST in float32: there it is nothing,
    and nothing beside a larger sum. In float64 the least rounds to 0.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double = _is_double(sig.args[0])
        vector = _split(builder, args[2])[0].type
        least, zero = constant(vector, DEEPEST if double else LOWEST), constant(vector, 0.0)
        parts: tuple[list[Any], list[Any]] = ([], [])
        for x, top in zip(_split(builder, args[1]), _split(builder, args[2]), strict=True):
            d, c = builder.fsub(x, top), zero
            below = builder.fcmp_ordered(">", least, d)
            if double:
                back = builder.fsub(d, x)
                c = builder.fsub(builder.fsub(x, builder.fsub(d, back)), builder.fadd(top, back))
                c = builder.select(below, zero, c)  # x = -inf has none
            d = builder.select(below, least, d)  # in this order nan stays
            shifted = fused(builder, d, constant(vector, LOG2E), constant(vector, SHIFTER))
            k = builder.fsub(shifted, constant(vector, SHIFTER))
            if double:  # the first product is exact, and so is the difference
                r = fused(builder, k, constant(vector, -LN2_HIGH), d)
                r = builder.fadd(r, fused(builder, k, constant(vector, -LN2_LOW), c))
            else:
                r = fused(builder, k, constant(vector, -LN2), d)
            parts[0].append(r)
            parts[1].append(shifted)
        return context.make_tuple(builder, sig.return_type, [_join(builder, part) for part in parts])

    return types.UniTuple(x, 2)(like, x, top), codegen


@intrinsic
def powers(typingctx: Any, like: Any, r: Any, shifted: Any) -> Any:
    """The second half: 2^k p(r), k being added to p's exponent; exactly 1 where x = top; nan stays nan.

    float64: subnormal numbers are made of larger ones by a product with 2^-128.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rs, shifts = (_split(builder, row) for row in args[1:])
        vector, double = rs[0].type, _is_double(sig.args[0])
        whole = integers(vector)

        def number(value: float) -> Any:
            return constant(vector, value)

        series = LONG[1:] if double else SHORT
        qs = [number(series[-1])] * len(rs)
        for coefficient in series[-2::-1]:
            qs = _in_step(builder, [fused(builder, q, r, number(coefficient)) for q, r in zip(qs, rs, strict=True)])
        es = []
        for q, r, shift in zip(qs, rs, shifts, strict=True):
            if double:  # 1 + (r + r^2 q): the last digit of r counts
                p = builder.fadd(fused(builder, builder.fmul(r, r), q, r), number(1.0))
                deep = builder.fcmp_ordered("<", shift, number(SHIFTER - 990.0))
                shift = builder.fadd(shift, builder.select(deep, number(128.0), number(0.0)))
            else:
                p = fused(builder, q, r, number(1.0))
            power = builder.shl(builder.bitcast(shift, whole), constant(whole, 52))
            e = builder.bitcast(builder.add(builder.bitcast(p, whole), power), vector)
            if double:
                # chosen, not multiplied by 1: a product next to a sum might be fused with it, here and not there
                e = builder.select(deep, builder.fmul(e, number(2.0**-128)), e)
            es.append(e)
        return _join(builder, es)

    return r(like, r, r), codegen


@compiled()
def exponentials(like: Any, x: Any, top: Any) -> Any:
    """exp(x - top)."""
    r, shifted = reduced(like, x, top)
    return powers(like, r, shifted)


@intrinsic
def add_bits(typingctx: Any, count: Any, row: Any) -> Any:
    """Lane by lane the sum, modulo 2^64, of what the two are as integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        return builder.bitcast(builder.add(builder.bitcast(args[0], whole), builder.bitcast(args[1], whole)), args[0].type)

    return count(count, row), codegen


@intrinsic
def total_bits(typingctx: Any, count: Any) -> Any:
    """The sum of the lanes as integers, modulo 2^64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        kind = ir.FunctionType(ir.IntType(64), [whole])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.add.v{whole.count}i64")
        return builder.call(function, [builder.bitcast(args[0], whole)])

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
def last_lanes(typingctx: Any, row: Any, count: Any, filling: Any) -> Any:
    """The row with all but its last `count` lanes taken from `filling`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        row, count, filling = args
        whole = ir.VectorType(ir.IntType(64), row.type.count)
        number = spread(builder, count, whole)
        place = ir.Constant(whole, list(range(row.type.count, 0, -1)))
        return builder.select(builder.icmp_signed("<=", place, number), row, filling)

    return row(row, types.int64, row), codegen


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


@intrinsic
def store_past(typingctx: Any, array: Any, index: Any, row: Any) -> Any:
    """Put the row at array[index], which must be at a multiple of a vector's bytes, past the caches to memory."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = Row(sig.args[0].dtype, sig.args[2].lanes).vector
        value = args[2] if vector == args[2].type else builder.fptrunc(args[2], vector)
        place = builder.bitcast(builder.gep(args[0], [args[1]]), vector.as_pointer())
        half = vector.count // 2
        parts = _halves(builder, value, half)
        size = sig.args[0].dtype.bitwidth // 8
        short = ir.VectorType(vector.element, half)
        place = builder.bitcast(place, short.as_pointer())
        for number, part in enumerate(parts):
            at = builder.gep(place, [ir.Constant(ir.IntType(32), number)])
            done = builder.store(part, at, align=half * size)
            done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, row), codegen


@intrinsic
def is_double(typingctx: Any, like: Any) -> Any:
    """Whether T is float64, a constant to the compiler."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(ir.IntType(1), int(_is_double(sig.args[0])))

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
def address(typingctx: Any, array: Any) -> Any:
    """Where the pointer points to."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(array), codegen


def _fetching(intent: int, doc: str) -> Any:
    def ask(typingctx: Any, array: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            at = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
            builder.call(function, [at, *(ir.Constant(number, n) for n in (intent, 2, 1))])
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    ask.__doc__ = doc
    return intrinsic(ask)


fetch = _fetching(0, "Ask for array[index] to be brought to the cache; it may lie outside.")
fetch_to_write = _fetching(1, "The same for what is to be written to.")


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
        constants = builder.mul(builder.bitcast(high, whole), spread(builder, builder.sub(numbers, ir.Constant(numbers.type, 1)), whole))
        units = builder.sub(builder.sub(builder.bitcast(count, whole), raised), constants)
        return builder.fmul(builder.sitofp(units, vector), builder.fmul(high, constant(vector, 2.0**-52)))

    return count(count, count, types.int64), codegen


LOG_SERIES = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip


@intrinsic
def log1p(typingctx: Any, s: Any) -> Any:
    """log(1 + s) for a row of finite s >= 0, to less than one unit in the last place: the way of Sun's fdlibm (1993).

    u = 1 + s rounded, c the rest; u = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), f = s where k = 0. With g = f / (2 + f),
    log(1 + f) = f - f^2/2 + g (f^2/2 + R(g^2)); k ln 2 in two parts and c / u are added to the small terms.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = []
        for s in _split(builder, args[0]):
            vector = s.type
            whole = integers(vector)

            def number(value: float) -> Any:
                return constant(vector, value)  # noqa: B023

            u = builder.fadd(s, number(1.0))
            big = builder.fcmp_ordered(">", s, number(1.0))
            c = builder.select(
                big, builder.fsub(number(1.0), builder.fsub(u, s)), builder.fsub(s, builder.fsub(u, number(1.0)))
            )  # fmt: skip
            raw = builder.bitcast(u, whole)
            m = builder.or_(builder.and_(raw, constant(whole, (1 << 52) - 1)), constant(whole, 0x3FF << 52))
            m = builder.bitcast(m, vector)
            k = builder.or_(builder.lshr(raw, constant(whole, 52)), constant(whole, 0x433 << 52))
            k = builder.fsub(builder.bitcast(k, vector), number(4503599627370496.0 + 1023.0))
            above = builder.fcmp_ordered(">", m, number(1.4142135623730951))
            k = builder.select(above, builder.fadd(k, number(1.0)), k)
            f = builder.fsub(builder.select(above, builder.fmul(m, number(0.5)), m), number(1.0))
            whole_one = builder.fcmp_ordered("==", k, number(0.0))
            f = builder.select(whole_one, s, f)
            c = builder.select(whole_one, number(0.0), builder.fdiv(c, u))
            half = builder.fmul(builder.fmul(f, f), number(0.5))
            g = builder.fdiv(f, builder.fadd(f, number(2.0)))
            g2 = builder.fmul(g, g)
            series = number(LOG_SERIES[-1])
            for coefficient in LOG_SERIES[-2::-1]:
                series = fused(builder, series, g2, number(coefficient))
            series = fused(builder, series, g2, half)
            small = fused(builder, g, series, fused(builder, k, number(LN2_LOW), c))
            parts.append(fused(builder, k, number(LN2_HIGH), builder.fsub(f, builder.fsub(half, small))))
        return _join(builder, parts)

    return s(s), codegen
