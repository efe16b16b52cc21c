"""Other libraries' losses expressed in ours, for their test cases: negative log-likelihood, weighted binary cross-entropy."""

from __future__ import annotations

import numpy as np

from backproof import functional as F


def nll(x, target, weight, ignore_index, reduction, axis):
    """-w_y x_y, reduced, by our cross-entropy: one more class makes the rows x - b into log-probabilities, b is put back after."""
    x = np.asarray(x)
    b = np.asarray(F.logsumexp(x, axis=axis)).astype(np.float64).max(initial=-1.0) + 1
    shifted = x.astype(np.float64) - b
    rest = np.log1p(-np.exp(F.logsumexp(shifted, axis=axis)))
    z = np.concatenate([shifted, np.expand_dims(rest, axis)], axis=axis)
    w = np.ones(x.shape[axis]) if weight is None else np.asarray(weight, np.float64)
    value = F.cross_entropy(z, target, axis=axis, weight=[*w, 1.0], ignore_index=ignore_index, reduction=reduction)
    kept = np.ones(np.shape(target), bool) if ignore_index is None else np.asarray(target) != ignore_index
    counts = np.where(kept, w[np.where(kept, target, 0)], 0.0)
    return value - {"none": counts, "sum": counts.sum(), "mean": float(counts.sum() != 0)}[reduction] * b


def binary(z, t, weight, pos_weight, reduction):
    """Entry by entry; a weight on the positive side makes two losses of one."""
    z, t = np.asarray(z), np.asarray(t)
    w = np.broadcast_to(1.0 if weight is None else weight, z.shape)
    if weight is None and pos_weight is None:
        return F.binary_cross_entropy(z.reshape(-1), t.reshape(-1), reduction=reduction)

    def rows(target, factor):
        factor = np.broadcast_to(factor, z.shape).reshape(-1)
        return F.binary_cross_entropy(z.reshape(-1), target.reshape(-1), sample_weight=factor, reduction="none").reshape(z.shape)

    each = rows(t, w) if pos_weight is None else rows(np.ones_like(t), w * t * pos_weight) + rows(np.zeros_like(t), w * (1 - t))
    return {"none": each, "sum": each.sum(), "mean": each.sum() / each.size}[reduction]


def kl(log_q, target, log_target, reduction):
    """Rows of the last axis; the sum over a row is what can be compared with the entries of others."""
    name = "target_logits" if log_target else "target"
    rows = np.atleast_1d(F.kl_divergence(log_q, **{name: target}, reduction="none"))
    return {"none": rows, "sum": rows.sum(), "mean": rows.sum() / np.size(log_q), "batchmean": rows.sum() / np.shape(log_q)[0]}[
        reduction
    ]
