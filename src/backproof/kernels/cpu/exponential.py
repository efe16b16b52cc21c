"""exp and log1p of rows, written instruction by instruction.

The same number must give the same bits wherever it stands, so nothing is left to the compiler's choice of fused operations: one is
there because it is written. Single precision takes 20 vector instructions for four exponentials, its bound the eight products.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import struct
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import compiled, intrinsic
from backproof.kernels.cpu.lanes import constant, integers, is_double_type
from backproof.kernels.pointwise import LN2_HIGH, LN2_LOW, LOG2E, SHIFTER
from backproof.kernels.rows import vector_bytes

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


# With vectors of eight doubles 2^(j/16) comes out of two registers, j the next sixteenth, and |r| <= ln(2)/32: q of half as many
# terms, 2^-37.5. The table has the bits of 2^(j/16) less those of 1, and less j, which `shifted` brings along.
STEPS = 16
SHORTER = (0.9999999997706833, 0.4999999999617807, 0.1666705766415226, 0.04166731832755018)
ONE_BITS, FRACTION = 1023 << 52, 48  # of 1.0; of a mantissa, below its first four bits
SIXTEENTHS = [struct.unpack("<q", struct.pack("<d", 2.0 ** (j / STEPS)))[0] - ONE_BITS - (j << FRACTION) for j in range(STEPS)]


def _has_table(vector: Any) -> bool:
    return bool(vector.count == STEPS // 2 and llvm.get_host_cpu_features().get("avx512f"))


def _looked_up(builder: Any, vector: Any, shifted: Any) -> Any:
    """The table's bits for the low four of `shifted`, as integers."""
    whole = integers(vector)
    kind = ir.FunctionType(vector, [vector, whole, vector])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpermi2var.pd.512")
    first, second = (
        builder.bitcast(ir.Constant(whole, SIXTEENTHS[i : i + whole.count]), vector) for i in (0, whole.count)
    )  # fmt: skip
    return builder.bitcast(builder.call(function, [first, shifted, second]), whole)


def has_fused() -> bool:
    """Whether the processor has fused products."""
    return bool(llvm.get_host_cpu_features().get("fma")) or llvm.get_process_triple().startswith(("aarch64", "arm64"))


