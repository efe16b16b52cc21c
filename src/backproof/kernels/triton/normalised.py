"""softmax, log-softmax and logsumexp: programs for a GPU, each for some rows."""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import exponentials, log_one_plus
from backproof.kernels.triton.rows import NOTHING, across, limit, of_sweeps, of_tile, places, probabilities, tile


@triton.jit
def logarithms(x, top, s, AXIS: tl.constexpr):
    """log h_i = (z_i - z_k) - log1p(s)."""
    top = tl.where(top == NOTHING, 0.0, top).to(tl.float64)
    return ((x.to(tl.float64) - across(top, AXIS)) - across(log_one_plus(s), AXIS)).to(tl.float32)


@triton.jit
def normalised(
    z,
    out,
    rows,
    inner,
    classes,
    LOG: tl.constexpr,
    FINE: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    _, there, begin = places(rows, inner, classes, ROWS, AXIS)
    if WHOLE:
        k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
        x = tl.load(z + offsets, inside, NOTHING).to(tl.float32)
        x, e, top, second, s, share = of_tile(x, FINE, AXIS, CLASSES)
        result = logarithms(x, top, s, AXIS) if LOG else probabilities(x, e, second, s, share, None, None, FINE, AXIS)
        tl.store(out + offsets, result, inside)
    else:
        greatest, top, second, reference, s, share = of_sweeps(z, begin, there, inner, classes, FINE, CLASSES, AXIS)
        for first in range(0, classes, CLASSES):
            k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
            x = limit(tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_first").to(tl.float32), greatest, AXIS)
            if LOG:
                result = logarithms(x, top, s, AXIS)
            else:
                e = exponentials(x, across(reference, AXIS), FINE)
                result = probabilities(x, e, second, s, share, None, None, FINE, AXIS)
            tl.store(out + offsets, result, inside, eviction_policy="evict_first")


@triton.jit
def summed_up(
    z,
    out,
    rows,
    inner,
    classes,
    FINE: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """logsumexp: z_k + log1p(s), in double precision."""
    row, there, begin = places(rows, inner, classes, ROWS, AXIS)
    if WHOLE:
        k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
        x = tl.load(z + offsets, inside, NOTHING).to(tl.float32)
        greatest = tl.max(x, AXIS)
        _, _, top, _, s, _ = of_tile(x, FINE, AXIS, CLASSES)
    else:
        greatest, top, _, _, s, _ = of_sweeps(z, begin, there, inner, classes, FINE, CLASSES, AXIS)
    tl.store(out + row, tl.where(greatest == float("inf"), greatest, top + log_one_plus(s)), there)
