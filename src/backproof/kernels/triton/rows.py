"""The exponentials of rows and their sum, for a tile of rows, or for tiles of longer rows one after the other.

A tile is (rows, classes) if AXIS is 1, and (classes, rows) if it is 0, where neighbouring rows are neighbours in memory. With z_k
the largest logit, s = sum over i != k of exp(z_i - z_k), h_i = exp(z_i - z_k) / (1 + s).

The sum is one of integers, the largest included, in units of 2^-51 of that: it has the same bits in any order, and an error of
n 2^-52. That is enough for h. Where s itself is wanted, and is so small that it is not, in confident rows, it is formed once more,
of the others relative to the largest of them.

Rows with a logit of 2^24 or more are made relative to it beforehand, which is exact for all that count, and makes +inf the limit: 0
in place of each, -inf elsewhere. The largest is nan if there is a nan in the row.
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import DEEP, RAISE, exponential, exponentials, one_of, reciprocal

NOTHING = tl.constexpr(float("-inf"))
HUGE = tl.constexpr(2.0**24)
HALF = tl.constexpr(0.5)
SPLIT, REST, HIGH_UNIT = tl.constexpr(24), tl.constexpr(2**24 - 1), tl.constexpr(2.0**24)  # two parts of what 64 bits cannot hold


@triton.jit
def across(of_rows, AXIS: tl.constexpr):
    """One number a row, as something that meets a tile."""
    return tl.expand_dims(of_rows, AXIS)


@triton.jit
def places(rows, inner, classes, ROWS: tl.constexpr, AXIS: tl.constexpr):
    """The rows of this program: their numbers, which of them there are, where the first begins, and where, from there, each.

    Its classes are `inner` apart. If that is more than 1, a program's rows are of one group, next to each other.
    """
    i = tl.arange(0, ROWS)
    if AXIS == 1:
        first = tl.program_id(0).to(tl.int64) * ROWS
        there, start, begin = first + i < rows, first * classes, i * classes
    else:
        parts = tl.cdiv(inner, ROWS)
        group, skipped = (tl.program_id(0) // parts).to(tl.int64), tl.program_id(0) % parts * ROWS
        first = group * inner + skipped
        there, start, begin = skipped + i < inner, group * inner * classes + skipped, i
    return first + i, there, start, begin


@triton.jit
def tile(begin, first, there, inner, classes, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """(classes, offsets, mask) of CLASSES classes from `first` on, for rows that begin at `begin`, where they are `there`."""
    k = tl.expand_dims(first + tl.arange(0, CLASSES), 1 - AXIS)
    offsets = across(begin, AXIS) + (k if AXIS == 1 else k * inner)
    return k, offsets, across(there, AXIS) & (k < classes)


@triton.jit
def larger(a, b):
    """nan, if one is."""
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def tamed(x, top, largest, AXIS: tl.constexpr):
    """x, or where the row's largest logit is HUGE, x relative to it. `largest`: of these, what `tame` makes of them."""
    if tl.max(tl.abs(top)) >= HUGE:
        relative = tl.where(x == across(top, AXIS), 0.0, x - across(top, AXIS))
        x = tl.where(across(top, AXIS) == across(largest, AXIS), x, relative)
    return x


@triton.jit
def tame(top):
    """The largest, 0 where it is HUGE: of a row of -inf throughout, too, whose probabilities its caller makes 0."""
    return tl.where(tl.abs(top) >= HUGE, 0.0, top)


@triton.jit
def unit(FINE: tl.constexpr, BITS: tl.constexpr):
    """What is counted: 2^-BITS of the largest; twice as much where its exponential may be twice RAISE."""
    return 0.5**BITS if FINE else 0.5 ** (BITS - 1) * RAISE


@triton.jit
def counted(p, magic):
    """Numbers as integers: what `magic`, 1.5 2^52 units, has in its low bits when they are added to it."""
    return (p + magic).to(tl.int64, bitcast=True) - magic.to(tl.int64, bitcast=True)


@triton.jit
def units(e, FINE: tl.constexpr, BITS: tl.constexpr):
    """Exponentials as integers."""
    return counted(e.to(tl.float64), tl.full((1, 1), 1.5 * 2.0**52 * unit(FINE, BITS), tl.float64))


@triton.jit
def of_units(total, largest, FINE: tl.constexpr, BITS: tl.constexpr):
    """The sum over the exponential of the largest."""
    total = total * unit(FINE, BITS)
    return total if FINE else total * reciprocal(one_of(largest, FINE))


@triton.jit
def joined(high, low):
    """Two parts of a sum in double precision."""
    return high.to(tl.float64) * HIGH_UNIT + low.to(tl.float64)


@triton.jit
def many(count, AXIS: tl.constexpr):
    """The sum of integers along the classes that 64 bits may not hold."""
    return joined(tl.sum(count >> SPLIT, AXIS), tl.sum(count & REST, AXIS))