def fused(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a b + c, rounded once where the processor can."""
    if not has_fused():
        return builder.fadd(builder.fmul(a, b), c)
    name = f"llvm.fma.v{a.type.count}f{64 if a.type.element == ir.DoubleType() else 32}"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def held(builder: Any, number: Any) -> Any:
    """The constant in a register, if there are enough: it is else read from memory each time, and there is time for few reads.

    Its value is hidden from the compiler.
    """
    if vector_bytes() != 64:
        return number
    call = builder.asm(ir.FunctionType(number.type, [number.type]), "", "=v,0", [number], side_effect=False)
    call.attributes.add("readnone")
    call.attributes.add("nounwind")
    return call


def _in_step(builder: Any, parts: list[Any]) -> list[Any]:
    """The parts, all computed up to here before anything goes on (a word to the compiler, no instruction).

    It would else put the whole chain of dependent products of one part before that of the next, which the processor cannot look
    past: its schedulers hold some 60 instructions that wait.
    """
    if not llvm.get_process_triple().startswith(("x86_64", "amd64")):
        return parts
    kind = ir.LiteralStructType([part.type for part in parts])
    places = ",".join(["=v"] * len(parts) + [str(i) for i in range(len(parts))])
    done = builder.asm(ir.FunctionType(kind, [part.type for part in parts]), "", places, parts, side_effect=False)
    return [builder.extract_value(done, i) for i in range(len(parts))]


def split(builder: Any, row: Any) -> list[Any]:
    """The row in pieces that fit a register."""
    lanes = vector_bytes() // (4 if row.type.element == ir.FloatType() else 8)
    undefined = ir.Constant(row.type, ir.Undefined)
    pick = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(i, i + lanes))) for i in range(0, row.type.count, lanes)]
    return [builder.shuffle_vector(row, undefined, each) for each in pick]


def join(builder: Any, parts: list[Any]) -> Any:
    """The row of the pieces."""
    while len(parts) > 1:
        lanes = parts[0].type.count
        both = ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), list(range(2 * lanes)))
        parts = [builder.shuffle_vector(parts[i], parts[i + 1], both) for i in range(0, len(parts), 2)]
    return parts[0]


@intrinsic
def plus(typingctx: Any, one: Any, two: Any) -> Any:
    """one + two; with long vectors as a fused product with 1, by the multipliers, where the adders have more to do than those.

    Conversions are the adders' work too (Zen 4: two of four pipes add, and convert; the other two multiply).
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if vector_bytes() != 64:
            return builder.fadd(*args)
        parts = zip(split(builder, args[0]), split(builder, args[1]), strict=True)
        return join(builder, [fused(builder, a, held(builder, constant(a.type, 1.0)), b) for a, b in parts])

    return one(one, one), codegen


@intrinsic
def reduced(typingctx: Any, like: Any, x: Any, top: Any) -> Any:
    """The first half of exp(x - top), for rows in double precision with x <= top: what `powers` makes the exponentials of.

    x - top = d + c. float32: d is exact or nearly so, c nothing. float64: c is what rounding takes from the difference (TwoSum,
    Knuth 1969), which for d large would cost hundreds of units in the last place. d + c = k ln 2 + r with k the integer next to
    d / ln 2, which stands in the low bits of k + SHIFTER. What is below LOWEST counts as LOWEST in float32: there it is nothing,
    and nothing beside a larger sum. In float64 the least rounds to 0.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        double = is_double_type(sig.args[0])
        vector = split(builder, args[2])[0].type
        least, zero = constant(vector, DEEPEST if double else LOWEST), constant(vector, 0.0)
        parts: tuple[list[Any], list[Any]] = ([], [])
        for x, top in zip(split(builder, args[1]), split(builder, args[2]), strict=True):
            d, c = builder.fsub(x, top), zero
            below = builder.fcmp_ordered(">", least, d)
            if double:
                back = builder.fsub(d, x)
                c = builder.fsub(builder.fsub(x, builder.fsub(d, back)), builder.fadd(top, back))
                c = builder.select(below, zero, c)  # x = -inf has none
            d = builder.select(below, least, d)  # in this order nan stays
            if not double and _has_table(vector):
                steps, shifter = float(STEPS), SHIFTER + STEPS * 1023
            else:
                steps, shifter = 1.0, SHIFTER
            shifted = fused(builder, d, constant(vector, LOG2E * steps), constant(vector, shifter))
            k = builder.fsub(shifted, constant(vector, shifter))
            if double:  # the first product is exact, and so is the difference
                r = fused(builder, k, constant(vector, -LN2_HIGH), d)
                r = builder.fadd(r, fused(builder, k, constant(vector, -LN2_LOW), c))
            else:
                r = fused(builder, k, constant(vector, -LN2 / steps), d)
            parts[0].append(r)
            parts[1].append(shifted)
        return context.make_tuple(builder, sig.return_type, [join(builder, part) for part in parts])

    return types.UniTuple(x, 2)(like, x, top), codegen


@intrinsic
def powers(typingctx: Any, like: Any, r: Any, shifted: Any) -> Any:
    """The second half: 2^k p(r), 2^k out of the table or as an addition to p's exponent; exactly 1 where x = top; nan stays nan.

    float64: subnormal numbers are made of larger ones by a product with 2^-128.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rs, shifts = (split(builder, row) for row in args[1:])
        vector, double = rs[0].type, is_double_type(sig.args[0])
        whole = integers(vector)

        def number(value: float) -> Any:
            return constant(vector, value)

        table = not double and _has_table(vector)
        series = LONG[1:] if double else SHORTER if table else SHORT
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
            bits = builder.bitcast(shift, whole)
            power = builder.shl(bits, constant(whole, FRACTION if table else 52))
            if table:
                power = builder.add(_looked_up(builder, vector, bits), power)
                e = builder.fmul(p, builder.bitcast(power, vector))
            else:
                e = builder.bitcast(builder.add(builder.bitcast(p, whole), power), vector)
            if double:
                # chosen, not multiplied by 1: a product next to a sum might be fused with it, here and not there
                e = builder.select(deep, builder.fmul(e, number(2.0**-128)), e)
            es.append(e)
        return join(builder, es)

    return r(like, r, r), codegen


@compiled()
def exponentials(like: Any, x: Any, top: Any) -> Any:
    """exp(x - top)."""
    r, shifted = reduced(like, x, top)
    return powers(like, r, shifted)


LOG_SERIES = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip


@intrinsic
def log1p(typingctx: Any, like: Any, s: Any) -> Any:
    """log(1 + s) for a row of finite s >= 0, to less than one unit in the last place: the way of Sun's fdlibm (1993).

    u = 1 + s rounded, c the rest; u = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), f = s where k = 0. With g = f / (2 + f),
    log(1 + f) = f - f^2/2 + g (f^2/2 + R(g^2)); k ln 2 in two parts and c / u are added to the small terms. Single precision has
    no use for c: where k is not 0, it is 2^-52 of the result.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = []
        double = is_double_type(sig.args[0])
        for s in split(builder, args[1]):
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
            c = builder.select(whole_one, number(0.0), builder.fdiv(c, u)) if double else number(0.0)
            half = builder.fmul(builder.fmul(f, f), number(0.5))
            g = builder.fdiv(f, builder.fadd(f, number(2.0)))
            g2 = builder.fmul(g, g)
            series = number(LOG_SERIES[-1])
            for coefficient in LOG_SERIES[-2::-1]:
                series = fused(builder, series, g2, number(coefficient))
            series = fused(builder, series, g2, half)
            small = fused(builder, g, series, fused(builder, k, number(LN2_LOW), c))
            parts.append(fused(builder, k, number(LN2_HIGH), builder.fsub(f, builder.fsub(half, small))))
        return join(builder, parts)

    return s(like, s), codegen
