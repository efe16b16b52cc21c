"""Softmax and what is built on it, written for accuracy: the specification of every faster kernel.

Notation, along one axis: k the index of the largest logit, d_i = z_i - z_k <= 0, s = sum over i != k of exp(d_i). Then
    h_i = exp(d_i) / (1 + s)         log h_i = d_i - log1p(s)         logsumexp = z_k + log1p(s)
log1p of the sum *of the others* keeps every digit when one class dominates (Blanchard, Higham & Higham, IMA J. Numer. Anal. 41,
2021, theorem 4.2), where log(1 + s) rounds to zero. Half and single precision are computed in double and rounded once.

Limits: a row that is -inf throughout has probability 0 everywhere; entries of +inf share the probability among themselves; nan
stays in its row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backproof.arrays import Array


class Exponentials(NamedTuple):
    """The shifted row: d, exp(d), where the maximum is (one entry a row), and s, the sum of the other exponentials."""

    shifted: Array  # d, in double precision or complex
    exponentials: Array  # exp(d); 0 throughout a row of -inf
    largest: Array  # boolean, one True a row
    others: Array  # s, kept dimension
    empty: Array | None  # rows of -inf throughout, kept dimension; None where there are none


def widened(z: Array) -> Array:
    """`z` in double precision (or double complex): where sums and differences are formed."""
    return z.astype(np.complex128 if np.iscomplexobj(z) else np.float64, copy=False)


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
    return log_probabilities(exponentials(z, axis)).astype(z.dtype, copy=False)


def log_probabilities(row: Exponentials) -> Array:
    return row.shifted - np.log1p(row.others)


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
    """J^T u = u - h sum(u): the Jacobian of log-softmax is I - 1 h^T."""
    u64 = widened(upstream)
    g = u64 - np.exp(widened(log_h)) * np.sum(u64, axis=axis, keepdims=True)
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


def kl_rows(z: Array, t: Array) -> tuple[Array, Array]:
    """KL(t || h) = sum_i t_i ln(t_i / h_i) - t_i + h_i of each row, and its gradient T h - t; both in double precision.

    With v = t/h - 1 each term is h psi(v), psi(v) = (1 + v) log1p(v) - v >= 0: a sum of non-negative terms, exactly 0 where
    t = h, and without the cancellation of sum t (ln t - ln h). Near v = 0 psi is its series v^2/2 - v^3/6 + v^4/12 - ...
    """
    _, gradient = cross_entropy_rows(z, t)
    row = exponentials(z, -1)
    t, h, log_h = widened(t), _probabilities(row), log_probabilities(row)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        v = np.where(h > 0, (t - h) / np.where(h > 0, h, 1.0), np.inf)
        far = t * (np.log(t) - log_h) - t + h
    near = h * _psi_series(np.clip(np.where(np.isfinite(v), v, 0.0), -0.1, 0.1))
    terms = np.where(t == 0, h, np.where(np.abs(v) < 0.1, near, far))
    return np.sum(terms, axis=-1), gradient


def _psi_series(v: Array) -> Array:
    """sum over n >= 2 of (-v)^n / (n (n - 1)) by Horner's rule; 18 terms leave less than 0.1^20 / 380 for |v| <= 0.1."""
    total = np.zeros_like(v)
    for n in range(19, 1, -1):
        total = 1.0 / (n * (n - 1)) - v * total
    return v * v * total


def binary_cross_entropy_terms(z: Array, t: Array) -> tuple[Array, Array]:
    """t softplus(-z) + (1 - t) softplus(z) of each entry, and its gradient sigmoid(z) - t; both in double precision.

    The gradient is written (1 - t) sigmoid(z) - t sigmoid(-z): both sigmoids keep their digits at either end, their difference
    with t does not. A term with weight 0 counts as 0 even where the other factor is infinite.
    """
    z, t = widened(z), widened(t)
    e = np.exp(-np.abs(z))
    up, down = np.where(z >= 0, 1.0, e) / (1 + e), np.where(z >= 0, e, 1.0) / (1 + e)
    soft_up, soft_down = np.maximum(z, 0) + np.log1p(e), np.maximum(-z, 0) + np.log1p(e)
    with np.errstate(invalid="ignore"):  # 0 * inf, not taken
        value = np.where(t == 0, 0.0, t * soft_down) + np.where(t == 1, 0.0, (1 - t) * soft_up)
    return value, (1 - t) * up - t * down