@triton.jit
def is_sure(s, classes, FINE: tl.constexpr, BITS: tl.constexpr):
    """Whether the error, half a unit a class, is less than 2^-34 of s; where that asks for more than a half, it is enough."""
    return ~((s < HALF) & (s < classes * (unit(FINE, BITS) * (2.0**33 if FINE else 2.0**33 / RAISE))))


@triton.jit
def reference_of(second):
    """The largest of the others, as something that can be taken from them: 0 where there are none."""
    return tl.where(second == NOTHING, 0.0, second)


@triton.jit
def rescaled(total, second, largest):
    """The sum relative to the second, relative to the largest."""
    return total * exponential(tl.maximum(second.to(tl.float64) - largest.to(tl.float64), -DEEP))


@triton.jit
def of_tile(x, FINE: tl.constexpr, BITS: tl.constexpr, AXIS: tl.constexpr):
    """(exponentials, the largest as it was and tamed, s) of rows that are here whole, -inf beyond their end."""
    top = tl.reduce(x, AXIS, larger)
    largest = tame(top)
    x = tamed(x, top, largest, AXIS)
    e = exponentials(x, across(largest, AXIS), FINE)
    s = of_units(tl.sum(units(e, FINE, BITS), AXIS).to(tl.float64), largest, FINE, BITS) - 1.0
    return e, top, largest, tl.where(top == top, s, top)


@triton.jit
def others(z, begin, first, there, top, largest, inner, classes, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """A tile, with -inf in the largest's place."""
    _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
    x = tamed(tl.load(z + offsets, inside, NOTHING).to(tl.float32), top, largest, AXIS)
    return tl.where(x == across(largest, AXIS), NOTHING, x)


@triton.jit
def others_of_tile(
    z,
    begin,
    there,
    top,
    largest,
    s,
    inner,
    classes,
    FINE: tl.constexpr,
    BITS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
):
    """s, as accurate for a confident row as for any. Logits are read again: to keep them would cost all rows registers."""
    sure = is_sure(s, classes, FINE, BITS)
    if tl.min(sure.to(tl.int32)) == 0:
        x = others(z, begin, 0, there, top, largest, inner, classes, CLASSES, AXIS)
        second = tl.max(x, AXIS)
        reference = reference_of(second)
        count = tl.sum(units(exponentials(x, across(reference, AXIS), FINE), FINE, BITS), AXIS)
        total = of_units(count.to(tl.float64), reference, FINE, BITS)
        s = tl.where(sure, s, rescaled(total, second, largest))
    return s


@triton.jit
def of_sweeps(z, begin, there, inner, classes, FINE: tl.constexpr, BITS: tl.constexpr, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """(the largest as it was and tamed, s) of longer rows: a sweep for each."""
    _k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
    top = tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32)
    for first in range(CLASSES, classes, CLASSES):
        _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
        top = larger(top, tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32))
    count = tl.zeros(top.shape, tl.int64)
    top = tl.reduce(top, AXIS, larger)
    largest = tame(top)
    for first in range(0, classes, CLASSES):
        _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
        x = tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32)
        x = tamed(x, top, largest, AXIS)
        count += units(exponentials(x, across(largest, AXIS), FINE), FINE, BITS)
    s = of_units(many(count, AXIS), largest, FINE, BITS) - 1.0
    return top, largest, tl.where(top == top, s, top)


@triton.jit
def others_of_sweeps(
    z,
    begin,
    there,
    top,
    largest,
    s,
    inner,
    classes,
    FINE: tl.constexpr,
    BITS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
):
    """`others_of_tile`, by two sweeps more. For one tile that would be the same, but its loops cost the program registers."""
    sure = is_sure(s, classes, FINE, BITS)
    if tl.min(sure.to(tl.int32)) == 0:
        second = others(z, begin, 0, there, top, largest, inner, classes, CLASSES, AXIS)
        for first in range(CLASSES, classes, CLASSES):
            second = tl.maximum(second, others(z, begin, first, there, top, largest, inner, classes, CLASSES, AXIS))
        count = tl.zeros(second.shape, tl.int64)
        second = tl.max(second, AXIS)
        reference = reference_of(second)
        for first in range(0, classes, CLASSES):
            x = others(z, begin, first, there, top, largest, inner, classes, CLASSES, AXIS)
            count += units(exponentials(x, across(reference, AXIS), FINE), FINE, BITS)
        total = of_units(many(count, AXIS), reference, FINE, BITS)
        s = tl.where(sure, s, rescaled(total, second, largest))
    return s


@triton.jit
def probabilities(e, largest, s, times, less, FINE: tl.constexpr, AXIS: tl.constexpr):
    """times h_i - less, both of each row and in double precision: in single precision at least."""
    share = reciprocal(1.0 + s)
    if FINE:
        h = e * across(share * times, AXIS)
        if less is not None:
            h -= across(less, AXIS)
    else:  # one after the other: the product of all may be a subnormal number
        near_one = (share * reciprocal(one_of(largest, FINE)) * RAISE).to(tl.float32)
        h = e * across(near_one, AXIS) * across((times / RAISE).to(tl.float32), AXIS)
        if less is not None:
            h -= across(less.to(tl.float32), AXIS)
    return h.to(tl.float32)
