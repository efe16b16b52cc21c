"""Cross-entropy of labels, with its gradient: a program for a GPU, for some rows. The gradient may take the logits' place."""
# mypy: disable-error-code="import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import triton
import triton.language as tl

from backproof.kernels.triton.exponentials import exponentials, log_one_plus
from backproof.kernels.triton.rows import ENDLESS, NOTHING, across, limit, of_sweeps, of_tile, places, probabilities, tile


@triton.jit
def distances(x, top, inside, AXIS: tl.constexpr):
    """The sum of z_k - z_i."""
    return tl.sum(tl.where(inside, across(top.to(tl.float64), AXIS) - x.to(tl.float64), 0.0), AXIS)


@triton.jit
def at_label(x, top, second, reference, s, share, FINE: tl.constexpr):
    """(z_k - z_y, h_y - 1): -s / (1 + s) where y is the largest."""
    distance = tl.where(x == top, 0.0, top.to(tl.float64) - x.to(tl.float64))
    h = exponentials(x, reference, FINE).to(tl.float64) * (share / (1.0 + s))
    return distance, tl.where(x > second, -s / (1.0 + s), h - 1.0)


@triton.jit
def slopes(
    k, x, e, second, s, share, label, at_label, factor, classes, FINE: tl.constexpr, SMOOTHING: tl.constexpr, AXIS: tl.constexpr
):
    """factor h_i, and `at_label` in its place at the label; with smoothing, factor times that of each class less."""
    spread = factor * (SMOOTHING / classes) if SMOOTHING != 0.0 else None
    result = probabilities(x, e, second, s, share, factor, spread, FINE, AXIS)
    return tl.where(k == across(label, AXIS), across(at_label.to(tl.float32), AXIS), result)


@triton.jit
def labelled(
    z,
    target,
    weight,
    scale,
    loss,
    grad,
    rows,
    inner,
    classes,
    ignored,
    IGNORE: tl.constexpr,
    WEIGHTED: tl.constexpr,
    SCALES: tl.constexpr,
    SMOOTHING: tl.constexpr,
    GRADIENT: tl.constexpr,
    FINE: tl.constexpr,
    ROWS: tl.constexpr,
    CLASSES: tl.constexpr,
    AXIS: tl.constexpr,
    WHOLE: tl.constexpr,
):
    """w_y (z_k - z_y + log1p(s)) of each row, and scale w_y (h - t). SCALES: 0 for none, 1 for one number, 2 for one a row.

    A row with the label `ignored`, or of scale 0, is not read: it has 0. A label that is no class makes loss and gradient nan.
    """
    row, there, begin = places(rows, inner, classes, ROWS, AXIS)
    label = tl.load(target + row, there, 0)
    counts, factor = there, tl.full((ROWS,), 1.0, tl.float64)
    if IGNORE:
        counts = counts & (label != ignored)
    if SCALES == 1:
        factor = factor * tl.load(scale)
    elif SCALES == 2:
        factor = tl.load(scale + row, there, 0.0)
    counts = counts & (factor != 0.0)
    is_class = (label >= 0) & (label < classes)
    weights = tl.full((ROWS,), 1.0, tl.float64)
    if WEIGHTED:
        weights = tl.load(weight + label, counts & is_class, 0.0)
    weights = tl.where(is_class, weights, float("nan"))
    chosen = tl.load(z + begin + label * inner, counts & is_class, 0.0).to(tl.float32)

    if WHOLE:
        k, offsets, inside = tile(begin, 0, counts, inner, classes, CLASSES, AXIS)
        x = tl.load(z + offsets, inside, NOTHING).to(tl.float32)
        greatest = tl.max(x, AXIS)
        x, e, top, second, s, share = of_tile(x, FINE, AXIS, CLASSES)
        reference = tl.where(second == NOTHING, 0.0, second)
    else:
        greatest, top, second, reference, s, share = of_sweeps(z, begin, counts, inner, classes, FINE, CLASSES, AXIS)
    chosen = tl.where(greatest == ENDLESS, tl.where(chosen == ENDLESS, 0.0, NOTHING), chosen)
    distance, less = at_label(chosen, top, second, reference, s, share, FINE)
    if SMOOTHING != 0.0:
        if WHOLE:
            away = distances(x, top, inside, AXIS)
        else:
            away = tl.zeros((ROWS,), tl.float64)
            for first in range(0, classes, CLASSES):
                k, offsets, inside = tile(begin, first, counts, inner, classes, CLASSES, AXIS)
                away += distances(limit(tl.load(z + offsets, inside, NOTHING).to(tl.float32), greatest, AXIS), top, inside, AXIS)
        value = log_one_plus(s) + (1.0 - SMOOTHING) * distance + away * SMOOTHING / classes
    else:
        value = log_one_plus(s) + distance
    value = tl.where(top == NOTHING, ENDLESS, value)
    value = tl.where(weights == 0.0, 0.0, value * weights)
    tl.store(loss + row, tl.where(counts, value, 0.0), there)

    if GRADIENT:
        factor = tl.where(counts & (top != NOTHING), factor * weights, 0.0)
        less += SMOOTHING - SMOOTHING / classes
        less = tl.where(factor == 0.0, 0.0, less * factor)
        if WHOLE:
            k, offsets, inside = tile(begin, 0, there, inner, classes, CLASSES, AXIS)
            result = slopes(k, x, e, second, s, share, label, less, factor, classes, FINE, SMOOTHING, AXIS)
            tl.store(grad + offsets, result, inside)
        else:
            for first in range(0, classes, CLASSES):
                k, offsets, inside = tile(begin, first, counts, inner, classes, CLASSES, AXIS)
                x = limit(tl.load(z + offsets, inside, NOTHING, eviction_policy="evict_first").to(tl.float32), greatest, AXIS)
                e = exponentials(x, across(reference, AXIS), FINE)
                result = slopes(k, x, e, second, s, share, label, less, factor, classes, FINE, SMOOTHING, AXIS)
                k, offsets, inside = tile(begin, first, there, inner, classes, CLASSES, AXIS)
                tl.store(grad + offsets, result, inside, eviction_policy="evict_first")
