"""The products with the Jacobians of softmax and log-softmax: programs for a GPU, each for some rows.

Sums of numbers of either sign are sums of integers too, in units that the largest magnitude sets, so that they have the same bits
in any order; in rows with an infinity or nan, differences beyond single precision, or an h above 1, they are sums of numbers.
"""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import DEEP, exponential
from backproof.kernels.triton.rows import NOTHING, REST, SPLIT, across, counted, joined, larger, many, places, tile

LARGEST = tl.constexpr(3.0e38)
SMALLEST = tl.constexpr(2.0**-120)
EXPONENT = tl.constexpr(0x7FF0000000000000)


@triton.jit
def ends(h, next_h, u, high, low, other_h, other_next, other_u, other_high, other_low):
    """Of two parts of a row: the two largest |h|, the first nan if one is; u at the largest, the larger one if that is twice there;
    the largest u, and the largest -u."""
    other = tl.where(h == other_h, tl.maximum(u, other_u), other_u)
    following = tl.maximum(tl.minimum(h, other_h), tl.maximum(next_h, other_next))
    return larger(h, other_h), following, tl.where(h > other_h, u, other), larger(high, other_high), larger(low, other_low)


@triton.jit
def plus_both(a, b, c, d):
    return a + c, b + d


@triton.jit
def plus_all(a, b, c, d, e, f, g, h):
    return a + e, b + f, c + g, d + h


@triton.jit
def magic_of(bound, BITS: tl.constexpr):
    """1.5 2^52 units, a unit being 2^(2 - BITS) of the power of two below `bound`, which no magnitude exceeds."""
    power = (bound.to(tl.float64) + SMALLEST).to(tl.int64, bitcast=True) & EXPONENT
    return power.to(tl.float64, bitcast=True) * (1.5 * 2.0 ** (54 - BITS))


@triton.jit
def of_units(count, magic):
    """`count` units as what they are units of."""
    return count.to(tl.float64) * (magic * (2.0**-52 / 1.5))


@triton.jit
def pair(h, u, begin, first, there, inner, classes, CLASSES: tl.constexpr, AXIS: tl.constexpr):
    """Two tiles, 0 and -inf where there is nothing; offsets and mask."""
    _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
    p = tl.load(h + offsets, inside, 0.0).to(tl.float32)
    return p, tl.load(u + offsets, inside, NOTHING).to(tl.float32), offsets, inside


@triton.jit
def relative(v, at, inside, AXIS: tl.constexpr):
    """u - u_k in double precision."""
    return tl.where(inside, v.to(tl.float64) - across(at, AXIS).to(tl.float64), 0.0)


@triton.jit
def mean_of(products, sums, best):
    """<h, c> / <h, 1>; 0 for a row of zeros, nan if an h is."""
    return tl.where(best == best, products / tl.where(sums == 0.0, 1.0, sums), best)


