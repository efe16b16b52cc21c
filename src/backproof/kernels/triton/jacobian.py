"""The products with the Jacobians of softmax and log-softmax: programs for a GPU, each for some rows, whose classes are side by side.

Sums are in double precision, in an order that depends on the number of classes alone.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import DEEP, exponential
from backproof.kernels.triton.rows import NOTHING, places, tile


@triton.jit
def of_larger(h, u, other_h, other_u):
    """Of two pairs the one whose first is larger."""
    return tl.maximum(h, other_h), tl.where(h > other_h, u, other_u)


@triton.jit
def both_sums(a, b, c, d):
    return a + c, b + d


@triton.jit
def mean_of(products, sums):
    """<h, c> / <h, 1>; 0 for a row of zeros."""
    return products / tl.where(sums == 0.0, 1.0, sums)


@triton.jit
def softmax_product(h, u, out, rows, vectors, ROWS: tl.constexpr, CLASSES: tl.constexpr, WHOLE: tl.constexpr, VECTOR: tl.constexpr):
    """h (u - <h, u> / <h, 1>), u taken relative to its value where h is largest: see `reference.softmax_vjp`."""
    classes = vectors * VECTOR
    _row, there, begin = places(rows, 1, classes, ROWS, 1)
    if WHOLE:
        _k, offsets, inside = tile(begin, 0, there, 1, classes, CLASSES, 1)
        p, v = tl.load(h + offsets, inside, 0.0).to(tl.float32), tl.load(u + offsets, inside, NOTHING).to(tl.float32)
        _, at = tl.reduce((p, v), 1, of_larger)
        c = tl.where(inside, v.to(tl.float64) - at.to(tl.float64)[:, None], 0.0)
        wide = p.to(tl.float64)
        products, sums = tl.reduce((wide * c, wide), 1, both_sums)
        tl.store(out + offsets, (wide * (c - mean_of(products, sums)[:, None])).to(tl.float32), inside)
    else:
        best = tl.full((ROWS, CLASSES), -1.0, tl.float32)
        there_u = tl.full((ROWS, CLASSES), NOTHING, tl.float32)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, 1, classes, CLASSES, 1)
            p = tl.load(h + offsets, inside, 0.0, eviction_policy="evict_last").to(tl.float32)
            v = tl.load(u + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32)
            best, there_u = of_larger(p, v, best, there_u)
        _, at = tl.reduce((best, there_u), 1, of_larger)
        at = at.to(tl.float64)[:, None]
        products, sums = tl.zeros((ROWS, CLASSES), tl.float64), tl.zeros((ROWS, CLASSES), tl.float64)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, 1, classes, CLASSES, 1)
            p = tl.load(h + offsets, inside, 0.0, eviction_policy="evict_last").to(tl.float64)
            v = tl.load(u + offsets, inside, 0.0, eviction_policy="evict_last").to(tl.float64)
            products += p * tl.where(inside, v - at, 0.0)
            sums += p
        products, sums = tl.reduce((products, sums), 1, both_sums)
        mean = mean_of(products, sums)[:, None]
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, 1, classes, CLASSES, 1)
            p = tl.load(h + offsets, inside, 0.0, eviction_policy="evict_first").to(tl.float64)
            v = tl.load(u + offsets, inside, 0.0, eviction_policy="evict_first").to(tl.float64)
            tl.store(out + offsets, (p * ((v - at) - mean)).to(tl.float32), inside, eviction_policy="evict_first")


@triton.jit
def less_share(log_h, u, total, at_largest):
    """u_i - h_i sum(u); where h_i > 1/2, (1 - h_i) sum(u) - sum over j != i of u_j."""
    d = log_h.to(tl.float64)
    h = tl.where(d < -DEEP, 0.0, exponential(tl.where(d < -DEEP, 0.0, d)))
    wide = u.to(tl.float64)
    confident = (wide - total[:, None]) + at_largest[:, None]
    return tl.where(h > 0.5, confident, wide - h * total[:, None]).to(tl.float32)


@triton.jit
def share_of_others(largest, total):
    """(1 - h_k) sum(u), 1 - h_k = -expm1(log h_k) by exp(l) and its logarithm (Kahan; as `log_one_plus`)."""
    largest = largest.to(tl.float64)
    e = tl.exp(largest)
    ordinary = (e != 1.0) & (e > 0.0)
    less = tl.where(ordinary, (e - 1.0) * (largest / tl.log(tl.where(ordinary, e, 0.5))), tl.where(e > 0.0, largest, -1.0))
    return -less * total


@triton.jit
def log_softmax_product(log_h, u, out, rows, vectors, ROWS: tl.constexpr, CLASSES: tl.constexpr, WHOLE: tl.constexpr, VECTOR: tl.constexpr):
    """u - h sum(u): see `reference.log_softmax_vjp`. A row of -inf has 0."""
    classes = vectors * VECTOR
    _row, there, begin = places(rows, 1, classes, ROWS, 1)
    if WHOLE:
        _k, offsets, inside = tile(begin, 0, there, 1, classes, CLASSES, 1)
        x, v = tl.load(log_h + offsets, inside, NOTHING).to(tl.float32), tl.load(u + offsets, inside, 0.0).to(tl.float32)
        largest, total = tl.max(x, 1), tl.sum(v.to(tl.float64), 1)
        result = less_share(x, v, total, share_of_others(largest, total))
        tl.store(out + offsets, tl.where(largest[:, None] == NOTHING, 0.0, result), inside)
    else:
        largest = tl.full((ROWS, CLASSES), NOTHING, tl.float32)
        total = tl.zeros((ROWS, CLASSES), tl.float64)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, 1, classes, CLASSES, 1)
            largest = tl.maximum(largest, tl.load(log_h + offsets, inside, NOTHING, eviction_policy="evict_last").to(tl.float32))
            total += tl.load(u + offsets, inside, 0.0, eviction_policy="evict_last").to(tl.float64)
        largest, total = tl.max(largest, 1), tl.sum(total, 1)
        others = share_of_others(largest, total)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, 1, classes, CLASSES, 1)
            x = tl.load(log_h + offsets, inside, NOTHING, eviction_policy="evict_first").to(tl.float32)
            v = tl.load(u + offsets, inside, 0.0, eviction_policy="evict_first").to(tl.float32)
            result = tl.where(largest[:, None] == NOTHING, 0.0, less_share(x, v, total, others))
            tl.store(out + offsets, result, inside, eviction_policy="evict_first")
