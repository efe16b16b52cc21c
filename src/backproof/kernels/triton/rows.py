"""The exponentials of rows and their sum, for a tile of rows, or for tiles of one row after the other.

A tile is (rows, classes) if AXIS is 1, and (classes, rows) if it is 0, where neighbouring rows are neighbours in memory. With z_k the
largest logit and z_j the next (the same, if the largest is there twice), exponentials are those of z_i - z_j, and of the largest
itself none is needed:

    s = exp(z_j - z_k) sum over i != k of exp(z_i - z_j)        h_i = exp(z_i - z_j) share,  share = exp(z_j - z_k) / (1 + s)
    h_k = 1 / (1 + s)

The sum is one of integers, in units of 2^-51: it has the same bits in any order, and is as accurate for a confident row as for any.
+inf is the limit: 0 in place of each, -inf elsewhere. The largest is nan if there is a nan in the row.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import DEEP, RAISED, exponential, exponentials

NOTHING, ENDLESS = tl.constexpr(float("-inf")), tl.constexpr(float("inf"))
MAGIC = tl.constexpr(3.0)  # 1.5 * 2^(52 - 51): a number up to 1 that is added to it has its units in the low bits
UNIT = tl.constexpr(2.0**-51)
RAISE = tl.constexpr(2.0**RAISED.value)
MAGIC_RAISED, UNIT_RAISED = tl.constexpr(6.0 * RAISE.value), tl.constexpr(2.0**-50 * RAISE.value)  # a number up to 2 RAISE
SPLIT, REST, HIGH_UNIT = (
    tl.constexpr(24),
    tl.constexpr(2**24 - 1),
    tl.constexpr(2.0**24),
)  # a sum too large for 64 bits has two parts
MOST = tl.constexpr(4096)  # classes whose sum is not too large


@triton.jit
def across(of_rows, AXIS: tl.constexpr):
    """One number a row, as something that meets a tile."""
    return tl.expand_dims(of_rows, AXIS)


@triton.jit
def places(rows, inner, classes, ROWS: tl.constexpr, AXIS: tl.constexpr):
    """The rows of this program: their numbers, which of them there are, and where each begins. Its classes are `inner` apart."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    begin = row * classes if AXIS == 1 else (row // inner) * inner * classes + row % inner
    return row, row < rows, begin