@triton.jit
def softmax_product(
    h,
    u,
    out,
    rows,
    inner,
    vectors,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    BITS: tl.constexpr,
    WHOLE: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """h (u - <h, u> / <h, 1>), u taken relative to its value where h is largest: see `reference.softmax_vjp`."""
    classes = vectors * VECTOR
    _row, there, start, begin = places(rows, inner, classes, ROWS, AXIS)
    h += start
    u += start
    out += start
    p, v, offsets, inside = pair(h, u, begin, 0, there, inner, classes, CLASSES, AXIS)
    zeros = tl.zeros(p.shape, tl.float32)
    best, second, value, high, low = tl.abs(p), zeros, v, v, tl.where(inside, -v, NOTHING)
    if not WHOLE:
        for first in range(CLASSES, classes, CLASSES):
            p, v, offsets, inside = pair(h, u, begin, first, there, inner, classes, CLASSES, AXIS)
            best, second, value, high, low = ends(
                tl.abs(p), zeros, v, v, tl.where(inside, -v, NOTHING), best, second, value, high, low
            )
    best, second, at, high, low = tl.reduce((best, second, value, high, low), AXIS, ends)
    # c is 0 where h is largest, so that no product is more than this
    bound = second * larger(high - at, low + at)
    ordinary = (bound < LARGEST) & (best <= 1.0)
    magic, one = magic_of(bound, BITS), magic_of(tl.full((ROWS,), 1.0, tl.float32), BITS)
    if WHOLE:
        c, wide = relative(v, at, inside, AXIS), p.to(tl.float64)
        products, sums = tl.reduce((counted(wide * c, across(magic, AXIS)), counted(wide, across(one, AXIS))), AXIS, plus_both)
        products, sums = of_units(products, magic), of_units(sums, one)
        if tl.min(ordinary.to(tl.int32)) == 0:
            products = tl.where(ordinary, products, tl.sum(wide * c, AXIS))
            sums = tl.where(ordinary, sums, tl.sum(wide, AXIS))
        mean = mean_of(products, sums, best)
        tl.store(out + offsets, (wide * (c - across(mean, AXIS))).to(tl.float32), inside)
    else:
        products, sums = tl.zeros(p.shape, tl.int64), tl.zeros(p.shape, tl.int64)
        for first in range(0, classes, CLASSES):
            p, v, offsets, inside = pair(h, u, begin, first, there, inner, classes, CLASSES, AXIS)
            c, wide = relative(v, at, inside, AXIS), p.to(tl.float64)
            products += counted(wide * c, across(magic, AXIS))
            sums += counted(wide, across(one, AXIS))
        parts = (products >> SPLIT, products & REST, sums >> SPLIT, sums & REST)
        high, low, high_sum, low_sum = tl.reduce(parts, AXIS, plus_all)
        products, sums = of_units(joined(high, low), magic), of_units(joined(high_sum, low_sum), one)
        if tl.min(ordinary.to(tl.int32)) == 0:
            plain, plain_sums = tl.zeros((ROWS,), tl.float64), tl.zeros((ROWS,), tl.float64)
            for first in range(0, classes, CLASSES):
                p, v, offsets, inside = pair(h, u, begin, first, there, inner, classes, CLASSES, AXIS)
                plain += tl.sum(p.to(tl.float64) * relative(v, at, inside, AXIS), AXIS)
                plain_sums += tl.sum(p.to(tl.float64), AXIS)
            products, sums = tl.where(ordinary, products, plain), tl.where(ordinary, sums, plain_sums)
        mean = mean_of(products, sums, best)
        for first in range(0, classes, CLASSES):
            p, v, offsets, inside = pair(h, u, begin, first, there, inner, classes, CLASSES, AXIS)
            result = p.to(tl.float64) * (relative(v, at, inside, AXIS) - across(mean, AXIS))
            tl.store(out + offsets, result.to(tl.float32), inside, eviction_policy="evict_first")


@triton.jit
def share_of_others(largest, total):
    """(1 - h_k) sum(u), 1 - h_k = -expm1(log h_k) by exp(l) and its logarithm (Kahan; as `log_one_plus`)."""
    largest = largest.to(tl.float64)
    e = tl.exp(largest)
    ordinary = (e != 1.0) & (e > 0.0)
    less = tl.where(ordinary, (e - 1.0) * (largest / tl.log(tl.where(ordinary, e, 0.5))), tl.where(e > 0.0, largest, -1.0))
    return -less * total


@triton.jit
def less_share(x, v, largest, total, others, AXIS: tl.constexpr):
    """u_i - h_i sum(u); where h_i > 1/2, (1 - h_i) sum(u) - sum over j != i of u_j; 0 in a row of -inf."""
    d, wide, total = x.to(tl.float64), v.to(tl.float64), across(total, AXIS)
    h = tl.where(d < -DEEP, 0.0, exponential(tl.where(d < -DEEP, 0.0, d)))
    result = tl.where(h > 0.5, (wide - total) + across(others, AXIS), wide - h * total).to(tl.float32)
    return tl.where(across(largest, AXIS) == NOTHING, 0.0, result)


@triton.jit
def log_softmax_product(
    log_h,
    u,
    out,
    rows,
    inner,
    vectors,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    BITS: tl.constexpr,
    WHOLE: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """u - h sum(u): see `reference.log_softmax_vjp`."""
    classes = vectors * VECTOR
    _row, there, start, begin = places(rows, inner, classes, ROWS, AXIS)
    log_h += start
    u += start
    out += start
    v, x, offsets, inside = pair(u, log_h, begin, 0, there, inner, classes, CLASSES, AXIS)
    largest, bound = x, tl.abs(v)
    if not WHOLE:
        for first in range(CLASSES, classes, CLASSES):
            v, x, offsets, inside = pair(u, log_h, begin, first, there, inner, classes, CLASSES, AXIS)
            largest, bound = tl.maximum(largest, x), larger(bound, tl.abs(v))
    largest, bound = tl.max(largest, AXIS), tl.reduce(bound, AXIS, larger)
    ordinary = bound < LARGEST
    if WHOLE:
        magic, wide = magic_of(bound, BITS), v.to(tl.float64)
        total = of_units(tl.sum(counted(wide, across(magic, AXIS)), AXIS), magic)
        if tl.min(ordinary.to(tl.int32)) == 0:
            total = tl.where(ordinary, total, tl.sum(wide, AXIS))
        tl.store(out + offsets, less_share(x, v, largest, total, share_of_others(largest, total), AXIS), inside)
    else:
        magic, count, plain = magic_of(bound, BITS), tl.zeros(v.shape, tl.int64), tl.zeros((ROWS,), tl.float64)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
            count += counted(tl.load(u + offsets, inside, 0.0).to(tl.float64), across(magic, AXIS))
        total = of_units(many(count, AXIS), magic)
        if tl.min(ordinary.to(tl.int32)) == 0:
            for first in range(0, classes, CLASSES):
                _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
                plain += tl.sum(tl.load(u + offsets, inside, 0.0).to(tl.float64), AXIS)
            total = tl.where(ordinary, total, plain)
        others = share_of_others(largest, total)
        for first in range(0, classes, CLASSES):
            v, x, offsets, inside = pair(u, log_h, begin, first, there, inner, classes, CLASSES, AXIS)
            result = less_share(x, v, largest, total, others, AXIS)
            tl.store(out + offsets, result, inside, eviction_policy="evict_first")
