"""Cross-entropy of JAX arrays: the value and its gradient by the reference, the gradient's tangent by the softmax Jacobian."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from backproof._errors import ArgumentError, ArgumentTypeError, LabelError, ShapeError
from backproof.arrays import widened
from backproof.functional.arguments import number, one_axis
from backproof.functional.reduction import REDUCTIONS
from backproof.jax.normalised import centred, floating, log_softmax_rows, softmax_rows
from backproof.kernels.reference import exponentials
from backproof.kernels.reference_losses import weighted_rows


@jax.custom_jvp
def _values(z: Any, t: Any) -> Any:
    """-sum_k t_k log h_k of rows, wide."""
    return weighted_rows(exponentials(z), t)[0]


@_values.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z, t), (tz, tt) = primals, tangents
    log_h = log_softmax_rows(z)
    # an impossible class has an infinite slope in its target, which is left out: it would be nan times every target that is fixed
    slope_t = jnp.where(log_h == -jnp.inf, 0, -log_h)
    return _values(z, t), jnp.sum(_slopes(z, t) * tz + slope_t * tt, axis=-1)


@jax.custom_jvp
def _slopes(z: Any, t: Any) -> Any:
    """T h - t of rows, T = sum(t)."""
    return weighted_rows(exponentials(z), t)[1]


@_slopes.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (z, t), (tz, tt) = primals, tangents
    h = softmax_rows(z)
    mass, moved = jnp.sum(t, axis=-1, keepdims=True), jnp.sum(tt, axis=-1, keepdims=True)
    return _slopes(z, t), mass * (h * centred(h, tz)) + (h * moved - tt)


def cross_entropy(
    z: Any,
    target: Any,
    *,
    axis: int = -1,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """-sum_k w_k t_k log softmax(z)_k along `axis`, reduced over the rows: arguments are those of `functional.cross_entropy`.

    `target`: whole-number labels, of z's shape without `axis`, or probabilities of z's shape; these, and `weight`, (classes,), may
    be differentiated too. "mean" divides by the sum of the weights of the labels that count (for probabilities: the number of
    rows), over nothing it is 0. The loss has z's dtype, at least single precision.

    Raises `LabelError` for a label outside the classes; inside jit, where labels have no values yet, its row is nan. `ShapeError`,
    `ArgumentTypeError` for labels that are not whole numbers, `ArgumentError` for options out of range and for `ignore_index`
    with probabilities. Source: Bishop 1995, section 6.9.

    >>> import jax
    >>> gradient = jax.grad(cross_entropy)(jax.numpy.array([[50.0, 0.0]]), jax.numpy.array([0]))
    >>> f"{gradient[0, 0]:.4e}"
    '-1.9287e-22'
    """
    logits = floating(z, "z")
    if logits.ndim == 0:
        raise ShapeError("z: expected logits with an axis of classes, received shape ()")
    where = one_axis(axis, logits.ndim)
    shape = (*logits.shape[:where], *logits.shape[where + 1 :])
    classes, given = logits.shape[where], jnp.asarray(target)
    if reduction not in REDUCTIONS:
        raise ArgumentError(f"reduction: expected one of {', '.join(map(repr, REDUCTIONS))}, received {reduction!r}")
    factors = None if weight is None else floating(weight, "weight")
    if factors is not None and factors.shape != (classes,):
        raise ShapeError(f"weight: expected shape {(classes,)}, received {factors.shape}")
    if given.shape == logits.shape:
        if ignore_index is not None:
            raise ArgumentError("ignore_index: expected None with probabilities as targets; it names a label")
        given = floating(given, "target")
    elif given.shape != shape:
        raise ShapeError(
            f"target: expected labels of shape {shape} or probabilities of shape {logits.shape}, received {given.shape}"
        )
    elif not jnp.issubdtype(given.dtype, jnp.integer):
        raise ArgumentTypeError(f"target: expected whole-number labels (dtype int), received dtype {given.dtype}")
    elif not isinstance(given, jax.core.Tracer):
        bad = (given < 0) | (given >= classes)
        bad = bad if ignore_index is None else bad & (given != ignore_index)
        if bool(bad.any()):
            raise LabelError(f"target: expected labels from 0 to {classes - 1}, received {int(given[bad][0])}")
    smoothing = number(label_smoothing, "label_smoothing", 0.0, high=1.0)
    return _cross_entropy(logits, given, factors, where, ignore_index, smoothing, reduction)


@partial(jax.jit, static_argnums=(3, 4, 5, 6))
def _cross_entropy(z: Any, target: Any, weight: Any, axis: int, ignored: int | None, smoothing: float, reduction: str) -> Any:
    rows = widened(jnp.moveaxis(z, axis, -1))
    classes = rows.shape[-1]
    factors = jnp.ones(classes, rows.dtype) if weight is None else widened(weight)
    if target.ndim == z.ndim:
        t, counts = widened(jnp.moveaxis(target, axis, -1)), jnp.ones(rows.shape[:-1], rows.dtype)
    else:
        kept = jnp.ones(target.shape, bool) if ignored is None else target != ignored
        # an ignored row counts nothing whatever it holds, in the derivatives too; a label that is no class makes its row nan
        rows = jnp.where(kept[..., None], rows, 0)
        bad = kept & ((target < 0) | (target >= classes))
        rows = jnp.where(bad[..., None], jnp.nan, rows)
        hits = (target[..., None] == jnp.arange(classes)) & kept[..., None]
        t = hits.astype(rows.dtype)
        counts = jnp.where(bad, jnp.nan, jnp.sum(jnp.where(hits, factors, 0), axis=-1))
    t = ((1 - smoothing) * t + smoothing / max(classes, 1)) * factors
    if target.ndim != z.ndim:
        t = jnp.where(kept[..., None], t, 0)
    values = _values(rows, t) if classes else jnp.zeros(rows.shape[:-1], rows.dtype)
    dtype = jnp.promote_types(z.dtype, jnp.float32)
    if reduction == "none":
        return values.astype(dtype)
    total, divisor = jnp.sum(values), jnp.sum(counts)
    if reduction == "mean":
        total = jnp.where(divisor == 0, 0, total / jnp.where(divisor == 0, 1, divisor))
    return total.astype(dtype)
