"""Softmax and its kin as nodes of torch's graph: backward, its backward, forward mode, vmap.

Each derivative is again made of these nodes, or of torch's own operations, so that every order is right.
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.torch import operators, plain
from backproof.torch.derivatives import centred, log_softmax_vjp_backward, wide

Tensor = torch.Tensor


_OTHER = getattr(torch._C.DispatchKey, "AutogradOther", None) if hasattr(torch._C, "_dispatch_keys") else None


def by(*tensors: Tensor) -> Any:
    """Where the values come from. Tensors that only stand for others (fake ones; many in one, as `is_grads_batched` makes them)
    have no memory for a kernel to see; operators know what to do with them."""
    for t in tensors:
        if type(t) not in (torch.Tensor, torch.nn.Parameter):
            return operators
        if _OTHER is not None and torch._C._dispatch_keys(t).has(_OTHER):
            return operators
    return plain


class _Node(torch.autograd.Function):
    """A function of tensors of one shape and of an axis, counted from 0; both modes find the tensors in `saved_tensors`."""

    @classmethod
    def vmap(cls, info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
        *tensors, dim = inputs
        moved = [
            t.expand(info.batch_size, *t.shape) if d is None else t.movedim(d, 0)
            for t, d in zip(tensors, in_dims[:-1], strict=True)
        ]
        return cls.apply(*moved, dim + 1), 0


def _keep(ctx: Any, *tensors: Tensor) -> None:
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)


class Softmax(_Node):
    """h = softmax(z): both modes are the product with its symmetric Jacobian."""

    @staticmethod
    def forward(z: Tensor, dim: int) -> Tensor:
        return by(z).softmax(z, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[1]
        _keep(ctx, output)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        return softmax_vjp(ctx.saved_tensors[0], upstream[0], ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return softmax_vjp(ctx.saved_tensors[0], tangents[0], ctx.dim)


class SoftmaxVjp(_Node):
    """h * (u - <h, u>), h = softmax(z): the gradient with respect to h is right but for a constant, which softmax annihilates."""

    @staticmethod
    def forward(h: Tensor, u: Tensor, dim: int) -> Tensor:
        return by(h, u).softmax_vjp(h, u, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[2]
        _keep(ctx, *inputs[:2])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        h, u = ctx.saved_tensors
        v, dim = upstream[0], ctx.dim
        dh = (centred(h, u, dim) * centred(h, v, dim)).to(h.dtype) if ctx.needs_input_grad[0] else None
        return dh, softmax_vjp(h, v, dim) if ctx.needs_input_grad[1] else None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        h, u = ctx.saved_tensors
        th, tu, _ = tangents
        result = torch.zeros_like(h) if tu is None else softmax_vjp(h, tu, ctx.dim)
        if th is None:
            return result
        moved = wide(th) * centred(h, u, ctx.dim)
        return result + (moved - wide(h) * moved.sum(ctx.dim, keepdim=True)).to(h.dtype)


class LogSoftmax(_Node):
    """log h: backward u - h sum(u), forward t - <h, t>."""

    @staticmethod
    def forward(z: Tensor, dim: int) -> Tensor:
        return by(z).log_softmax(z, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[1]
        _keep(ctx, output)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        return log_softmax_vjp(ctx.saved_tensors[0], upstream[0], ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (log_h,) = ctx.saved_tensors
        return centred(wide(log_h).exp(), tangents[0], ctx.dim).to(log_h.dtype)


class LogSoftmaxVjp(_Node):
    """u - h sum(u) of log h and u."""

    @staticmethod
    def forward(log_h: Tensor, u: Tensor, dim: int) -> Tensor:
        return by(log_h, u).log_softmax_vjp(log_h, u, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[2]
        _keep(ctx, *inputs[:2])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        log_h, u = ctx.saved_tensors
        return *log_softmax_vjp_backward(log_h, u, upstream[0], ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        log_h, u = ctx.saved_tensors
        t_log, tu, _ = tangents
        result = torch.zeros_like(log_h) if tu is None else log_softmax_vjp(log_h, tu, ctx.dim)
        if t_log is None:
            return result
        return result - (wide(log_h).exp() * wide(t_log) * wide(u).sum(ctx.dim, keepdim=True)).to(log_h.dtype)


class LogSumExp(_Node):
    """Backward and forward by the softmax of z itself: exp(z - logsumexp(z)) has lost what z has before the point."""

    @staticmethod
    def forward(z: Tensor, dim: int) -> Tensor:
        return by(z).logsumexp(z, dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.dim = inputs[1]
        _keep(ctx, inputs[0])

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        return softmax(ctx.saved_tensors[0], ctx.dim) * upstream[0].unsqueeze(ctx.dim), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        (z,) = ctx.saved_tensors
        return (wide(softmax(z, ctx.dim)) * wide(tangents[0])).sum(ctx.dim).to(z.dtype)


def softmax(z: Tensor, dim: int) -> Tensor:
    return Softmax.apply(z, dim)


def softmax_vjp(h: Tensor, upstream: Tensor, dim: int) -> Tensor:
    return SoftmaxVjp.apply(h, upstream, dim)


def log_softmax(z: Tensor, dim: int) -> Tensor:
    return LogSoftmax.apply(z, dim)


def log_softmax_vjp(log_h: Tensor, upstream: Tensor, dim: int) -> Tensor:
    return LogSoftmaxVjp.apply(log_h, upstream, dim)


def logsumexp(z: Tensor, dim: int) -> Tensor:
    return LogSumExp.apply(z, dim)
