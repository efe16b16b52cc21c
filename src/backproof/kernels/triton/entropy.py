"""Cross-entropy of labels, with its gradient: a program for a GPU, for some rows. The gradient may take the logits' place."""
# mypy: disable-error-code="no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import exponentials, one_of, reciprocal
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
def distances(x, top, inside, AXIS: tl.constexpr):
    """The sum of z_k - z_i."""
    d = tl.where(x == across(top, AXIS), 0.0, across(top, AXIS).to(tl.float64) - x.to(tl.float64))
    return tl.sum(tl.where(inside, d, 0.0), AXIS)


@triton.jit
def of_label(chosen, top, largest, s, FINE: tl.constexpr):
    """(z_k - z_y, h_y - 1) in double precision: h_y - 1 is -s / (1 + s) if that is the largest."""
    is_top, share = chosen == top, reciprocal(1.0 + s)
    distance = tl.where(is_top, 0.0, top.to(tl.float64) - chosen.to(tl.float64))
    chosen = tl.where(top == largest, chosen, tl.where(is_top, 0.0, chosen - top))
    h = exponentials(chosen, largest, FINE).to(tl.float64) * share * reciprocal(one_of(largest, FINE))
    return distance, tl.where(is_top, -s * share, h - 1.0)


@triton.jit
def slopes(k, e, largest, s, label, at_label, factor, spread, FINE: tl.constexpr, AXIS: tl.constexpr):
    """factor h_i - spread, and `at_label` in its place at the label."""
    result = probabilities(e, largest, s, factor, spread, FINE, AXIS)
    return tl.where(k == across(label, AXIS), across(at_label.to(tl.float32), AXIS), result)


@triton.jit
def labelled(
    z,
    target,
    weight,
    scale,
    others,
    distance,
    grad,
    rows,
    inner,
    vectors,
    ignored,
    IGNORE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SCALES: tl.constexpr,
    SMOOTHING: tl.constexpr,
    GRADIENT: tl.constexpr,
    FINE: tl.constexpr,
    BITS: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """s and t . (z_k - z) of each row, whose loss is w_y (log1p(s) + the latter), and the gradient scale w_y (h - t).

    SCALES: 0 for none, 1 for one divisor, 2 for a factor a row. A row with the label `ignored`, or of factor 0, is not read and
    has 0. A label that is no class makes loss and gradient nan.
    """
    classes = vectors * VECTOR
    row, there, start, begin = places(rows, inner, classes, ROWS, AXIS)
    z += start
    if GRADIENT:
        grad += start
    label = tl.load(target + row, there, 0)
    counts, factor = there, tl.full((ROWS,), 1.0, tl.float64)
    if IGNORE:
        counts = counts & (label != ignored)
    if SCALES == 1:
        factor = factor / tl.load(scale).to(tl.float64)
    elif SCALES == 2:
        factor = tl.load(scale + row, there, 0.0)
    counts = counts & (factor != 0.0)
    is_class = (label >= 0) & (label < classes)
    if WEIGHTED:
        factor = factor * tl.load(weight + label, counts & is_class, 0.0)
    chosen = tl.load(z + begin + label * inner, counts & is_class, 0.0).to(tl.float32)
    chosen = tl.where(is_class, chosen, float("nan"))

    if WHOLE:
        k, offsets, inside = tile(begin, 0, counts, inner, classes, CLASSES, AXIS)
        logits = tl.load(z + offsets, inside, NOTHING).to(tl.float32)
        e, top, largest, s = of_tile(logits, FINE, BITS, AXIS)
        exact = others_of_tile(z, begin, counts, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS)
    else:
        top, largest, s = of_sweeps(z, begin, counts, inner, classes, FINE, BITS, CLASSES, AXIS)
        exact = others_of_sweeps(z, begin, counts, top, largest, s, inner, classes, FINE, BITS, CLASSES, AXIS)
    away, less = of_label(chosen, top, largest, exact, FINE)
    if SMOOTHING != 0.0:
        if WHOLE:
            all_away = distances(logits, top, inside, AXIS)
        else:
            all_away = tl.zeros((ROWS,), tl.float64)
            for first in range(0, classes, CLASSES):
                k, offsets, inside = tile(begin, first, counts, inner, classes, CLASSES, AXIS)
                all_away += distances(tl.load(z + offsets, inside, NOTHING).to(tl.float32), top, inside, AXIS)
        away = (1.0 - SMOOTHING) * away + all_away * SMOOTHING / classes
        even = tl.full((1,), SMOOTHING, tl.float64) / classes
        less += SMOOTHING - even
    masked = top == NOTHING
    tl.store(others + row, tl.where(counts & ~masked, exact, 0.0), there)
    tl.store(distance + row, tl.where(counts, tl.where(masked, float("inf"), away), 0.0), there)

    if GRADIENT:
        factor = tl.where(counts & ~masked, tl.where(is_class, factor, float("nan")), 0.0)
        less = tl.where(factor == 0.0, 0.0, less * factor)
        spread = factor * even if SMOOTHING != 0.0 else None
        if WHOLE:
            k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
            tl.store(grad + offsets, slopes(k, e, largest, s, label, less, factor, spread, FINE, AXIS), inside)
        else:
            for first in range(0, classes, CLASSES):
                k, offsets, inside = tile(begin, first, counts, inner, classes, CLASSES, AXIS)
                x = tamed(tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_first").to(tl.float32), top, largest, AXIS)
                result = slopes(
                    k, exponentials(x, across(largest, AXIS), FINE), largest, s, label, less, factor, spread, FINE, AXIS
                )
                k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
                tl.store(grad + offsets, result, inside, eviction_policy="evict_first")


@triton.jit
def times(x, factor, numbers, blocks, BLOCK: tl.constexpr):
    """x times the factor in its place, which takes no time if that is 1."""
    f = tl.load(factor)
    if f != 1.0:
        for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
            i = tl.full((1,), BLOCK, tl.int64) * block + tl.arange(0, BLOCK)
            inside = i < numbers
            tl.store(x + i, tl.load(x + i, inside, 0.0) * f, inside)
