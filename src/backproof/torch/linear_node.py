"""Cross-entropy after a linear layer as a node of torch's graph, with its gradients, made in the forward, as further outputs.

As in `entropy_node`, the backward is then a product with outputs, and what arrives at these goes through `linear_derivatives`.
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.torch import graph
from backproof.torch.applied import applied
from backproof.torch.entropy_node import both, given, one_by_one
from backproof.torch.linear_derivatives import keep_linear, linear_backward, linear_forward

Tensor = torch.Tensor


class LinearCrossEntropy(torch.autograd.Function):
    """(x, W, bias, the rows' scale, target, weight, ignore_index, reduction, label_smoothing, whether gradients are wanted)
    -> (loss, dx, dW, db); without a bias db is empty."""

    @staticmethod
    def forward(*inputs: Any) -> tuple[Tensor, ...]:
        results: tuple[Tensor, ...] = graph.by(*inputs[:6]).linear_cross_entropy(*inputs)
        return results

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        keep_linear(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:6], *output[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        return *linear_backward(graph, both, linear, ctx, upstream, given), *[None] * 6

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return linear_forward(graph, both, linear, ctx, tangents)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(linear, info, in_dims, inputs)


_apply = applied(LinearCrossEntropy)


def linear(*inputs: Any) -> tuple[Tensor, ...]:
    made: tuple[Tensor, ...] = _apply(*inputs)
    return made
