"""weight / (1 + s) as two words, so that weight e / (1 + s) takes one rounding beyond that of e, and no division in the loop."""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

from numba import types

from backproof.kernels.compiled import compiled, intrinsic
from backproof.kernels.cpu.exponential import fused
from backproof.kernels.cpu.lanes import constant, every, is_double_type, lanes_of, product
from backproof.kernels.rows import total


@intrinsic
def shares(typingctx: Any, like: Any, weights: Any, s: Any) -> Any:
    """Lane by lane weight / (1 + s) and, in double precision, what its roundings (of the sum and the quotient) took."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, weight, s = args
        one = constant(s.type, 1.0)
        whole = builder.fadd(s, one)
        share = builder.fdiv(weight, whole)
        rest = constant(s.type, 0.0)
        if is_double_type(sig.args[0]):
            back = builder.fsub(whole, s)
            low = builder.fadd(builder.fsub(s, builder.fsub(whole, back)), builder.fsub(one, back))
            minus = builder.fneg(share)
            left = fused(builder, minus, low, fused(builder, minus, whole, weight))
            rest = builder.fdiv(left, whole)
        return context.make_tuple(builder, sig.return_type, [share, rest])

    return types.UniTuple(s, 2)(like, s, s), codegen


@intrinsic
def scaled(typingctx: Any, like: Any, row: Any, share: Any, rest: Any) -> Any:
    """e times what `shares` has found; single precision is rounded once more anyway, and needs no rest."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, e, share, rest = args
        if is_double_type(sig.args[0]):
            return fused(builder, e, share, builder.fmul(e, rest))
        return builder.fmul(e, share)

    return row(like, row, row, row), codegen


@compiled()
def share_of_row(like: Any, weight: float, s: float) -> tuple[float, float]:
    """`shares` of one row: by the same vector operations, hence with the same bits."""
    share, rest = shares(like, every(like, weight), every(like, s))
    return total(share) / lanes_of(like), total(rest) / lanes_of(like)


@compiled()
def label_slope(s: float, e: float, d: float, weight: float, share: float, rest: float) -> float:
    """weight (h - 1) at the label, e the label's exponential and d its distance to the largest logit.

    Where the label is the largest, minus the others' share; elsewhere h is at most 1/2, and nothing cancels.
    """
    if d == 0.0:
        return -(product(s, share) + product(s, rest))
    return (product(e, share) + product(e, rest)) - weight
