"""The derivatives of cross-entropy after a linear layer, in torch's operations and in chunks of rows: logits are never whole.

With z_n = W x_n + b and E = sum_n u_n L_n(z_n), g = dL/dz and H its Hessian, the gradient of E is

    dx_n = u_n W^T g_n        dW = sum_n u_n g_n x_n^T        db = sum_n u_n g_n

Along a direction (a, A, c) of (x, W, b) the logits move by t_n = W a_n + A x_n + c, L_n by <g_n, t_n>, and with q_n = u_n H_n t_n

    dx_n by W^T q_n + u_n A^T g_n        dW by sum_n q_n x_n^T + u_n g_n a_n^T        db by sum_n q_n

which is the forward mode of the gradient, and, the Hessian being symmetric, its backward too: that of an upstream (a, A, c).
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.kernels.linear_entropy import MEMORY
from backproof.torch.derivatives import counts, curvature_product, loss_dtype, over_mean

Tensor = torch.Tensor
Made = tuple[Tensor | None, ...]
ARRAYS = 9  # of a chunk's logits' size, in double precision: what `curved` has at a time


def keep_linear(ctx: Any, inputs: Any, output: Any) -> None:
    *tensors, ignored, reduction, smoothing, ctx.made = inputs
    ctx.options, ctx.loss_dtype = (ignored, reduction, smoothing), output[0].dtype
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, *output[1:])


def row_factor(x: Tensor, w: Tensor, scale: Tensor | None, target: Tensor, weight: Tensor | None, options: Any) -> Tensor:
    """u_n, (N, 1), in double precision: the scale of the row, over the mean's divisor if there is one."""
    like = _like_logits(x, w)
    factor = torch.ones_like(like[:, :1], dtype=torch.float64) if scale is None else scale.double().unsqueeze(1)
    return over_mean(factor, counts(like, target, weight, options[0])) if options[1] == "mean" else factor


def _like_logits(x: Tensor, w: Tensor) -> Tensor:
    """Something of the logits' shape that holds one number."""
    return x.new_zeros(()).expand(x.shape[0], w.shape[0])


def curved(
    f: Any, both: Any, saved: Any, options: Any, a: Tensor | None, big_a: Tensor | None, c: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(<g_n, t_n> of each row; dx, dW, db along the direction). `f` as in `rules`, `both` makes loss and gradient of logits."""
    x, w, bias, scale, target, weight = saved
    sums = options[0], "sum", options[2]
    single = loss_dtype(x.new_empty(0, dtype=torch.promote_types(x.dtype, w.dtype)))
    factor = row_factor(x, w, scale, target, weight, options).to(single)
    x, w = x.to(single), w.to(single)
    bias, a, big_a, c = (None if each is None else each.to(single) for each in (bias, a, big_a, c))
    if target.ndim == 1:
        x = torch.where((target != options[0]).unsqueeze(1), x, 0.0)  # whatever a row that does not count holds
    rows = max(1, MEMORY // (8 * ARRAYS * max(w.shape[0], 1)))
    # Results have their place beforehand: small ones made between a chunk's large arrays keep memory from being used again. Where
    # an argument stands for many (vmap), so must the places.
    zero = sum(each.new_zeros(()) for each in (x, w, bias, factor, target, weight, a, big_a, c) if each is not None)
    moved, dx, dw, db = x.new_zeros(len(x)) + zero, torch.zeros_like(x) + zero, torch.zeros_like(w), w.new_zeros(w.shape[0])
    for first in range(0, max(len(x), 1), rows):
        part = slice(first, first + rows)
        xs, ts, us = x[part], target[part], factor[part]
        z = torch.nn.functional.linear(xs, w, bias)
        t = torch.zeros_like(z) if c is None else c.expand_as(z)
        t = t if a is None else t + a[part] @ w.T
        t = t if big_a is None else t + xs @ big_a.T
        g = both(z, ts, weight, *sums, True)[1]
        q, ug = curvature_product(f, z, ts, weight, sums, t) * us, g * us
        moved[part] = (g * t).sum(1)
        dx[part] = q @ w if big_a is None else q @ w + ug @ big_a
        dw = dw + q.T @ xs if a is None else dw + q.T @ xs + ug.T @ a[part]
        db = db + q.sum(0)
    return moved, dx, dw, db


def linear_backward(f: Any, both: Any, linear: Any, ctx: Any, upstream: Any, given: Any) -> Made:
    """The gradients with respect to x, W, b and the rows' scale; `linear` makes loss and gradients, the rest as in
    `entropy_backward`. A loss of scaled rows is looked at by nobody: it serves its gradient."""
    v, a, big_a, c = upstream
    *saved, dx, dw, db = ctx.saved_tensors
    x, w, bias, scale, target, weight = saved
    ignored, reduction, smoothing = ctx.options
    found: Made = (None, None, None, None)
    if v is not None and reduction == "none":
        found = *linear(x, w, bias, v, target, weight, ignored, "sum", smoothing, True)[1:], None
    elif v is not None:
        made = (dx, dw, db) if ctx.made else linear(*saved, *ctx.options, True)[1:]
        alone = ctx.made and a is big_a is c is None
        found = *(_times(each, v, given if alone else None) for each in made), None
    if ctx.made and not a is big_a is c is None:
        moved, *second = curved(f, both, saved, ctx.options, a, big_a, None if bias is None else c)
        found = tuple(_sum(*each) for each in zip(found, (*second, moved), (x, w, bias, scale), strict=True))
    return *found[:2], None if bias is None else found[2], found[3]


def _times(gradient: Tensor, v: Tensor, given: Any) -> Tensor:
    made = None if given is None else given(gradient, v)
    return (gradient * v).to(gradient.dtype) if made is None else made


def _sum(one: Tensor | None, two: Tensor, like: Tensor | None) -> Tensor | None:
    if like is None:
        return None
    return two.to(like.dtype) if one is None else one + two.to(like.dtype)


def linear_forward(f: Any, both: Any, linear: Any, ctx: Any, tangents: Any) -> tuple[Tensor, ...]:
    """Tangents of loss and gradients."""
    *saved, dx, dw, db = ctx.saved_tensors
    x, w, bias, scale, target, weight = saved
    tx, tw, tb, tscale = tangents[:4]
    moved, *second = curved(f, both, saved, ctx.options, tx, tw, tb)
    loss = moved.to(ctx.loss_dtype)
    if ctx.options[1] != "none":
        loss = (moved.double() * row_factor(x, w, scale, target, weight, ctx.options)[:, 0]).sum().to(ctx.loss_dtype)
    if not ctx.made:
        return loss, *(x.new_zeros(0) for _ in range(3))
    along = [second[0].to(dx.dtype), second[1].to(dw.dtype), second[2].to(db.dtype) if bias is not None else torch.zeros_like(db)]
    if tscale is not None:
        more = linear(x, w, bias, tscale, target, weight, *ctx.options, True)[1:]
        along = [one + two for one, two in zip(along, more, strict=True)]
    return loss, *along
