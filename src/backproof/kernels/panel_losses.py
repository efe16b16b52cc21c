"""Losses of the compiled step, on one panel of scores: the value of each example, and the gradient in place of the scores.

The formulas are those of reference.py, in double precision, rounded once (for single precision the exponentials have 38 bits). For
softmax with cross-entropy, k the largest score, d_i = z_i - z_k, s = sum over i != k of exp(d_i), T = sum(t):

    loss = T log1p(s) + sum_i t_i (-d_i)
    g_i = T exp(d_i) / (1 + s) - t_i        g_k = (sum over j != k of t_j) - T s / (1 + s)

where g_k is written without the cancellation in T h_k - t_k: for a confident right answer it is -s / (1 + s). Smoothing e and
class weights c make targets q into t_i = base_i + own_i q_i, base_i = c_i e / classes and own_i = c_i (1 - e), which stand in the
scratch from f0 on, base before own. Examples lie along the vector lanes, so that even three classes fill the vectors. A nan in the
scores of an example makes its loss nan.
"""

from __future__ import annotations

import math

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.exponential import exponentials
from backproof.kernels.pointwise import log1p_positive
from backproof.kernels.rows import load, load_wide, splat_wide, store, where_equal, where_greater, wide, width_of

LABELS, PROBABILITIES, BINARY, SQUARED = range(4)
ROWS = 6  # of scratch behind the exponentials
CODES = {"softmax_cross_entropy": LABELS, "sigmoid_binary_cross_entropy": BINARY, "half_squared_error": SQUARED}


@compiled(inline=True)
def clear_rest(z: Array, z0: int, outputs: int, count: int) -> None:
    """Zeros in the lanes of a panel that hold no example: the weights' gradients are summed over whole panels."""
    width = width_of(z)
    for c in range(outputs):
        for lane in range(count, width):
            put(z, z0 + c * width + lane, 0)


@compiled()
def shifted_exponentials(z: Array, z0: int, classes: int, scratch: Array, e0: int) -> None:
    """To scratch: the exponentials [class, lane] from e0 on, then four rows: the largest score, its class, s, log1p(s).

    Behind them is room for ROWS - 4 more.
    """
    width = width_of(z)
    behind = e0 + classes * width
    top = wide(load(z, z0))
    zero = splat_wide(z, 0.0)
    which, others = zero, zero
    for c in range(1, classes):
        score = wide(load(z, z0 + c * width))
        which = where_greater(score, top, splat_wide(z, float(c)), which)
        top = where_greater(score, top, score, top)
    for c in range(classes):
        e = exponentials(get(z, z0), wide(load(z, z0 + c * width)), top)
        store(scratch, e0 + c * width, e)
        others += where_equal(which, splat_wide(z, float(c)), zero, e)
    store(scratch, behind, top)
    store(scratch, behind + width, which)
    store(scratch, behind + 2 * width, others)
    store(scratch, behind + 3 * width, log1p_positive(others))


@compiled()
def softmax_labels(
    z: Array, z0: int, classes: int, labels: Array, n0: int, count: int, weights: Array, scratch: Array, e0: int, f0: int
) -> float:
    """Softmax with cross-entropy against labels: t_i = base_i, and own_i more at the label, whose g alone could cancel."""
    width = width_of(z)
    behind = e0 + classes * width
    shifted_exponentials(z, z0, classes, scratch, e0)
    top, which = load_wide(scratch, behind, z), load_wide(scratch, behind + width, z)
    zero = splat_wide(z, 0.0)
    spread, lost, rest = 0.0, zero, zero  # sums of the bases, of what they cost, of those beside the largest score
    for c in range(classes):
        base = get(scratch, f0 + c)
        if base != 0.0:
            spread += base
            lost += (top - wide(load(z, z0 + c * width))) * base
            rest += where_equal(which, splat_wide(z, float(c)), zero, splat_wide(z, base))
    store(scratch, behind + 4 * width, lost)
    store(scratch, behind + 5 * width, rest)
    sum_of_rows = 0.0
    for lane in range(width):
        mass, share = 0.0, 0.0
        if lane < count:
            label, w = get(labels, n0 + lane), get(weights, n0 + lane)
            own = get(scratch, f0 + classes + label)
            mass = spread + own
            sum_of_rows += w * (
                mass * get(scratch, behind + 3 * width + lane)
                + own * (get(scratch, behind + lane) - get(z, z0 + label * width + lane))
                + get(scratch, behind + 4 * width + lane)
            )
            share = w / (1.0 + get(scratch, behind + 2 * width + lane))
        put(scratch, behind + lane, mass)
        put(scratch, behind + 4 * width + lane, share)
    mass_row, above = load_wide(scratch, behind, z), load_wide(scratch, behind + 2 * width, z) + 1.0
    for c in range(classes):  # (1 + s) times the gradient, before what the label adds
        store(scratch, e0 + c * width, load_wide(scratch, e0 + c * width, z) * mass_row - above * get(scratch, f0 + c))
    for lane in range(count):
        label, s = get(labels, n0 + lane), get(scratch, behind + 2 * width + lane)
        at = e0 + label * width + lane
        if get(scratch, behind + width + lane) == label:
            put(scratch, at, get(scratch, behind + 5 * width + lane) * (1.0 + s) - get(scratch, behind + lane) * s)
        else:
            put(scratch, at, get(scratch, at) - get(scratch, f0 + classes + label) * (1.0 + s))
    shares = load_wide(scratch, behind + 4 * width, z)
    for c in range(classes):
        store(z, z0 + c * width, load_wide(scratch, e0 + c * width, z) * shares)
    return sum_of_rows


