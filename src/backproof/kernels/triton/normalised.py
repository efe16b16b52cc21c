"""softmax, log-softmax and logsumexp: programs for a GPU, each for some rows."""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import exponentials, log_one_plus
from backproof.kernels.triton.rows import (
    NOTHING,
    across,
    of_sweeps,
    of_tile,
    others_of_sweeps,
    others_of_tile,
    places,
    probabilities,
    tamed,
    tile,
)


@triton.jit
def logarithms(x, top, log_s, AXIS: tl.constexpr):
    """log h_i = (z_i - z_k) - log1p(s)."""
    is_top = x == across(top, AXIS)
    at_top = across(tl.where(top == NOTHING, NOTHING, 0.0).to(tl.float64), AXIS)
    d = tl.where(is_top, at_top, x.to(tl.float64) - across(top, AXIS).to(tl.float64))
    return (d - across(log_s, AXIS)).to(tl.float32)


@triton.jit
def normalised(
    z,
    out,
    rows,
    inner,
    vectors,
    LOG: tl.constexpr,
    FINE: tl.constexpr,
    BITS: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """h_i, 0 throughout a row of -inf; or LOG, its logarithm."""
    classes = vectors * VECTOR
    _row, there, start, begin = places(rows, inner, classes, ROWS, AXIS)
    z += start
    out += start
    if WHOLE:
        _k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
        logits = tl.load(z + offsets, inside, NOTHING).to(tl.float32)
        e, top, largest, s = of_tile(logits, FINE, BITS, AXIS)
        if LOG:
            log_s = log_one_plus(others_of_tile(z, begin, there, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS))
            result = logarithms(logits, top, log_s, AXIS)
        else:
            once = tl.where(top == NOTHING, 0.0, 1.0).to(tl.float64)
            result = probabilities(e, largest, s, once, None, FINE, AXIS)
        tl.store(out + offsets, result, inside)
    else:
        top, largest, s = of_sweeps(z, begin, there, inner, classes, FINE, BITS, CLASSES, AXIS)
        if LOG:
            log_s = log_one_plus(others_of_sweeps(z, begin, there, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS))
        else:
            once = tl.where(top == NOTHING, 0.0, 1.0).to(tl.float64)
        for first in range(0, classes, CLASSES):
            _k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
            logits = tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_first").to(tl.float32)
            if LOG:
                result = logarithms(logits, top, log_s, AXIS)
            else:
                e = exponentials(tamed(logits, top, largest, AXIS), across(largest, AXIS), FINE)
                result = probabilities(e, largest, s, once, None, FINE, AXIS)
            tl.store(out + offsets, result, inside, eviction_policy="evict_first")


@triton.jit
def logsumexp(
    z,
    out,
    rows,
    inner,
    vectors,
    FINE: tl.constexpr,
    BITS: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """z_k + log1p(s)."""
    classes = vectors * VECTOR
    row, there, start, begin = places(rows, inner, classes, ROWS, AXIS)
    z += start
    if WHOLE:
        _k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
        _e, top, largest, s = of_tile(tl.load(z + offsets, inside, NOTHING).to(tl.float32), FINE, BITS, AXIS)
        s = others_of_tile(z, begin, there, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS)
    else:
        top, largest, s = of_sweeps(z, begin, there, inner, classes, FINE, BITS, CLASSES, AXIS)
        s = others_of_sweeps(z, begin, there, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS)
    tl.store(out + row, (top.to(tl.float64) + log_one_plus(s)).to(tl.float32), there)
