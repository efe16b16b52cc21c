"""Cross-entropy of a linear layer's outputs without ever holding all of them: for heads of many classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, Guest, Shape, is_numpy, namespace, widened
from backproof.functional.arguments import floats, loss_dtype, require_shape, returned, rounded
from backproof.functional.entropy import Asked, options_of, reduction_for, rows_of_target, whole
from backproof.functional.reduction import Reduction
from backproof.kernels import dispatch, leases
from backproof.kernels.exact import quiet
from backproof.kernels.linear_entropy import Gradients, entropy_of_linear, wide
from backproof.kernels.reference_losses import Options


def linear_cross_entropy(
    x: Any,
    w: Any,
    target: Any,
    *,
    bias: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
    max_bytes: int | None = None,
) -> Any:
    """Cross-entropy of the logits x w^T + bias, a few rows at a time.

    `linear_cross_entropy_and_grad` describes arguments and errors. Source: Bishop 1995, section 6.9; chunks of
    rows: Hsu et al., Liger Kernel, arXiv 2410.10989, section 3.2.

    >>> import numpy as np
    >>> round(float(linear_cross_entropy(np.log([[3.0]]), np.array([[1.0], [0.0]]), [0])), 4)     # -ln(3 / 4)
    0.2877
    """
    asked = weight, ignore_index, label_smoothing, z_loss, softcap, temperature
    p = _problem(x, w, target, bias, asked, sample_weight, reduction, max_bytes)
    rows = _in_chunks(p, None) if p.chunked else _whole(p, False)[0]
    return returned(p.how.value(rows, p.shape, p.like), p.x)


def linear_cross_entropy_and_grad(
    x: Any,
    w: Any,
    target: Any,
    *,
    bias: Any = None,
    weight: Any = None,
    sample_weight: Any = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    reduction: str = "mean",
    max_bytes: int | None = None,
) -> tuple[Any, Any, Any, Any]:
    """(loss, dloss/dx, dloss/dw, dloss/dbias) of cross-entropy on the logits z = x w^T + bias, which are never held whole.

    x (..., D), w (C, D), bias (C,) or None, and then its gradient is None; `target` (...,) labels or (..., C) probabilities; with
    g = dloss/dz,  dx = g w,  dw = sum over rows of g^T x,  dbias = sum over rows of g. The other options are those of
    `cross_entropy_and_grad`; with reduction "none" the gradients are those of the sum of the rows. Rows that count nothing (the
    label `ignore_index`, sample weight 0) are left out of every product: they may hold nan, and their dx is 0.

    `max_bytes` bounds what is worked in beside arguments and results (56 MiB if it is None, or what one row needs): logits are made
    for as many rows at a time as fit, and their gradient in the same place. A hundred rows or more at a time lose no speed.

    Half precision is computed and summed in single precision. Each gradient has the dtype of what it belongs to, the loss that of
    the logits, at least single precision. Arrays that cannot be seen as NumPy arrays (on other devices, traced) and complex ones
    are computed by the formula, logits whole. Chunks of rows: Hsu et al., Liger Kernel, arXiv 2410.10989, section 3.2.

    Raises `ShapeError`, `LabelError`, `ArgumentTypeError` and `ArgumentError` as `cross_entropy_and_grad` does, and for `max_bytes`
    too small for one row.

    >>> import numpy as np
    >>> x, w = np.log([[2.0], [4.0]]), np.array([[1.0], [0.0]])
    >>> loss, dx, dw, db = linear_cross_entropy_and_grad(x, w, [0, 1], bias=np.zeros(2))
    >>> dx.round(3).tolist(), db.round(3).tolist()                            # g is (-1/3, 1/3) / 2 and (4/5, -4/5) / 2
    ([[-0.167], [0.4]], [0.233, -0.233])
    """
    asked = weight, ignore_index, label_smoothing, z_loss, softcap, temperature
    p = _problem(x, w, target, bias, asked, sample_weight, reduction, max_bytes)
    if p.chunked:
        xs, ws = p.rows, p.w.array
        dtype = wide(xs, ws) if p.bias is None else wide(xs, ws, p.bias.array)
        to = Gradients(leases.empty(xs.shape, dtype), leases.empty(ws.shape, dtype), None if p.bias is None else np.empty(len(ws)))
        rows, (dx, dw, db) = _in_chunks(p, to), to
    else:
        rows, dx, dw, db = _whole(p, True)
    loss = returned(p.how.value(rows, p.shape, p.like), p.x)
    dx = returned(rounded(namespace(dx).reshape(dx, p.x.array.shape), p.x.array.dtype), p.x)
    dw = returned(rounded(dw, p.w.array.dtype), p.w)
    return loss, dx, dw, None if p.bias is None or db is None else returned(rounded(db, p.bias.array.dtype), p.bias)


class _Problem(NamedTuple):
    x: Guest
    w: Guest
    bias: Guest | None
    shape: Shape  # of the rows: x's without the features
    rows: Array  # x as (N, D)
    like: Array  # nothing in it: what kind of numbers the logits are
    target: Array  # (N,) labels or (N, C) probabilities
    options: Options
    how: Reduction
    max_bytes: int | None

    @property
    def chunked(self) -> bool:
        """Whether these are arrays that NumPy's BLAS takes, once they have single or double precision."""
        return is_numpy(self.like) and self.like.dtype.kind in "fV" and self.like.dtype.itemsize <= 8


