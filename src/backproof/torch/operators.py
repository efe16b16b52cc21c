"""The same functions as operators that torch.compile puts into its graphs as they are: `torch.ops.backproof`.

The compiler cannot look into a NumPy kernel, nor can it trace an autograd Function with a forward mode; an operator needs only the
shapes of its results. The derivatives are those of `rules`, made of operators.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from backproof.torch import plain
from backproof.torch.derivatives import class_axis, entropy_backward, loss_dtype
from backproof.torch.linear_derivatives import keep_linear, linear_backward
from backproof.torch.rules import RULES

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
linear_cross_entropy = _operator(
    plain.linear_cross_entropy,
    "(Tensor x, Tensor w, Tensor? bias, Tensor? scale, Tensor target, Tensor? weight, int ignore_index, str reduction,"
    " float label_smoothing, bool gradient) -> (Tensor, Tensor, Tensor, Tensor)",
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


@linear_cross_entropy.register_fake  # type: ignore[untyped-decorator]
def _(*inputs: Any) -> tuple[Tensor, ...]:
    x, w, bias, *_, reduction, _, gradient = inputs
    like = torch.empty(0, dtype=torch.promote_types(x.dtype, w.dtype))
    loss = x.new_empty(x.shape[:1] if reduction == "none" else [], dtype=loss_dtype(like))
    return loss, *(_like_first(each) if gradient and each is not None else x.new_empty(0) for each in (x, w, bias))


# --- derivatives -----------------------------------------------------------------------------------------------------------
_THIS: Any = sys.modules[__name__]


def _differentiable(name: str) -> None:
    rule, operator = RULES[name], getattr(_THIS, name)

    def keep(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[-1]
        ctx.save_for_backward(*((output,) if rule.keeps_output else inputs[:-1]))

    def backward(ctx: Any, u: Tensor) -> Any:
        return *rule.backward(_THIS, ctx.saved_tensors, u, ctx.dim), None

    operator.register_autograd(backward, setup_context=keep)


for _name in RULES:
    _differentiable(_name)


def _keep_entropy(ctx: Any, inputs: Any, output: Any) -> None:
    z, target, weight, *ctx.options, ctx.made = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(z, target, weight, output[1])


def _entropy_backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> Any:
    return entropy_backward(_THIS, cross_entropy, ctx, u, v, lambda gradient, u: None), None, None, None, None, None, None


cross_entropy.register_autograd(_entropy_backward, setup_context=_keep_entropy)


def _linear_backward(ctx: Any, *upstream: Any) -> Any:
    return *linear_backward(_THIS, cross_entropy, linear_cross_entropy, ctx, upstream, lambda gradient, u: None), *[None] * 6


linear_cross_entropy.register_autograd(_linear_backward, setup_context=keep_linear)