@triton.jit
def tile(begin, first, there, inner, classes, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """(classes, offsets, mask) of CLASSES classes from `first` on, for rows that begin at `begin`, where they are `there`."""
    k = tl.expand_dims(first + tl.arange(0, CLASSES), 1 - AXIS)
    offsets = across(begin, AXIS) + (k if AXIS == 1 else k.to(tl.int64) * inner)
    return k, offsets, across(there, AXIS) & (k < classes)


@triton.jit
def two_largest(a, next_a, b, next_b):
    """Of two pairs; nan, if it is in one, is the largest."""
    largest = tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
    return largest, tl.maximum(tl.minimum(a, b), tl.maximum(next_a, next_b))


@triton.jit
def pair_of(x, AXIS: tl.constexpr):
    return tl.reduce((x, tl.full(x.shape, NOTHING, tl.float32)), AXIS, two_largest)


@triton.jit
def limit(x, top, AXIS: tl.constexpr):
    """The row, if its largest logit is +inf: what it is in the limit."""
    if tl.max(top) == ENDLESS:
        x = tl.where(across(top, AXIS) == ENDLESS, tl.where(x == ENDLESS, 0.0, NOTHING), x)
    return x


@triton.jit
def finite(top, second):
    """Both, in the limit; and the second as something to be taken from others, if there is none."""
    second = tl.where(top == ENDLESS, tl.where(second == ENDLESS, 0.0, NOTHING), second)
    return tl.where(top == ENDLESS, 0.0, top), second, tl.where(second == NOTHING, 0.0, second)


@triton.jit
def units(e, FINE: tl.constexpr):
    """Exponentials as integers: what a number of MAGIC's size has in its low bits."""
    magic = tl.full((1, 1), MAGIC if FINE else MAGIC_RAISED, tl.float64)
    return (e.to(tl.float64) + magic).to(tl.int64, bitcast=True) - magic.to(tl.int64, bitcast=True)


@triton.jit
def summed(count, AXIS: tl.constexpr, MANY: tl.constexpr):
    """The sum of integers along the classes, in double precision; MANY: it may be too large for 64 bits."""
    if MANY:
        total = tl.sum(count >> SPLIT, AXIS).to(tl.float64) * HIGH_UNIT + tl.sum(count & REST, AXIS).to(tl.float64)
    else:
        total = tl.sum(count, AXIS).to(tl.float64)
    return total


@triton.jit
def normaliser(top, second, reference, sum_of_units, FINE: tl.constexpr):
    """(s, what exponentials are multiplied with to be those of z_i - z_k). Where the largest is there twice it is in the sum."""
    total = sum_of_units * (UNIT if FINE else UNIT_RAISED)
    gap = second.to(tl.float64) - top.to(tl.float64)
    share = tl.where(gap >= -DEEP, exponential(tl.where(gap >= -DEEP, gap, 0.0)), 0.0)
    if not FINE:
        one = 1.0 / exponentials(reference, reference, FINE).to(tl.float64)
        total, share = total * one, share * one
        s = tl.where(second == top, total - 1.0, share * (sum_of_units * UNIT_RAISED))
    else:
        s = tl.where(second == top, total - 1.0, share * total)
    s = tl.where(top == NOTHING, 0.0, s)
    return tl.where(top == top, s, top), share


@triton.jit
def of_tile(x, FINE: tl.constexpr, AXIS: tl.constexpr, CLASSES: tl.constexpr):
    """(x in the limit, exponentials, z_k, z_j, s, what those are multiplied with) of rows that are here whole, -inf beyond their end."""
    top, second = pair_of(x, AXIS)
    x = limit(x, top, AXIS)
    top, second, reference = finite(top, second)
    e = exponentials(x, across(reference, AXIS), FINE)
    s, share = normaliser(top, second, reference, summed(units(e, FINE), AXIS, CLASSES > MOST), FINE)
    return x, e, top, second, s, share


@triton.jit
def of_sweeps(z, begin, there, inner, classes, FINE: tl.constexpr, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """(the largest, +inf or not, then z_k, z_j, its reference, s, what exponentials are multiplied with) of longer rows: one sweep for the two largest of
    each place of the tile, one for the sum."""
    k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
    largest = tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32)
    following = tl.full(largest.shape, NOTHING, tl.float32)
    for first in range(CLASSES, classes, CLASSES):
        k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
        x = tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32)
        following = tl.maximum(following, tl.minimum(largest, x))
        largest = tl.maximum(largest, x, propagate_nan=tl.PropagateNan.ALL)
    greatest, second = tl.reduce((largest, following), AXIS, two_largest)
    top, second, reference = finite(greatest, second)
    count = tl.zeros(largest.shape, tl.int64)
    for first in range(0, classes, CLASSES):
        k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
        x = limit(tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32), greatest, AXIS)
        count += units(exponentials(x, across(reference, AXIS), FINE), FINE)
    s, share = normaliser(top, second, reference, summed(count, AXIS, True), FINE)
    return greatest, top, second, reference, s, share


@triton.jit
def probabilities(x, e, second, s, share, times, less, FINE: tl.constexpr, AXIS: tl.constexpr):
    """times h_i - less, two factors of each row in double precision (None: 1 and 0), in single at least. A row of -inf has no
    exponentials, and none that is more than the second."""
    one = 1.0 / (1.0 + s)
    if times is None:
        largest, factor, second_factor = one, share * one, 1.0 / RAISE
    else:
        largest, factor, second_factor = one * times, share * one * times, across((times / RAISE).to(tl.float32), AXIS)
    if FINE:
        others = e * across(factor, AXIS)
    else:  # one after the other: the product of both may be a subnormal number
        others = e * across((share * one * RAISE).to(tl.float32), AXIS) * second_factor
    if less is not None:
        others, largest = others - across(less, AXIS), largest - less
    return tl.where(x > across(second, AXIS), across(largest.to(tl.float32), AXIS), others.to(tl.float32))