@compiled()
def softmax_probabilities(
    z: Array, z0: int, classes: int, targets: Array, n0: int, count: int, weights: Array, scratch: Array, e0: int, f0: int
) -> float:
    """Softmax with cross-entropy against probabilities (or any weights) q: t_i = base_i + own_i q_i; where t = 0, no cost."""
    width = width_of(z)
    behind = e0 + classes * width
    shifted_exponentials(z, z0, classes, scratch, e0)
    sum_of_rows = 0.0
    for lane in range(count):
        w, s = get(weights, n0 + lane), get(scratch, behind + 2 * width + lane)
        largest = np.int64(get(scratch, behind + width + lane))
        mass, rest, lost = 0.0, 0.0, 0.0
        for c in range(classes):
            t = get(scratch, f0 + c) + get(scratch, f0 + classes + c) * get(targets, (n0 + lane) * classes + c)
            mass += t
            if c != largest:
                rest += t
            if t != 0.0:
                lost += t * (get(scratch, behind + lane) - get(z, z0 + c * width + lane))
        sum_of_rows += w * (mass * get(scratch, behind + 3 * width + lane) + lost)
        share = mass / (1.0 + s)
        for c in range(classes):
            t = get(scratch, f0 + c) + get(scratch, f0 + classes + c) * get(targets, (n0 + lane) * classes + c)
            put(
                z,
                z0 + c * width + lane,
                w * (rest - share * s if c == largest else share * get(scratch, e0 + c * width + lane) - t),
            )
    clear_rest(z, z0, classes, count)
    return sum_of_rows


@compiled()
def sigmoid_binary(z: Array, z0: int, outputs: int, targets: Array, n0: int, count: int, weights: Array) -> float:
    """t softplus(-z) + (1 - t) softplus(z), summed over the outputs; gradient (1 - t) s(z) - t s(-z), exact at either end."""
    width = width_of(z)
    sum_of_rows = 0.0
    for lane in range(count):
        lost = 0.0
        for c in range(outputs):
            at = z0 + c * width + lane
            score, t = np.float64(get(z, at)), np.float64(get(targets, (n0 + lane) * outputs + c))
            e = math.exp(-abs(score))
            near, far = 1.0 / (1.0 + e), e / (1.0 + e)
            up, down = (near, far) if score >= 0 else (far, near)
            both = math.log1p(e)
            if t != 0.0:
                lost += t * (both - (0.0 if score >= 0 else score))
            if t != 1.0:
                lost += (1.0 - t) * (both + (score if score >= 0 else 0.0))
            put(z, at, get(weights, n0 + lane) * ((1.0 - t) * up - t * down))
        sum_of_rows += get(weights, n0 + lane) * lost
    clear_rest(z, z0, outputs, count)
    return sum_of_rows


@compiled()
def half_squared(z: Array, z0: int, outputs: int, targets: Array, n0: int, count: int, weights: Array) -> float:
    """sum of (z - t)^2 / 2; gradient z - t."""
    width = width_of(z)
    sum_of_rows = 0.0
    for lane in range(count):
        lost = 0.0
        for c in range(outputs):
            at = z0 + c * width + lane
            d = np.float64(get(z, at)) - get(targets, (n0 + lane) * outputs + c)
            lost += 0.5 * d * d
            put(z, at, get(weights, n0 + lane) * d)
        sum_of_rows += get(weights, n0 + lane) * lost
    clear_rest(z, z0, outputs, count)
    return sum_of_rows
