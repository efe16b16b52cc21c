"""The same functions as operators that torch.compile puts into its graphs as they are: `torch.ops.backproof`.

The compiler cannot look into a NumPy kernel, nor can it trace an autograd Function with a forward mode; an operator needs only the
shapes of its results. The derivatives are those of `graph`, made of operators.
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.torch import plain
from backproof.torch.derivatives import (
    centred,
    class_axis,
    curvature_factor,
    log_softmax_vjp_backward,
    loss_dtype,
    rowwise,
    times_rows,
)

Tensor = torch.Tensor
_ONE, _TWO = "(Tensor z, int dim) -> Tensor", "(Tensor h, Tensor upstream, int dim) -> Tensor"


def _operator(function: Any, schema: str) -> Any:
    return torch.library.custom_op(f"backproof::{function.__name__}", function, mutates_args=(), schema=schema)


softmax = _operator(plain.softmax, _ONE)
softmax_vjp = _operator(plain.softmax_vjp, _TWO)
log_softmax = _operator(plain.log_softmax, _ONE)
log_softmax_vjp = _operator(plain.log_softmax_vjp, _TWO)
logsumexp = _operator(plain.logsumexp, _ONE)
cross_entropy = _operator(
    plain.cross_entropy,
    "(Tensor z, Tensor target, Tensor? weight, int ignore_index, str reduction, float label_smoothing, bool gradient)"
    " -> (Tensor, Tensor)",
)


# --- shapes ----------------------------------------------------------------------------------------------------------------
def _like_first(first: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(first, memory_format=torch.contiguous_format)


for _each in (softmax, softmax_vjp, log_softmax, log_softmax_vjp):
    _each.register_fake(_like_first)


@logsumexp.register_fake  # type: ignore[untyped-decorator]
def _(z: Tensor, dim: int) -> Tensor:
    return z.new_empty([n for i, n in enumerate(z.shape) if i != dim])


@cross_entropy.register_fake  # type: ignore[untyped-decorator]
def _(
    z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float, gradient: bool
) -> tuple[Tensor, Tensor]:
    axis = class_axis(z)
    rows = [n for i, n in enumerate(z.shape) if i != axis] if reduction == "none" else []
    return z.new_empty(rows, dtype=loss_dtype(z)), _like_first(z) if gradient else z.new_empty(0)


# --- derivatives -----------------------------------------------------------------------------------------------------------
def _keep_output(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.dim = inputs[-1]
    ctx.save_for_backward(output)


def _keep_inputs(ctx: Any, inputs: Any, output: Tensor) -> None:
    ctx.dim = inputs[-1]
    ctx.save_for_backward(*inputs[:-1])


def _softmax_backward(ctx: Any, u: Tensor) -> Any:
    return softmax_vjp(ctx.saved_tensors[0], u, ctx.dim), None


def _softmax_vjp_backward(ctx: Any, v: Tensor) -> Any:
    h, u = ctx.saved_tensors
    return (centred(h, u, ctx.dim) * centred(h, v, ctx.dim)).to(h.dtype), softmax_vjp(h, v, ctx.dim), None


def _log_softmax_backward(ctx: Any, u: Tensor) -> Any:
    return log_softmax_vjp(ctx.saved_tensors[0], u, ctx.dim), None


def _log_softmax_vjp_backward(ctx: Any, v: Tensor) -> Any:
    log_h, u = ctx.saved_tensors
    return *log_softmax_vjp_backward(log_h, u, v, ctx.dim), None


def _logsumexp_backward(ctx: Any, u: Tensor) -> Any:
    return softmax(ctx.saved_tensors[0], ctx.dim) * u.unsqueeze(ctx.dim), None


def _keep_entropy(ctx: Any, inputs: Any, output: Any) -> None:
    z, target, weight, *ctx.options, ctx.made = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, target, weight, output[1])


def _entropy_backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> Any:
    z, target, weight, gradient = ctx.saved_tensors
    axis, dz = class_axis(z), None
    if u is not None:
        if not ctx.made:
            gradient = cross_entropy(z, target, weight, *ctx.options, True)[1]
        dz = times_rows(u, gradient, axis, ctx.options[1])
    if v is not None and ctx.made:
        second = rowwise(curvature_factor(z, target, weight, *ctx.options), softmax_vjp(softmax(z, axis), v, axis))
        dz = second if dz is None else dz + second
    return dz, None, None, None, None, None, None


softmax.register_autograd(_softmax_backward, setup_context=_keep_output)
softmax_vjp.register_autograd(_softmax_vjp_backward, setup_context=_keep_inputs)
log_softmax.register_autograd(_log_softmax_backward, setup_context=_keep_output)
log_softmax_vjp.register_autograd(_log_softmax_vjp_backward, setup_context=_keep_inputs)
logsumexp.register_autograd(_logsumexp_backward, setup_context=_keep_inputs)
cross_entropy.register_autograd(_entropy_backward, setup_context=_keep_entropy)
