"""Losses over a softmax or a sigmoid, one value a row with its gradient: the specification, in the terms of `reference`.

Everything here is wide (double precision, or double complex) going out, so that a reduction can follow before the one rounding.
Rows lie along the last axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backproof.arrays import Array, is_complex, namespace, widened
from backproof.kernels.exact import log1p, quiet, total, two_product, two_sum
from backproof.kernels.reference import (
    Row,
    exponentials,
    log_normaliser,
    log_probabilities,
    log_sum,
    probabilities,
    real,
)


class Options(NamedTuple):
    """What cross-entropy can be told beside logits and targets."""

    class_weight: Array | None = None  # (C,), wide
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    temperature: float = 1.0


@quiet
def cross_entropy(z: Array, target: Array, options: Options) -> tuple[Array, Array]:
    """(values (N,), gradients (N, C)) for logits z (N, C), and labels (N,) or probabilities (N, C); both wide.

    In order: the softcap c tanh(z / c), the temperature, the softmax; to the cross-entropy of the (smoothed, weighted) targets
    z_loss logsumexp^2 is added. Rows with the label `ignore_index` give 0 and a gradient of exactly 0, whatever z holds.
    """
    xp = namespace(z)
    if z.shape[-1] == 0:
        rows = widened(z)
        return xp.sum(rows, axis=-1), rows
    t, kept = dense_targets(z, target, options)
    capped, slope = softcapped(widened(z), options.softcap)
    row = exponentials(capped, options.temperature)
    value, gradient = weighted_rows(row, t)
    if options.z_loss:
        lse = log_sum(row)
        value = value + options.z_loss * (lse * lse)[..., 0]
        h = probabilities(row)
        gradient = gradient + xp.where(h == 0, xp.zeros_like(h), 2 * options.z_loss * lse * h)
    if options.temperature != 1.0:
        gradient = gradient / options.temperature
    if slope is not None:
        gradient = xp.where(slope == 0, xp.zeros_like(gradient), gradient * slope)
    if kept is not None:
        value = xp.where(kept, value, xp.zeros_like(value))
        gradient = xp.where(kept[..., None], gradient, xp.zeros_like(gradient))
    return value, gradient


def dense_targets(z: Array, target: Array, options: Options) -> tuple[Array, Array | None]:
    """Targets as w_i ((1 - e) t_i + e / C), and which rows are not ignored (None: all)."""
    xp = namespace(z)
    kept = None
    if target.ndim == z.ndim:
        t = widened(target)
    else:
        classes = xp.arange(z.shape[-1], dtype=target.dtype, device=getattr(z, "device", None) if xp is not np else None)
        t = widened(target[..., None] == classes) if xp is np else xp.astype(target[..., None] == classes, real(widened(z)).dtype)
        if options.ignore_index is not None:
            kept = target != options.ignore_index
    if options.label_smoothing:
        t = (1 - options.label_smoothing) * t + options.label_smoothing / z.shape[-1]
    return (t if options.class_weight is None else t * options.class_weight), kept


@quiet
def softcapped(z: Array, cap: float | None) -> tuple[Array, Array | None]:
    """c tanh(z / c) with -inf left alone, and its slope 1 - tanh^2 = 4 e / (1 + e)^2 with e = exp(-2 |z| / c)."""
    if cap is None:
        return z, None
    xp = namespace(z)
    x = z / cap
    e = xp.exp(-2 * xp.where(real(x) < 0, -x, x))
    masked = real(z) == -np.inf
    return xp.where(masked, z, cap * xp.tanh(x)), 4 * e / ((1 + e) * (1 + e))


def weighted_rows(row: Row, t: Array) -> tuple[Array, Array]:
    """-sum_i t_i log h_i of each row and its gradient T h - t with T = sum(t).

    The loss is T log1p(s) + sum_i t_i (-d_i): every term is >= 0, so nothing cancels; terms with t_i = 0 count as 0 even where
    h_i = 0. Where one logit has more than half the probability (s < 1), its gradient is written as (sum over j != k of t_j)
    - T s / (1 + s), which is T h_k - t_k with the cancellation done by hand: for the right class it is -s / (1 + s), exact however
    confident the prediction. At h_i <= 1/2 there is nothing to mend.
    """
    xp = namespace(row.shifted)
    if is_complex(row.shifted) and not is_complex(t):
        t = xp.astype(t, row.shifted.dtype) if xp is not np else t.astype(row.shifted.dtype)
    zero = xp.zeros_like(t)
    high, low = total(t)
    log_high, log_low = log_normaliser(row)
    counts = t != 0
    d = xp.where(counts, row.shifted, zero)
    p, e = two_product(t, d)
    e = e + xp.where(counts, t * row.residual, zero)
    (lost, lost_low), (lost_more, _) = total(p), total(e)
    a, a_low = two_product(high, log_high)
    value, value_low = two_sum(a, -lost)
    value = value + (value_low + (a_low + low * log_high + high * log_low - lost_low - lost_more))
    # A masked class with target mass costs +inf, also where all classes are masked; no mass costs nothing.
    nothing = xp.all(t == 0, axis=-1, keepdims=True) & ~xp.isnan(real(row.top))
    value = xp.where(nothing, xp.zeros_like(value), value)

    others, others_low = total(xp.where(row.largest, zero, t))
    small = row.others / (1 + row.others)
    p, e = two_product(high, small)
    confident, error = two_sum(others, -p)
    confident = confident + (error + others_low - e - low * small)
    p, e = two_product(high, probabilities(row))
    gradient, error = two_sum(p, -t)
    gradient = xp.where(row.largest & (real(row.others) < 1), confident, gradient + (error + e))
    return value[..., 0], xp.where(row.empty, xp.zeros_like(gradient), gradient)


@quiet
def kl_rows(z: Array, t: Array) -> tuple[Array, Array]:
    """KL(t || h) = sum_i t_i ln(t_i / h_i) - t_i + h_i of each row, and its gradient T h - t.

    With v = t/h - 1 each term is h psi(v), psi(v) = (1 + v) log1p(v) - v >= 0: a sum of non-negative terms, exactly 0 where
    t = h, and without the cancellation of sum t (ln t - ln h).
    """
    xp = namespace(z)
    t = widened(t)
    if z.shape[-1] == 0:
        return xp.sum(t, axis=-1), widened(z)
    row = exponentials(widened(z))
    _, gradient = weighted_rows(row, t)
    h, log_h = probabilities(row), log_probabilities(row)
    positive = real(h) > 0
    v = xp.where(positive, (t - h) / xp.where(positive, h, xp.ones_like(h)), xp.zeros_like(h) + np.inf)
    far = t * (xp.log(t) - log_h) - t + h
    near = xp.abs(v) <= 0.5
    terms = xp.where(t == 0, h, xp.where(near, h * psi(xp.where(near, v, xp.zeros_like(v))), far))
    value, low = total(terms)
    return (value + low)[..., 0], gradient


def psi(v: Array) -> Array:
    """(1 + v) log1p(v) - v for |v| <= 1/2, to full relative accuracy.

    With w = v / (2 + v), log1p(v) = 2 atanh(w), 1 + v = (1 + w) / (1 - w) and v = 2 w / (1 - w), so that
    psi = 2 w^2 / (1 - w) (1 + (1 + w) w (1/3 + w^2/5 + w^4/7 + ...)). |w| <= 1/3: 18 terms leave less than 3^-38.
    """
    w = v / (2 + v)
    series = namespace(v).zeros_like(v)
    for n in range(37, 1, -2):
        series = 1.0 / n + w * w * series
    return 2 * w * w / (1 - w) * (1 + (1 + w) * w * series)


def phi(x: Array) -> Array:
    """exp(x) - 1 - x for |x| <= 1, to full relative accuracy: x^2/2 (1 + x/3 (1 + x/4 (...))); 21 terms leave less than 1/22!."""
    series = namespace(x).ones_like(x)
    for n in range(22, 2, -1):
        series = 1 + x / n * series
    return x * x / 2 * series


@quiet
def kl_between_logits(z: Array, target_logits: Array) -> tuple[Array, Array]:
    """KL(p || q) of each row with p = softmax(target_logits), q = softmax(z), and its gradient q - p with respect to z.

    Neither distribution is subtracted from the other. With a the target's logits, delta = z - a (centred, exactly), mu = <p, delta>
    and c = delta - mu, so that <p, c> = 0,
        KL = logsumexp(z) - logsumexp(a) - mu = log <p, exp(c)> = log1p(<p, exp(c) - 1 - c>),
    a sum of non-negative terms that is 0 exactly when delta is constant; and q_i - p_i = p_i expm1(c_i - KL).
    Where some exp(c) is large, KL = logsumexp(log p + c), which then has nothing to lose. Classes with p = 0 count through
    exp(log p + c) = exp(z - logsumexp(a) - mu) alone.
    """
    xp = namespace(z)
    if z.shape[-1] == 0:
        rows = widened(z)
        return xp.sum(rows, axis=-1), rows
    a, b = exponentials(widened(target_logits)), exponentials(widened(z))
    p, q, log_p, log_q = probabilities(a), probabilities(b), log_probabilities(a), log_probabilities(b)
    zero = xp.zeros_like(p * q)
    mass, possible = real(p) > 0, real(b.shifted) > -np.inf
    both = (real(a.shifted) > -np.inf) & possible
    delta, delta_low = two_sum(xp.where(both, b.shifted, zero), -xp.where(both, a.shifted, zero))
    delta_low = delta_low + xp.where(both, b.residual - a.residual, zero)
    # centred on the target's largest class, so that equal differences are exactly 0
    at_k = xp.sum(xp.where(a.largest, delta, zero), axis=-1, keepdims=True)
    at_k_low = xp.sum(xp.where(a.largest, delta_low, zero), axis=-1, keepdims=True)
    delta, extra = two_sum(delta, -at_k)
    delta_low = delta_low - at_k_low + extra
    weight = xp.where(both, p + zero, zero)
    m, e = two_product(weight, delta)
    (mu, mu_low), (mu_more, _) = total(m), total(e + weight * delta_low)
    c, c_low = two_sum(delta, -mu)
    c = c + (c_low + delta_low - (mu_low + mu_more))
    # log p + c; for a class that the target cannot have, z's own exponent on the same scale: log q + KL, known only by its terms
    scale = xp.sum(xp.where(a.largest, log_p - b.shifted - b.residual, zero), axis=-1, keepdims=True) - (mu + mu_low + mu_more)
    log_mass = xp.where(both, log_p + c, xp.where(possible, b.shifted + scale, zero - np.inf))
    near = mass & (xp.abs(c) <= 1)
    far_term = xp.exp(log_mass) - xp.where(mass, p * (1 + c), zero)
    terms = xp.where(near & both, p * phi(xp.where(near, c, zero)), far_term)
    sum_terms, low = total(terms)
    peak = xp.max(real(log_mass), axis=-1, keepdims=True)
    value = xp.where(peak > 1, log_sum(exponentials(log_mass)), log1p(sum_terms + low))
    value = xp.where(xp.any(mass & ~possible, axis=-1, keepdims=True), xp.zeros_like(value) + np.inf, value)
    x = c - value
    gradient = xp.where(real(x) < 0, p * xp.expm1(x), q * -xp.expm1(-x))
    gradient = xp.where(near & both & xp.isfinite(value), gradient, q - p)
    # a target that is masked throughout has T = 0: what is left of the generalised form is sum(q), which is constant
    value = xp.where(a.empty, xp.where(b.empty, xp.zeros_like(value), xp.ones_like(value)), value)
    bad = xp.isnan(real(log_q)) | xp.isnan(real(log_p))
    value = xp.where(xp.any(bad, axis=-1, keepdims=True), xp.zeros_like(value) + np.nan, value)
    return value[..., 0], xp.where(a.empty | b.empty, xp.zeros_like(gradient), gradient)


@quiet
def binary_cross_entropy_terms(z: Array, t: Array) -> tuple[Array, Array]:
    """t softplus(-z) + (1 - t) softplus(z) of each entry, and its gradient sigmoid(z) - t; both wide.

    With e = exp(-|z|) and a the target's weight on the less likely side, 1 - t where z >= 0 and t elsewhere: the value is
    log1p(e) + a |z|, a sum of non-negative terms, and the gradient is a - e / (1 + e) with the sign of z. Both keep their digits
    at either end, where the rounded sigmoid less t does not. Bishop 1995, section 6.7.
    """
    xp = namespace(z)
    z, t = widened(z), widened(t)
    up = real(z) >= 0
    size = xp.where(up, z, -z)
    e = xp.exp(-size)
    a = xp.where(up, 1 - t, t)
    value = log1p(e) + xp.where(a == 0, xp.zeros_like(size), a * size)
    slope = a - e / (1 + e)
    return xp.where(xp.isnan(real(z)), z, value), xp.where(up, slope, -slope)
