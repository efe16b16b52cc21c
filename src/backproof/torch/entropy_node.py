"""Cross-entropy as a node of torch's graph. Its gradient, made in the forward, is its second output.

So the backward is a product of an upstream gradient with an output, which torch can differentiate again: what arrives at the second
output is multiplied with the Hessian, the softmax Jacobian.
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.torch import graph
from backproof.torch.derivatives import along_tangent, class_axis, curvature_factor, loss_dtype, rowwise, times_rows

Tensor = torch.Tensor


class CrossEntropy(torch.autograd.Function):
    """(z, target, weight, ignore_index, reduction, label_smoothing, whether the gradient is wanted) -> (loss, gradient)."""

    @staticmethod
    def forward(z: Tensor, target: Tensor, weight: Tensor | None, *options: Any) -> tuple[Tensor, Tensor]:
        where = graph.by(z, target) if weight is None else graph.by(z, target, weight)
        return where.cross_entropy(z, target, weight, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        z, target, weight, *options, ctx.made = inputs
        ctx.options = options
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, target, weight, output[1])
        ctx.save_for_forward(z, target, weight, output[1])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        u, v = upstream
        z, target, weight, gradient = ctx.saved_tensors
        dz = None
        if u is not None:
            if not ctx.made:
                gradient = both(z, target, weight, *ctx.options, True)[1]
            # Given away as it is only where the graph is about to be freed: a leaf takes it as its own, and writes to it.
            gives = ctx.made and not torch.is_grad_enabled() and not _graph_is_kept()
            dz = gradient.detach() if gives and _is_one(u) else times_rows(u, gradient, class_axis(z), ctx.options[1])
        if v is not None and ctx.made:
            second = curvature_product(z, target, weight, ctx.options, v)
            dz = second if dz is None else dz + second
        return dz, None, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        z, target, weight, gradient = ctx.saved_tensors
        t = tangents[0]
        if t is None:
            return None, None
        if not ctx.made:
            gradient = both(z, target, weight, *ctx.options, True)[1]
        moved = along_tangent(gradient, t, class_axis(z), ctx.options[1], loss_dtype(z))
        return moved, curvature_product(z, target, weight, ctx.options, t) if ctx.made else gradient.new_zeros(0)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        """One by one: each has its own mean, and its own labels that count."""
        parts = [
            both(*(x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(column) for column in zip(*parts, strict=True)), (0, 0)


def both(*inputs: Any) -> tuple[Tensor, Tensor]:
    return CrossEntropy.apply(*inputs)


def curvature_product(z: Tensor, target: Tensor, weight: Tensor | None, options: Any, v: Tensor) -> Tensor:
    """H v: of each row its factor times J v."""
    axis = class_axis(z)
    return rowwise(curvature_factor(z, target, weight, *options), graph.softmax_vjp(graph.softmax(z, axis), v, axis))


def _is_one(u: Tensor) -> bool:
    """Whether to multiply with u can be left out: only where it costs nothing to know."""
    if u.ndim or u.device.type != "cpu":
        return False
    try:
        return bool(u == 1)
    except RuntimeError:  # one of many upstream gradients that vmap stands for
        return False


def _graph_is_kept() -> bool:
    """Whether there may be another backward: retain_graph, as torch knows it; True where torch does not tell."""
    try:
        return bool(torch._C._autograd._get_current_graph_task_keep_graph())
    except (AttributeError, RuntimeError):
        return True
