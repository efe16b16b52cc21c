"""Cross-entropy as a node of torch's graph. Its gradient, made in the forward, is its second output.

So the backward is a product of an upstream gradient with an output, which torch can differentiate again: what arrives at the second
output is multiplied with the Hessian, the softmax Jacobian.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad

from backproof.torch import graph, on_gpu, plain
from backproof.torch.applied import applied
from backproof.torch.derivatives import along_tangent, class_axis, curvature_product, entropy_backward, loss_dtype

Tensor = torch.Tensor


class CrossEntropy(torch.autograd.Function):
    """(z, target, weight, ignore_index, reduction, label_smoothing, whether the gradient is wanted) -> (loss, gradient)."""

    @staticmethod
    def forward(z: Tensor, target: Tensor, weight: Tensor | None, *options: Any) -> tuple[Tensor, Tensor]:
        return graph.by(z, target, weight).cross_entropy(z, target, weight, *options)

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
        return entropy_backward(graph, both, ctx, u, v, given), None, None, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        z, target, weight, gradient = ctx.saved_tensors
        t = tangents[0]
        if t is None:
            return None, None
        if not ctx.made:
            gradient = both(z, target, weight, *ctx.options, True)[1]
        moved = along_tangent(gradient, t, class_axis(z), ctx.options[1], loss_dtype(z))
        return moved, curvature_product(graph, z, target, weight, ctx.options, t) if ctx.made else gradient.new_zeros(0)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *inputs: Any) -> Any:
        return one_by_one(both, info, in_dims, inputs)


_apply = applied(CrossEntropy)


def both(*inputs: Any) -> tuple[Tensor, Tensor]:
    made: tuple[Tensor, Tensor] = _apply(*inputs)
    return made


def one_by_one(function: Any, info: Any, in_dims: Any, inputs: Any) -> Any:
    """Of each of a batch apart: each has its own mean, and its own labels that count."""
    parts = [
        function(*(x if d is None else x.select(d, i) for x, d in zip(inputs, in_dims, strict=True)))
        for i in range(info.batch_size)
    ]
    columns = tuple(torch.stack(column) for column in zip(*parts, strict=True))
    return columns, (0,) * len(columns)


def gives(u: Tensor) -> bool:
    """Whether a gradient may be given away as it is: only where u is known to be one, at no cost, and the graph is about to be
    freed, as a leaf takes the gradient for its own, and writes to it."""
    if torch.is_grad_enabled() or u.ndim or not u.is_cpu:
        return False
    try:
        return not _keeps_graph() and u.item() == 1 and not _moves_along(u)
    except RuntimeError:  # one of many upstream gradients that vmap stands for
        return False


def given(gradient: Tensor, u: Tensor) -> Tensor | None:
    """The gradient times u, which nothing is lost by making of the gradient itself; None: something is."""
    if gives(u):
        return gradient.detach()
    if u.ndim or torch.is_grad_enabled() or graph_is_kept() or graph.by(gradient, u) is not plain or _moves_along(u):
        return None
    return on_gpu.times(gradient, u)


def _moves_along(u: Tensor) -> bool:
    """Whether u has a tangent: outside forward mode, where torch tells, nothing has."""
    return getattr(forward_ad, "_current_level", 0) >= 0 and forward_ad.unpack_dual(u).tangent is not None


_keeps_graph: Any = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


def graph_is_kept() -> bool:
    """Whether there may be another backward: retain_graph, as torch knows it; True where torch does not tell."""
    try:
        return bool(_keeps_graph())
    except RuntimeError:
        return True
