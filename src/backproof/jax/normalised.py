"""softmax, log_softmax and logsumexp of JAX arrays.

Tangents are linear in what comes in, in operations that JAX can transpose, so that forward mode, reverse mode and every order come
from one rule; 1 - h_k of the largest entry is the sum of the others in it, as everywhere in this library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from backproof._errors import ArgumentTypeError
from backproof.arrays import widened
from backproof.functional.arguments import folded, several_axes, unfolded
from backproof.jax import rows as formulas

Axis = int | tuple[int, ...] | None


def floating(value: Any, name: str) -> Any:
    """`value` as a JAX array of real floating-point numbers; integers take JAX's default dtype."""
    array = jnp.asarray(value)
    if jnp.iscomplexobj(array):
        raise ArgumentTypeError(f"{name}: expected real numbers, received dtype {array.dtype}")
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.asarray(0.0).dtype)


def centred(h: Any, t: Any) -> Any:
    """t - <h, t> along the last axis, and for the largest h its entry as (1 - h_k) t_k - (what the others make)."""
    largest = jnp.arange(h.shape[-1]) == jnp.argmax(h, axis=-1, keepdims=True)
    others = jnp.where(largest, 0, h)
    rest = jnp.sum(others * t, axis=-1, keepdims=True)
    at = jnp.sum(jnp.where(largest, h * t, 0), axis=-1, keepdims=True)
    return jnp.where(largest, jnp.sum(others, axis=-1, keepdims=True) * t, t - at) - rest


# Rows along the last axis, wide.
@jax.custom_jvp
def softmax_rows(z: Any) -> Any:
    return formulas.softmax(z)


@softmax_rows.defjvp
def _(primals: Any, tangents: Any) -> Any:
    h = softmax_rows(*primals)
    return h, h * centred(h, tangents[0])


@jax.custom_jvp
def log_softmax_rows(z: Any) -> Any:
    return formulas.log_softmax(z)


@log_softmax_rows.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return log_softmax_rows(*primals), centred(softmax_rows(*primals), tangents[0])


@jax.custom_jvp
def logsumexp_rows(z: Any) -> Any:
    return formulas.logsumexp(z)


@logsumexp_rows.defjvp
def _(primals: Any, tangents: Any) -> Any:
    return logsumexp_rows(*primals), jnp.sum(softmax_rows(*primals) * tangents[0], axis=-1)


@partial(jax.jit, static_argnums=(0, 2))
def _along(function: Callable[[Any], Any], z: Any, axes: tuple[int, ...]) -> Any:
    rows = widened(folded(z, axes))
    if rows.shape[-1] == 0:
        return z
    return unfolded(function(rows), z.shape, axes).astype(z.dtype)


def softmax(z: Any, *, axis: Axis = -1) -> Any:
    """h_i = exp(z_i) / sum_j exp(z_j) along `axis` (one, several, or None for all): the shape and dtype of z.

    Limits are those of `functional.softmax`. Source: Bridle 1990; Blanchard, Higham & Higham 2021.

    Raises `ArgumentError` for an axis that z does not have, `ArgumentTypeError` for complex numbers.

    >>> import jax
    >>> jax.jacobian(softmax)(jax.numpy.zeros(2)).tolist()
    [[0.25, -0.25], [-0.25, 0.25]]
    """
    array = floating(z, "z")
    return _along(softmax_rows, array, several_axes(axis, array.ndim))


def log_softmax(z: Any, *, axis: Axis = -1) -> Any:
    """log h_i = z_i - logsumexp(z) along `axis`: the shape and dtype of z; arguments and errors are those of `softmax`.

    Source: Blanchard, Higham & Higham, IMA J. Numer. Anal. 41 (2021), section 4.

    >>> import jax
    >>> f"{log_softmax(jax.numpy.array([50.0, 0.0]))[0]:.4e}"
    '-1.9287e-22'
    """
    array = floating(z, "z")
    return _along(log_softmax_rows, array, several_axes(axis, array.ndim))


@partial(jax.jit, static_argnums=1)
def _logsumexp(z: Any, axes: tuple[int, ...]) -> Any:
    rows = widened(folded(z, axes))
    return (logsumexp_rows(rows) if rows.shape[-1] else jnp.full(rows.shape[:-1], -jnp.inf)).astype(z.dtype)


def logsumexp(z: Any, *, axis: Axis = -1) -> Any:
    """log sum_j exp(z_j) along `axis` (one, several, or None for all): z's shape without it; -inf over nothing.

    The gradient is softmax(z) itself. Errors are those of `softmax`. Source: Blanchard, Higham & Higham 2021, algorithm 4.1.

    >>> import jax
    >>> jax.grad(logsumexp)(jax.numpy.array([1e8, 1e8])).tolist()
    [0.5, 0.5]
    """
    array = floating(z, "z")
    return _logsumexp(array, several_axes(axis, array.ndim))
