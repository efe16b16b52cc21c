"""Exponentials of a row in single precision as two words, high + low.

In double precision a vector holds half as many numbers, and its products and conversions are what softmax waits for; two words in
single precision take about as many operations for twice as many. exp(x) = 2^(n/S) e^r with n the integer next to S x / ln 2, S the
STEPS to a power of two. Nothing is taken from x before: r = x - n ln(2)/S is exact in a fused product with the first word of
ln(2)/S (it has no more digits than x and that word), and the largest logit only gives the power of two by which all exponentials
of its row are made smaller. T is 2^(j/S) in its first word, j the last bits of n; the rest is what T (2^-24.5) and the first word
of ln(2)/S (2^-28.4 of x) lack.

Vectors of 512 bits have 32 powers in two registers. The largest r is ln(2)/64:

    e^r = (1 + r) (1 + w),  w = r^2 (1/2 - r/3 + ...):   high = T + T r,  low = (T - high) + T r + high (w + rest)

w < 2^-14 is found to 2^-37, and rounded to 2^-38. What is left out, w rest, is 2^-36 for the largest logits, and 2^-38 below 4.

With 256 bits there are four. The largest r is ln(2)/8, hence r^3/6 and q < 2^-13:

    s = r + r^2/2,  s + q = e^r - 1:   s is rounded; q holds what that took, and r^3/6 + ... to r^6/720
    T (1 + s + q):                     high = T + T s,  low = (T - high) + T s + high rest + T q

What is left out, T q rest, is 2^-35.6 for the largest logits, and 2^-37 below 20: some 2^-12 of a unit in the last place of the
result.

That holds for |x| < FARTHEST, and low is no subnormal number up to 2^-72 of the largest exponential. Rows that have anything else
are `misfits`; double precision takes them, row by row, whatever stands beside them.
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
from backproof.kernels.cpu.exponential import LN2, fused, has_fused, held, join, split
from backproof.kernels.cpu.lanes import constant, integers
from backproof.kernels.pointwise import LOG2E
from backproof.kernels.rows import vector_bytes

LANES = vector_bytes() // 4
STEPS = 32 if LANES == 16 else 4
DIGITS = STEPS.bit_length() - 1
SERIES = (0.1666666716337204, 0.0416666679084301, 0.008334822952747345, 0.0013890750706195831)  # 1/6 ...: 2^-38 of exp(r)
SHORT_SERIES = (0.5, -0.3333707153797150, 0.3750656843185425)  # of w: 2^-37
SHIFTER = 1.5 * 2.0**23  # a number of this size has its integer in the low bits
MIDDLE = 40  # the largest exponential is 2^40 to 2^41
FARTHEST = 64.0
SPREAD = 72 * STEPS  # steps down to which exponentials go: 2^-72


def _bits(number: float) -> int:
    return int(struct.unpack("<i", struct.pack("<f", number))[0])


def _rounded(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


STEPS_A_UNIT = STEPS * LOG2E
STEP = _rounded(LN2 / STEPS)
STEP_LOW = _rounded(LN2 / STEPS - STEP)
POWERS = [_rounded(2.0 ** (j / STEPS)) for j in range(STEPS)]
LACKING = [_rounded(2.0 ** (j / STEPS) / power - 1.0) for j, power in enumerate(POWERS)]
POWER_BITS = [_bits(power) - (j << (23 - DIGITS)) for j, power in enumerate(POWERS)]  # less j, which n brings along
LOWEST_BITS = _bits(SHIFTER) + STEPS * MIDDLE - SPREAD
HIGHEST = SPREAD + STEPS - 1


def two_words_for(kind: Any) -> bool:
    """Whether rows of these numbers are worked on in two words here."""
    is_here = LANES >= 8 and has_fused() and llvm.get_process_triple().startswith(("x86_64", "amd64"))
    return bool(is_here and kind == types.float32)


@intrinsic
def shift_for(typingctx: Any, top: Any) -> Any:
    """What moves n of the row's (or lane's) logits to where its powers of two begin: a multiple of four from SHIFTER."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0].type
        near = fused(builder, args[0], constant(vector, STEPS_A_UNIT), constant(vector, SHIFTER))
        whole = integers(vector)
        near = builder.bitcast(builder.and_(builder.bitcast(near, whole), constant(whole, -STEPS)), vector)
        return builder.fsub(constant(vector, 2 * SHIFTER + STEPS * MIDDLE), near)

    return top(top), codegen


