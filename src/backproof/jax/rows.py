"""Rows of logits, along the last axis, in few enough of XLA's operations that they compile in a fraction of a second.

The formulas are those of `kernels.reference` and `kernels.reference_losses`: with k the largest entry, d = z - z_k and s the sum of
the *other* exponentials, h = exp(d) / (1 + s), log h = d - log1p(s); the rounding of d is kept and put back. What is left out is
the exactness of sums and products, which takes most of the reference's operations: XLA adds in trees, whose error grows with the
logarithm of the length, and in single precision too stays below that of its exponential (0.4 units for the logsumexp of a million).

Nothing here is differentiated by JAX: the functions have their derivatives by hand.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp


class Row(NamedTuple):
    """Whatever is one number a row keeps the last axis, with length 1."""

    top: Any  # z_k
    shifted: Any  # d, rounded
    residual: Any  # what the rounding left over
    exponentials: Any
    largest: Any  # boolean: True at k
    others: Any  # s


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b and what its rounding left over; 0 where the sum is not finite. Knuth, TAOCP 2, 4.2.2."""
    high = a + b
    t = high - a
    return high, jnp.where(jnp.isfinite(high), (a - (high - t)) + (b - t), 0)


def total(terms: Any) -> Any:
    return jnp.sum(terms, axis=-1, keepdims=True)


def row_of(z: Any) -> Row:
    top = jnp.max(z, axis=-1, keepdims=True)
    largest = jnp.arange(z.shape[-1]) == jnp.argmax(z, axis=-1, keepdims=True)
    # The limits, where inf - inf would be nan: 0 at each +inf, -inf elsewhere; nothing to shift in a row of -inf.
    z = jnp.where(top == jnp.inf, jnp.where(z == jnp.inf, 0, -jnp.inf), z)
    d, r = two_sum(z, jnp.where(jnp.isinf(top), 0, -top))
    e = jnp.exp(d)
    e = e + e * r
    return Row(top, d, r, e, largest, total(jnp.where(largest, 0, e)))


def softmax(z: Any) -> Any:
    row = row_of(z)
    return row.exponentials / (1 + row.others)


def log_softmax(z: Any) -> Any:
    row = row_of(z)
    return (row.shifted - jnp.log1p(row.others)) + row.residual


def logsumexp(z: Any) -> Any:
    row = row_of(z)
    return (row.top + jnp.log1p(row.others))[..., 0]


def cross_entropy(z: Any, t: Any) -> tuple[Any, Any]:
    """-sum_i t_i log h_i = T log1p(s) + sum_i t_i (-d_i), and its gradient T h - t, T = sum(t); at k, where h_k > 1/2, that is
    sum_{j != k} t_j - T s / (1 + s), with the cancellation done by hand. Terms of no mass count as 0."""
    row, mass = row_of(z), total(t)
    s = row.others
    value = mass * jnp.log1p(s) + total(jnp.where(t == 0, 0, -t * row.shifted - t * row.residual))
    confident = total(jnp.where(row.largest, 0, t)) - mass * (s / (1 + s))
    slopes = jnp.where(row.largest & (s < 1), confident, mass * (row.exponentials / (1 + s)) - t)
    return value[..., 0], jnp.where(row.top == -jnp.inf, 0, slopes)
