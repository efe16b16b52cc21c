"""Sums of exponentials in two words that do not depend on their order: exact_sum.py in 32 bits.

The largest exponential is 2^40 to 2^41. With 2^42 added and read as an integer, an exponential is a constant plus units of 2^19;
what that leaves of high + low is added likewise in units of 2^-2, and what that leaves, where it counts, in units of 2^-24. COUNT
additions and one more keep within 32 bits. The largest exponential is among the numbers; it is taken away from the sums, which is
exact.

Softmax needs the sum beside the largest, and for FEW classes two sums are enough: n 2^-43 of it. The sum of the others alone has an
error of n 2^-66 of the largest: less than 2^-34 of it where it is SURE n of the largest, or more. Of more confident rows it is
formed once again, without the largest, in double precision.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

from numba import types

from backproof.kernels.compiled import compiled, intrinsic
from backproof.kernels.cpu.integers import add_bits
from backproof.kernels.cpu.lanes import integers
from backproof.kernels.rows import Row, spread

COUNT = 256
FIRST, SECOND, THIRD = 2.0**42, 1.5 * 2.0**21, 1.5 * 2.0**-1
TO_SECOND, TO_THIRD, UNIT = 2.0**21, 2.0**22, 2.0**-24  # units of the next kind in one of this; the last unit
FEW = 1024
SURE, SURE_AGAIN = 2.0**-32, 2.0**-62  # the latter for sums in double precision


@compiled(late=True)
def add_words(sums: Any, constants: Any, high: Any, low: Any, fine: bool) -> Any:
    """The three `sums` and one row more, the constants being FIRST, SECOND and THIRD in every lane; the third sum if `fine`."""
    near = high + low
    raised = near + constants[0]
    if fine:
        left, rest = near - (raised - constants[0]), (high - near) + low
        raised_left = (left + rest) + constants[1]
        third = ((left - (raised_left - constants[1])) + rest) + constants[2]
        return add_bits(sums[0], raised), add_bits(sums[1], raised_left), add_bits(sums[2], third)
    left = (high - (raised - constants[0])) + low
    return add_bits(sums[0], raised), add_bits(sums[1], left + constants[1]), sums[2]


@intrinsic
def units(typingctx: Any, count: Any, constants: Any, times: Any) -> Any:
    """What `times` additions to each lane have come to, without the constants: integers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        times = args[2] if whole.element.width == 64 else builder.trunc(args[2], whole.element)
        constants = builder.mul(spread(builder, times, whole), builder.bitcast(args[1], whole))
        return builder.bitcast(builder.sub(builder.bitcast(args[0], whole), constants), args[0].type)

    return count(count, constants, types.int64), codegen


@intrinsic
def difference(typingctx: Any, units: Any, others: Any) -> Any:
    """units - others, integers, in double precision."""
    to = Row(types.float64, units.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        whole = integers(args[0].type)
        left = builder.sub(*(builder.bitcast(arg, whole) for arg in args))
        return builder.sitofp(left, to.vector)

    return to(units, units), codegen


@compiled()
def added(first: Any, second: Any, third: Any) -> Any:
    """The sum from its three: numbers, or rows of them, of units in double precision. Only the additions round."""
    return ((first * TO_SECOND + second) * TO_THIRD + third) * UNIT
