"""Softmax and its kin as nodes of torch's graph, made of their `rules`: backward, its backward, forward mode, vmap."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch

from backproof.torch import operators, plain
from backproof.torch.applied import applied
from backproof.torch.rules import RULES

Tensor = torch.Tensor
_THIS: Any = sys.modules[__name__]
_OTHER = getattr(torch._C.DispatchKey, "AutogradOther", None) if hasattr(torch._C, "_dispatch_keys") else None


def by(*tensors: Tensor | None) -> Any:
    """Where the values come from. Tensors that only stand for others (fake ones; many in one, as `is_grads_batched` makes them)
    have no memory for a kernel to see; operators know what to do with them."""
    for t in tensors:
        if t is None:
            continue
        if type(t) not in (torch.Tensor, torch.nn.Parameter):
            return operators
        if _OTHER is not None and torch._C._dispatch_keys(t).has(_OTHER):
            return operators
    return plain


def _node(name: str) -> Callable[..., Tensor]:
    """A function of tensors of one shape and of an axis, counted from 0; both modes find the tensors in `saved_tensors`."""
    rule = RULES[name]

    class Node(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Tensor:
            *tensors, dim = inputs
            result: Tensor = getattr(by(*tensors), name)(*tensors, dim)
            return result

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
            ctx.dim = inputs[-1]
            kept = (output,) if rule.keeps_output else inputs[:-1]
            ctx.save_for_backward(*kept)
            ctx.save_for_forward(*kept)

        @staticmethod
        def backward(ctx: Any, *upstream: Any) -> Any:
            return *rule.backward(_THIS, ctx.saved_tensors, upstream[0], ctx.dim), None

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            return rule.forward(_THIS, ctx.saved_tensors, tangents[:-1], ctx.dim)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *inputs: Any) -> tuple[Any, int]:
            *tensors, dim = inputs
            moved = [
                t.expand(info.batch_size, *t.shape) if d is None else t.movedim(d, 0)
                for t, d in zip(tensors, in_dims[:-1], strict=True)
            ]
            return Node.apply(*moved, dim + 1), 0

    named: Any = type(name.title().replace("_", ""), (Node,), {})  # a tensor's grad_fn shows this name
    return applied(named)


softmax = _node("softmax")
softmax_vjp = _node("softmax_vjp")
log_softmax = _node("log_softmax")
log_softmax_vjp = _node("log_softmax_vjp")
logsumexp = _node("logsumexp")
