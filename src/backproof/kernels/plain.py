"""The softmax family for few numbers: plain NumPy in double precision, with what keeps the digits of a confident row, no more.

Layers and losses call these for small arrays, where a compiled kernel gains nothing and must be compiled first. What the formulas
are and where they come from: reference.py, which carries every rounding besides.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backproof.arrays import Array, widened
from backproof.kernels.reference_losses import Options


class Exponentials(NamedTuple):
    """The shifted row: d, exp(d), where the maximum is (one entry a row), and s, the sum of the other exponentials."""

    shifted: Array  # d, in double precision or complex
    exponentials: Array  # exp(d); 0 throughout a row of -inf
    largest: Array  # boolean, one True a row
    others: Array  # s, kept dimension
    empty: Array | None  # rows of -inf throughout, kept dimension; None where there are none


def exponentials(z: Array, axis: int) -> Exponentials:
    z = widened(z)
    k = np.argmax(z.real, axis=axis, keepdims=True)
    top = np.take_along_axis(z, k, axis)
    empty = None
    if np.isfinite(top).all():
        d = z - top
    else:  # the limits; inf - inf would be nan
        top_real = top.real
        empty = top_real == -np.inf
        with np.errstate(invalid="ignore"):
            d = np.where(top_real == np.inf, np.where(z.real == np.inf, 0.0, z - np.inf), z - np.where(empty, 0.0, top))
    e = np.exp(d)
    largest = np.zeros(z.shape, dtype=bool)
    np.put_along_axis(largest, k, True, axis)
    s = np.sum(np.where(largest, 0.0, e), axis=axis, keepdims=True)
    if empty is not None and not empty.any():
        empty = None
    return Exponentials(d, e, largest, s, empty)


def softmax(z: Array, axis: int = -1) -> Array:
    """h_i = exp(z_i) / sum_j exp(z_j) along `axis`."""
    return _probabilities(exponentials(z, axis)).astype(z.dtype, copy=False)


def _probabilities(row: Exponentials) -> Array:
    return row.exponentials / (1 + row.others)  # a row of -inf: exponentials 0, so 0 / 1


def log_softmax(z: Array, axis: int = -1) -> Array:
    """log h_i = d_i - log1p(s) along `axis`."""
    row = exponentials(z, axis)
    return np.asarray(row.shifted - np.log1p(row.others)).astype(z.dtype, copy=False)


def softmax_vjp(h: Array, upstream: Array, axis: int = -1) -> Array:
    """J^T u = h * (u - <h, u>), the product with the softmax Jacobian J_ij = h_i (delta_ij - h_j) (Bridle 1990).

    J is symmetric, so this is the forward-mode product too. J annihilates constants; u is therefore centred on its value at the
    largest h first, which keeps a common offset of u from swallowing the digits, and the entry at the largest h is formed as
    -h_k m without cancellation:  c = u - u_k,  m = sum over j != k of h_j c_j,  g_i = h_i (c_i - m),  g_k = -h_k m.
    """
    h64, u64 = widened(h), widened(upstream)
    k = np.argmax(h64.real, axis=axis, keepdims=True)
    c = u64 - np.take_along_axis(u64, k, axis)
    m = np.sum(h64 * c, axis=axis, keepdims=True)  # c_k = 0
    return np.asarray(h64 * (c - m)).astype(np.result_type(h, upstream), copy=False)


def log_softmax_vjp(log_h: Array, upstream: Array, axis: int = -1) -> Array:
    """J^T u = u - h sum(u): the Jacobian of log-softmax is I - 1 h^T. A row of -inf throughout has a gradient of 0."""
    u64 = widened(upstream)
    g = u64 - np.exp(widened(log_h)) * np.sum(u64, axis=axis, keepdims=True)
    masked = np.max(log_h.real, axis=axis, keepdims=True, initial=-np.inf) == -np.inf
    if masked.any():
        g = np.where(masked, 0.0, g)
    return g.astype(np.result_type(log_h, upstream), copy=False)


def log_softmax_jvp(log_h: Array, tangent: Array, axis: int = -1) -> Array:
    """J t = t - <h, t>."""
    t64 = widened(tangent)
    g = t64 - np.sum(np.exp(widened(log_h)) * t64, axis=axis, keepdims=True)
    return g.astype(np.result_type(log_h, tangent), copy=False)


def cross_entropy_rows(z: Array, t: Array) -> tuple[Array, Array]:
    """-sum_i t_i log h_i of each row of the last axis, and its gradient T h - t with T = sum(t); both in double precision.

    The loss is T log1p(s) + sum_i t_i (-d_i): every term is >= 0, so nothing cancels; terms with t_i = 0 count as 0 even where
    h_i = 0. The gradient at the largest logit is written as (sum over j != k of t_j) - T s / (1 + s), which is T h_k - t_k with
    the cancellation done by hand: for the right class it is -s / (1 + s), exact however confident the prediction.
    """
    row = exponentials(z, -1)
    t = widened(t)
    total = np.sum(t, axis=-1, keepdims=True)
    counts = t != 0
    d = np.where(counts, row.shifted, 0.0)
    lost = -np.sum(np.where(counts, t * d, 0.0), axis=-1)
    if row.empty is None:
        value = total[..., 0] * np.log1p(row.others[..., 0]) + lost
    else:  # a masked class with target mass costs +inf, also where all classes are masked; no mass costs nothing
        value = np.where(total[..., 0] == 0, 0.0, total[..., 0] * np.log1p(row.others[..., 0]) + lost)
    others = np.sum(np.where(row.largest, 0.0, t), axis=-1, keepdims=True)
    gradient = np.where(row.largest, others - total * row.others / (1 + row.others), total * _probabilities(row) - t)
    if row.empty is not None:
        gradient = np.where(row.empty, 0.0, gradient)
    return value, gradient


def label_cross_entropy_rows(z: Array, labels: Array) -> tuple[Array, Array]:
    """`cross_entropy_rows` for the targets "1 at the label, 0 elsewhere", without forming them.

    log1p(s) - d_y and h with its entry at the label reduced by 1: -s / (1 + s) where the label is the largest logit; elsewhere
    h_y <= 1/2, and h_y - 1 loses nothing.
    """
    rows = widened(z).reshape(-1, z.shape[-1])
    y, n = labels.reshape(-1), np.arange(len(rows))
    k = rows.argmax(axis=1)
    top = rows[n, k]
    if not np.isfinite(top).all():
        targets = np.zeros(rows.shape)
        targets[n, y] = 1.0
        value, gradient = cross_entropy_rows(rows, targets)
    else:
        d = rows - top[:, None]
        gradient = np.exp(d)
        gradient[n, k] = 0.0
        s = gradient.sum(axis=1)
        gradient[n, k] = 1.0
        gradient /= (1 + s)[:, None]
        gradient[n, y] = np.where(y == k, -s / (1 + s), gradient[n, y] - 1.0)
        value = np.log1p(s) - d[n, y]
    return value.reshape(labels.shape), gradient.reshape(z.shape)


def cross_entropy(z: Array, target: Array, options: Options) -> tuple[Array, Array]:
    """Values (N,) and gradients (N, C), both double, for labels (N,) or probabilities (N, C); of the options, those of a loss:
    class_weight, ignore_index, label_smoothing."""
    weight, ignore, smoothing = options.class_weight, options.ignore_index, options.label_smoothing
    kept = np.ones(len(z), dtype=bool) if ignore is None or target.ndim == 2 else target != ignore
    if target.ndim == 1 and not smoothing:
        labels = np.where(kept, target, 0)
        values, gradients = label_cross_entropy_rows(z, labels)
        if weight is not None:
            values, gradients = values * weight[labels], gradients * weight[labels][:, None]
    else:
        dense = target.astype(np.float64) if target.ndim == 2 else np.eye(z.shape[1])[np.where(kept, target, 0)]
        if smoothing:
            dense = (1 - smoothing) * dense + smoothing / z.shape[1]
        values, gradients = cross_entropy_rows(z, dense if weight is None else dense * weight)
    if not kept.all():
        values, gradients = np.where(kept, values, 0.0), np.where(kept[:, None], gradients, 0.0)
    return values, gradients