def _problem(
    x: object, w: object, target: object, bias: object, asked: Asked, sample_weight: object, reduction: object, max_bytes: object
) -> _Problem:
    inputs, weights = floats(x, "x"), floats(w, "w")
    a, b = inputs.array, weights.array
    if a.ndim == 0:
        raise ShapeError("x: expected shape (..., features), received shape ()")
    if b.ndim != 2 or b.shape[0] == 0:
        raise ShapeError(f"w: expected shape (classes, features) with at least one class, received {tuple(b.shape)}")
    if b.shape[1] != a.shape[-1]:
        raise ShapeError(f"w: expected shape (classes, {a.shape[-1]}), as x has {a.shape[-1]} features, received {tuple(b.shape)}")
    shape, classes = tuple(a.shape[:-1]), b.shape[0]
    offsets = None if bias is None else floats(bias, "bias")
    if offsets is not None:
        require_shape(offsets.array, (classes,), "bias")
    _same_kind(inputs, weights, "w")
    if offsets is not None:
        _same_kind(inputs, offsets, "bias")
    like = _empty_like_logits(a, b, None if offsets is None else offsets.array)
    options = options_of(like, classes, asked)
    rows = namespace(a).reshape(a, (int(np.prod(shape)), a.shape[-1]))
    given = rows_of_target(target, a, shape, len(shape), classes, options.ignore_index)
    how = reduction_for(like, given, options, shape, reduction, sample_weight)
    room = None if max_bytes is None else whole(max_bytes, "max_bytes")
    if room is not None and room < 1:
        raise ArgumentError(f"max_bytes: expected a number of bytes, received {room}")
    return _Problem(inputs, weights, offsets, shape, rows, like, given, options, how, room)


def _same_kind(x: Guest, other: Guest, name: str) -> None:
    if is_numpy(x.array) != is_numpy(other.array):
        raise ArgumentTypeError(f"{name}: expected an array like x, {type(x.array)}, received {type(other.array)}")


def _empty_like_logits(*arrays: Any) -> Any:
    """An array without entries, of the dtype of x w^T + bias, where x is."""
    x, *others = arrays
    xp = namespace(x)
    like = xp.reshape(x, (-1,))[:0]
    for other in others:
        if other is not None and other.dtype != like.dtype:
            like = xp.astype(like, xp.result_type(like.dtype, other.dtype))
    return like


def _in_chunks(p: _Problem, to: Gradients | None) -> Array:
    bias = None if p.bias is None else p.bias.array
    return entropy_of_linear(p.rows, p.w.array, bias, p.target, p.options, p.how.scale(), to, p.max_bytes)


@quiet
def _whole(p: _Problem, gradient: bool) -> tuple[Any, Any, Any, Any]:
    """(values, dx, dw, db) by the formula. Rows that count nothing become zeros, so that nothing in them meets another number."""
    xp = namespace(p.rows)
    dtype = loss_dtype(p.like)
    x, w = (rounded(a, dtype) for a in (p.rows, p.w.array))
    target, scale = p.target, p.how.scale()
    counts = None if scale is None else scale != 0
    if p.options.ignore_index is not None:
        kept = target != p.options.ignore_index
        counts = kept if counts is None else counts & kept
    if counts is not None:
        x = xp.where(counts[:, None], x, xp.zeros_like(x))
    z = x @ w.T
    if p.bias is not None:
        z = z + rounded(p.bias.array, dtype)
    values, g = dispatch.cross_entropy(z, target if target.ndim == 1 else widened(target), p.options, scale, gradient)
    if counts is not None:
        values = xp.where(counts, values, xp.zeros_like(values))
    if g is None:
        return values, None, None, None
    return values, g @ w, g.T @ x, xp.sum(g, axis=0)
