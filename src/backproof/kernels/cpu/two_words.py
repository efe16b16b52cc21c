"""Exponentials of a row in single precision as two words, high + low: for vectors of 256 bits.

In double precision such a vector holds four numbers, and its products and conversions are what softmax waits for; two words in
single precision take about as many operations for eight. exp(x) = 2^(n/4) e^r with n the integer next to 4 x / ln 2. Nothing is
taken from x before: r = x - n ln(2)/4 is exact in a fused product with the first word of ln(2)/4 (it has no more digits than x and
that word), and the largest logit only gives the power of two by which all exponentials of its row are made smaller.

    s = r + r^2/2,  s + q = e^r - 1:   s is rounded; q holds what that took, and r^3/6 + ... to r^6/720
    T (1 + s + q):                     high = T + T s,  low = (T - high) + T s + high rest + T q

T is 2^(j/4) in its first word, j the last two bits of n; the rest is what T and the second word of ln(2)/4 lack, n 2^-31 at most.
The largest r is ln(2)/8, hence r^3/6 and q < 2^-13. What is left out, T q rest, is 2^-35.6 for the largest logits, and 2^-37 below
20: some 2^-12 of a unit in the last place of the result.

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
from backproof.kernels.cpu.exponential import LN2, fused, has_fused, join, split
from backproof.kernels.cpu.lanes import constant, integers
from backproof.kernels.pointwise import LOG2E
from backproof.kernels.rows import vector_bytes

LANES, STEPS = 8, 4
SERIES = (0.1666666716337204, 0.0416666679084301, 0.008334822952747345, 0.0013890750706195831)  # 1/6 ...: 2^-38 of exp(r)
SHIFTER = 1.5 * 2.0**23  # a number of this size has its integer in the low bits
MIDDLE = 40  # the largest exponential is 2^40 to 2^41
FARTHEST = 64.0
SPREAD = 288  # quarters of powers of two down to which exponentials go: 2^-72


def _bits(number: float) -> int:
    return int(struct.unpack("<i", struct.pack("<f", number))[0])


def _rounded(number: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", number))[0])


STEPS_A_UNIT = STEPS * LOG2E
QUARTER = _rounded(LN2 / STEPS)
QUARTER_LOW = _rounded(LN2 / STEPS - QUARTER)
POWERS = [_rounded(2.0 ** (j / STEPS)) for j in range(STEPS)]
LACKING = [_rounded(2.0 ** (j / STEPS) / power - 1.0) for j, power in enumerate(POWERS)]
POWER_BITS = [_bits(power) - (j << 21) for j, power in enumerate(POWERS)]  # less j, which n brings along
LOWEST_BITS = _bits(SHIFTER) + STEPS * MIDDLE - SPREAD
HIGHEST = SPREAD + STEPS - 1


def two_words_for(kind: Any) -> bool:
    """Whether rows of these numbers are worked on in two words here."""
    is_here = vector_bytes() == 4 * LANES and has_fused() and llvm.get_process_triple().startswith(("x86_64", "amd64"))
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
    """table[lowest two bits] of each number."""
    vector = ir.VectorType(ir.FloatType(), LANES)
    entries = table * (LANES // STEPS)
    words = ir.Constant(numbers.type if isinstance(table[0], int) else vector, entries)
    name = "llvm.x86.avx.vpermilvar.ps.256"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector, numbers.type]), name)
    return builder.call(function, [builder.bitcast(words, vector), numbers])


@intrinsic
def reduced_words(typingctx: Any, x: Any, shift: Any) -> Any:
    """The first half of the exponentials: r, rest and T times its power of two; and the shifted n."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts: tuple[list[Any], ...] = ([], [], [], [])
        for x, shift in zip(split(builder, args[0]), split(builder, args[1]), strict=True):
            vector = x.type
            whole = integers(vector)
            shifted = fused(builder, x, constant(vector, STEPS_A_UNIT), shift)
            n = builder.fsub(shifted, shift)
            bits = builder.bitcast(shifted, whole)
            r = fused(builder, n, constant(vector, -QUARTER), x)
            rest = fused(builder, n, constant(vector, -QUARTER_LOW), _chosen(builder, LACKING, bits))
            power = builder.bitcast(_chosen(builder, POWER_BITS, bits), whole)
            power = builder.bitcast(builder.add(power, builder.shl(bits, constant(whole, 21))), vector)
            for part, made in zip(parts, (r, rest, power, shifted), strict=True):
                part.append(made)
        return context.make_tuple(builder, sig.return_type, [join(builder, part) for part in parts])

    return types.UniTuple(x, 4)(x, x), codegen


@intrinsic
def powers_in_words(typingctx: Any, r: Any, rest: Any, power: Any) -> Any:
    """The second half: high and low."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts: tuple[list[Any], ...] = ([], [])
        for r, rest, power in zip(*(split(builder, row) for row in args), strict=True):
            vector = r.type

            def number(value: float) -> Any:
                return constant(vector, value)  # noqa: B023

            half, square = builder.fmul(r, number(0.5)), builder.fmul(r, r)
            series = [fused(builder, r, number(odd), number(even)) for even, odd in zip(SERIES[::2], SERIES[1::2], strict=True)]
            s = fused(builder, square, number(0.5), r)
            high = fused(builder, power, s, power)
            q = fused(builder, r, half, builder.fsub(r, s))
            q = fused(builder, builder.fmul(square, r), fused(builder, square, series[1], series[0]), q)
            low = fused(builder, power, s, builder.fsub(power, high))
            low = fused(builder, power, q, fused(builder, high, rest, low))
            parts[0].append(high)
            parts[1].append(low)
        return context.make_tuple(builder, sig.return_type, [join(builder, part) for part in parts])

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
def misfits(typingctx: Any, reach: Any) -> Any:
    """The lanes that hold more than is allowed, as the bits of a number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        mask = builder.icmp_unsigned(">", builder.bitcast(args[0], whole), constant(whole, HIGHEST))
        return builder.zext(builder.bitcast(mask, ir.IntType(whole.count)), ir.IntType(64))

    return types.int64(reach), codegen


@intrinsic
def times_share(typingctx: Any, high: Any, low: Any, share: Any, share_low: Any) -> Any:
    """(high + low) (share + share_low), rounded once."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        high, low, share, share_low = args
        small = fused(builder, low, share, builder.fmul(high, share_low))
        return fused(builder, high, share, small)

    return high(high, high, high, high), codegen
