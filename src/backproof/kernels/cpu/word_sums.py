"""Sums of exponentials in two words that do not depend on their order: exact_sum.py in 32 bits.

The largest exponential is 2^40 to 2^40.99, a little less for a first word just below its power. With 2^41 added and read as an
integer, an exponential is a constant plus units of 2^18; what that leaves of high + low is added likewise in units of 2^-4, and
what that leaves, where it counts, in units of 2^-26. COUNT additions and two more keep within 32 bits. The largest exponential is
among the numbers; it is taken away from the sums, which is exact.

Two sums have an error of n 2^-44.6 of the largest: less than 2^-34.6 of what is wanted, where that is SURE_BY_TWO n of the largest
or more. Softmax wants the sum with the largest, and for 1,024 classes two are always enough; the other functions want the others'
alone. With the third sum the error is n 2^-66 of the largest: less than 2^-34 where it is SURE n of the largest, or more. Of more
confident rows the sum is formed once again, without the largest, in double precision. It is the row's own sums that decide.
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
FIRST, SECOND, THIRD = 2.0**41, 1.5 * 2.0**19, 1.5 * 2.0**-3
TO_SECOND, TO_THIRD, UNIT = 2.0**22, 2.0**22, 2.0**-26  # units of the next kind in one of this; the last unit
SURE_BY_TWO, SURE, SURE_AGAIN = 2.0**-10, 2.0**-32, 2.0**-62  # the last for sums in double precision


@compiled(late=True)
def add_words(sums: Any, constants: Any, high: Any, low: Any, fine: bool) -> Any:
    """The three `sums` and one row more, the constants being FIRST, SECOND and THIRD in every lane; the third sum if `fine`.

    high is raised first, then low is added: what that leaves of high is a number of single precision, exactly. (What their sum,
    raised, leaves is none where high is just below half a unit and the sum above.) What the second leaves is exact but for 2^-28.
    """
    raised = (high + constants[0]) + low
    left = high - (raised - constants[0])
    raised_left = (left + low) + constants[1]
    sums = (add_bits(sums[0], raised), add_bits(sums[1], raised_left), sums[2])
    if fine:
        third = ((left - (raised_left - constants[1])) + low) + constants[2]
        return sums[0], sums[1], add_bits(sums[2], third)
    return sums


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
