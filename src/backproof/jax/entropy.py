"""Cross-entropy of JAX arrays: the value and its gradient by the reference, the gradient's tangent by the softmax Jacobian."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from backproof._errors import ArgumentError, ArgumentTypeError, LabelError, ShapeError
from backproof.arrays import widened
from backproof.functional.arguments import number, one_axis
from backproof.functional.reduction import REDUCTIONS
from backproof.jax import rows as formulas
from backproof.jax.normalised import centred, floating, log_softmax_rows, softmax_rows


@jax.custom_jvp
def _values(z: Any, t: Any) -> Any:
    """-sum_k t_k log h_k of rows, wide."""
    return formulas.cross_entropy(z, t)[0]


@jax.custom_jvp
def _both(z: Any, t: Any) -> Any:
    """The values, and T h - t of rows, T = sum(t)."""
    return formulas.cross_entropy(z, t)


def _values_jvp(primals: Any, tangents: Any) -> Any:
    values, slopes = _both(*primals)
    return values, _along(slopes, primals[0], *tangents)


def _both_jvp(primals: Any, tangents: Any) -> Any:
    (z, t), (tz, tt) = primals, tangents
    values, slopes = _both(z, t)
    h = softmax_rows(z)
    curved = 0 if _is_zero(tz) else jnp.sum(t, axis=-1, keepdims=True) * (h * centred(h, tz))
    moved = 0 if _is_zero(tt) else h * jnp.sum(tt, axis=-1, keepdims=True) - tt
    return (values, slopes), (_along(slopes, z, tz, tt), curved + moved)


def _along(slopes: Any, z: Any, tz: Any, tt: Any) -> Any:
    """How the values move. Left out, not multiplied by zeros: what JAX says does not move, and the infinite slope in the target of
    an impossible class, which would be nan times every target that is fixed."""
    moved = 0 if _is_zero(tz) else jnp.sum(slopes * tz, axis=-1)
    if _is_zero(tt):
        return moved
    log_h = log_softmax_rows(z)
    return moved - jnp.sum(jnp.where(log_h == -jnp.inf, 0, log_h) * tt, axis=-1)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


_values.defjvp(_values_jvp, symbolic_zeros=True)
_both.defjvp(_both_jvp, symbolic_zeros=True)


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
    problem = checked(logits.shape, where, target, weight, ignore_index, label_smoothing, reduction)
    return _cross_entropy(logits, *problem, where, reduction)


class Options(NamedTuple):
    ignored: int | None
    smoothing: float


def checked(
    shape: tuple[int, ...],
    where: int,
    target: Any,
    weight: Any,
    ignore_index: int | None,
    label_smoothing: float,
    reduction: str,
) -> tuple[Any, Any, Options]:
    """Target, class weights and options for logits of this shape with the classes along `where`."""
    rest, classes, given = (*shape[:where], *shape[where + 1 :]), shape[where], jnp.asarray(target)
    if reduction not in REDUCTIONS:
        raise ArgumentError(f"reduction: expected one of {', '.join(map(repr, REDUCTIONS))}, received {reduction!r}")
    factors = None if weight is None else floating(weight, "weight")
    if factors is not None and factors.shape != (classes,):
        raise ShapeError(f"weight: expected shape {(classes,)}, received {factors.shape}")
    if given.shape == shape:
        if ignore_index is not None:
            raise ArgumentError("ignore_index: expected None with probabilities as targets; it names a label")
        given = floating(given, "target")
    elif given.shape != rest:
        raise ShapeError(f"target: expected labels of shape {rest} or probabilities of shape {shape}, received {given.shape}")
    elif not jnp.issubdtype(given.dtype, jnp.integer):
        raise ArgumentTypeError(f"target: expected whole-number labels (dtype int), received dtype {given.dtype}")
    elif not isinstance(given, jax.core.Tracer):
        bad = (given < 0) | (given >= classes)
        bad = bad if ignore_index is None else bad & (given != ignore_index)
        if bool(bad.any()):
            raise LabelError(f"target: expected labels from 0 to {classes - 1}, received {int(given[bad][0])}")
    return given, factors, Options(ignore_index, number(label_smoothing, "label_smoothing", 0.0, high=1.0))


@partial(jax.jit, static_argnums=(3, 4, 5))
def _cross_entropy(z: Any, target: Any, weight: Any, options: Options, axis: int, reduction: str) -> Any:
    given = target if target.ndim < z.ndim else jnp.moveaxis(target, axis, -1)
    values, counts = row_values(jnp.moveaxis(z, axis, -1), given, weight, options)
    return reduced(values, counts, reduction, jnp.promote_types(z.dtype, jnp.float32))


def row_values(z: Any, target: Any, weight: Any, options: Options) -> tuple[Any, Any]:
    """The rows' values and what they count in a mean, wide; classes along the last axis."""
    rows, classes = widened(z), z.shape[-1]
    factors = jnp.ones(classes, rows.dtype) if weight is None else widened(weight)
    kept = None
    if target.ndim == z.ndim:
        t, counts = widened(target), jnp.ones(rows.shape[:-1], rows.dtype)
    else:
        kept = jnp.ones(target.shape, bool) if options.ignored is None else target != options.ignored
        # an ignored row counts nothing whatever it holds, in the derivatives too; a label that is no class makes its row nan
        rows = jnp.where(kept[..., None], rows, 0)
        bad = kept & ((target < 0) | (target >= classes))
        rows = jnp.where(bad[..., None], jnp.nan, rows)
        hits = (target[..., None] == jnp.arange(classes)) & kept[..., None]
        t = hits.astype(rows.dtype)
        counts = jnp.where(bad, jnp.nan, jnp.sum(jnp.where(hits, factors, 0), axis=-1))
    t = ((1 - options.smoothing) * t + options.smoothing / max(classes, 1)) * factors
    if kept is not None:
        t = jnp.where(kept[..., None], t, 0)
    return _values(rows, t) if classes else jnp.zeros(rows.shape[:-1], rows.dtype), counts


def reduced(values: Any, counts: Any, reduction: str, dtype: Any) -> Any:
    """A mean over nothing is 0."""
    if reduction == "none":
        return values.astype(dtype)
    total, divisor = jnp.sum(values), jnp.sum(counts)
    if reduction == "mean":
        total = jnp.where(divisor == 0, 0, total / jnp.where(divisor == 0, 1, divisor))
    return total.astype(dtype)