def _chosen(builder: Any, table: list[Any], numbers: Any) -> Any:
    """table[the last bits] of each number."""
    vector = ir.VectorType(ir.FloatType(), LANES)
    words = ir.VectorType(ir.IntType(32) if isinstance(table[0], int) else ir.FloatType(), LANES)
    if STEPS == 2 * LANES:
        kind = ir.FunctionType(vector, [vector, numbers.type, vector])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpermi2var.ps.512")
        first, second = (held(builder, builder.bitcast(ir.Constant(words, table[i : i + LANES]), vector)) for i in (0, LANES))
        return builder.call(function, [first, numbers, second])
    kind = ir.FunctionType(vector, [vector, numbers.type])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx.vpermilvar.ps.256")
    return builder.call(function, [builder.bitcast(ir.Constant(words, table * (LANES // STEPS)), vector), numbers])


@intrinsic
def reduced_words(typingctx: Any, x: Any, shift: Any) -> Any:
    """The first half of the exponentials: r, rest and T times its power of two; and the shifted n."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts: tuple[list[Any], ...] = ([], [], [], [])
        for x, shift in zip(split(builder, args[0]), split(builder, args[1]), strict=True):
            vector = x.type
            whole = integers(vector)
            shifted = fused(builder, x, held(builder, constant(vector, STEPS_A_UNIT)), shift)
            n = builder.fsub(shifted, shift)
            bits = builder.bitcast(shifted, whole)
            r = fused(builder, n, held(builder, constant(vector, -STEP)), x)
            rest = fused(builder, n, held(builder, constant(vector, -STEP_LOW)), _chosen(builder, LACKING, bits))
            power = builder.bitcast(_chosen(builder, POWER_BITS, bits), whole)
            power = builder.bitcast(builder.add(power, builder.shl(bits, constant(whole, 23 - DIGITS))), vector)
            for part, made in zip(parts, (r, rest, power, shifted), strict=True):
                part.append(made)
        return context.make_tuple(builder, sig.return_type, [join(builder, part) for part in parts])

    return types.UniTuple(x, 4)(x, x), codegen


def _by_table(builder: Any, r: Any, rest: Any, power: Any) -> tuple[Any, Any]:
    """high and low with 32 powers."""
    start, middle, end = (held(builder, constant(r.type, number)) for number in SHORT_SERIES)
    w = fused(builder, r, fused(builder, r, end, middle), start)
    w = fused(builder, builder.fmul(r, r), w, rest)
    high = fused(builder, power, r, power)
    low = fused(builder, power, r, builder.fsub(power, high))
    return high, fused(builder, high, w, low)


def _by_series(builder: Any, r: Any, rest: Any, power: Any) -> tuple[Any, Any]:
    """high and low with four powers."""

    def number(value: float) -> Any:
        return constant(r.type, value)

    half, square = builder.fmul(r, number(0.5)), builder.fmul(r, r)
    series = [fused(builder, r, number(odd), number(even)) for even, odd in zip(SERIES[::2], SERIES[1::2], strict=True)]
    s = fused(builder, square, number(0.5), r)
    high = fused(builder, power, s, power)
    q = fused(builder, r, half, builder.fsub(r, s))
    q = fused(builder, builder.fmul(square, r), fused(builder, square, series[1], series[0]), q)
    low = fused(builder, power, s, builder.fsub(power, high))
    return high, fused(builder, power, q, fused(builder, high, rest, low))


@intrinsic
def powers_in_words(typingctx: Any, r: Any, rest: Any, power: Any) -> Any:
    """The second half: high and low."""
    made = _by_table if LANES == 16 else _by_series

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = [made(builder, *each) for each in zip(*(split(builder, row) for row in args), strict=True)]
        return context.make_tuple(builder, sig.return_type, [join(builder, list(part)) for part in zip(*parts, strict=True)])

    return types.UniTuple(r, 2)(r, r, r), codegen


@compiled(late=True)
def in_two_words(x: Any, shift: Any) -> tuple[Any, Any, Any]:
    """high, low, and the shifted n."""
    r, rest, power, shifted = reduced_words(x, shift)
    high, low = powers_in_words(r, rest, power)
    return high, low, shifted


@intrinsic
def farthest(typingctx: Any, reach: Any, shifted: Any) -> Any:
    """`reach`, an integer in each lane, or how far `shifted` is above the lowest n that is allowed, if that is more.

    What lies below counts as far above, as unsigned integers have it, and so does nan.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        reach = builder.bitcast(args[0], whole)
        here = builder.sub(builder.bitcast(args[1], whole), constant(whole, LOWEST_BITS))
        return builder.bitcast(builder.select(builder.icmp_unsigned(">", here, reach), here, reach), args[0].type)

    return reach(reach, shifted), codegen


@intrinsic
def strangest(typingctx: Any, reach: Any, shifted: Any) -> Any:
    """`reach` or `shifted`, whichever is more as an unsigned integer, for logits of which only nan may be amiss."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        reach, here = (builder.bitcast(arg, whole) for arg in args)
        return builder.bitcast(builder.select(builder.icmp_unsigned(">", here, reach), here, reach), args[0].type)

    return reach(reach, shifted), codegen


@intrinsic
def misfits(typingctx: Any, reach: Any, bounded: Any) -> Any:
    """The lanes that hold what is not allowed, as the bits of a number. `bounded`: it is `farthest` that has found the reach."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        high, top = (constant(whole, limit) for limit in (HIGHEST, _bits(2 * SHIFTER)))
        mask = builder.icmp_unsigned(">", builder.bitcast(args[0], whole), builder.select(args[1], high, top))
        return builder.zext(builder.bitcast(mask, ir.IntType(whole.count)), ir.IntType(64))

    return types.int64(reach, types.boolean), codegen


@intrinsic
def times_share(typingctx: Any, high: Any, low: Any, share: Any, share_low: Any) -> Any:
    """(high + low) (share + share_low), rounded once."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        high, low, share, share_low = args
        small = fused(builder, low, share, builder.fmul(high, share_low))
        return fused(builder, high, share, small)

    return high(high, high, high, high), codegen
