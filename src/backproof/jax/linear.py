"""A linear layer and cross-entropy together for JAX arrays: logits are made for a few rows at a time, and made again backward."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from backproof._errors import ArgumentError, ShapeError
from backproof.jax.entropy import Options, checked, reduced, row_values
from backproof.jax.normalised import floating
from backproof.kernels.linear_entropy import MEMORY

ARRAYS = 6  # of a chunk's logits' size, wide, at a time; XLA fuses others away


def linear_cross_entropy(
    x: Any,
    w: Any,
    target: Any,
    *,
    bias: Any = None,
    weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    max_bytes: int | None = None,
) -> Any:
    """Cross-entropy of the logits x w^T + bias, which are never whole: arguments are those of `functional.linear_cross_entropy`.

    x (..., D), w (C, D), bias (C,) or None; `target` (...,) labels or (..., C) probabilities. The rows are cut into chunks whose
    logits take about `max_bytes` (56 MiB if it is None), at least one row; a gradient makes the logits of a chunk again, which is
    one product of four more than a gradient needs, and every derivative of every order keeps to the chunks. Half precision is
    computed in single precision. Chunks of rows: Hsu et al., Liger Kernel, arXiv 2410.10989, section 3.2.

    Raises what `cross_entropy` raises, `ShapeError` where x, w and bias do not fit, `ArgumentError` for a `max_bytes` below 1.

    >>> import jax, numpy as np
    >>> x, w = jax.numpy.log(jax.numpy.array([[3.0]])), jax.numpy.array([[1.0], [0.0]])
    >>> loss, gradient = jax.value_and_grad(linear_cross_entropy)(x, w, np.array([0]))       # -ln(3 / 4)
    >>> round(float(loss), 4), gradient.tolist()
    (0.2877, [[-0.25]])
    """
    inputs, weights = floating(x, "x"), floating(w, "w")
    if inputs.ndim == 0:
        raise ShapeError("x: expected shape (..., features), received shape ()")
    if weights.ndim != 2 or weights.shape[0] == 0 or weights.shape[1] != inputs.shape[-1]:
        expected = f"shape (classes, {inputs.shape[-1]}) with at least one class, as x has {inputs.shape[-1]} features"
        raise ShapeError(f"w: expected {expected}, received {weights.shape}")
    offsets = None if bias is None else floating(bias, "bias")
    if offsets is not None and offsets.shape != weights.shape[:1]:
        raise ShapeError(f"bias: expected shape {weights.shape[:1]}, received {offsets.shape}")
    if max_bytes is not None and max_bytes < 1:
        raise ArgumentError(f"max_bytes: expected a number of bytes, received {max_bytes}")
    shape, classes = inputs.shape[:-1], weights.shape[0]
    problem = checked((*shape, classes), len(shape), target, weight, ignore_index, label_smoothing, reduction)
    room = (MEMORY if max_bytes is None else max_bytes) // (8 * ARRAYS * classes)
    return _linear_cross_entropy(inputs, weights, offsets, *problem, reduction, max(room, 1))


@partial(jax.jit, static_argnums=(5, 6, 7))
def _linear_cross_entropy(x: Any, w: Any, bias: Any, target: Any, weight: Any, options: Options, reduction: str, most: int) -> Any:
    shape, n = x.shape[:-1], math.prod(x.shape[:-1])
    dtype = jnp.promote_types(jnp.promote_types(x.dtype, w.dtype), jnp.float32)
    soft = target.ndim == x.ndim
    chunks = max(-(-n // most), 1)
    rows = -(-n // chunks)

    def cut(array: Any) -> Any:
        """(chunks, rows, ...): what is missing is filled with zeros, whose values are dropped below."""
        flat = jnp.reshape(array, (n, *array.shape[len(shape) :]))
        filled = jnp.pad(flat, [(0, chunks * rows - n)] + [(0, 0)] * (flat.ndim - 1))
        return jnp.reshape(filled, (chunks, rows, *flat.shape[1:]))

    if not soft and options.ignored is not None:  # whatever an ignored row holds must not meet the gradient's zeros
        x = jnp.where((target != options.ignored)[..., None], x, 0)

    @jax.checkpoint
    def some(xs: Any, ts: Any, w: Any, bias: Any, weight: Any) -> Any:
        z = xs.astype(dtype) @ w.astype(dtype).T
        return row_values(z if bias is None else z + bias.astype(dtype), ts, weight, options)

    _, found = jax.lax.scan(lambda _, part: (None, some(*part, w, bias, weight)), None, (cut(x), cut(target)))
    values, counts = (jnp.reshape(each, (-1,))[:n].reshape(shape) for each in found)
    return reduced(values, counts, reduction, dtype)
