"""Cross-entropy of few numbers, where the checks and layers of the general way take ten times as long as the arithmetic.

What is ordinary (logits (N, C) and labels in plain memory, no weights, no smoothing) goes to the compiled kernel by its addresses.
The loss and the gradient have the bits of the general way, which takes everything else, and the derivatives of the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from backproof.kernels import dispatch
from backproof.torch import entropy_node
from backproof.torch.derivatives import times_rows

Tensor = torch.Tensor

FEW = 1 << 16  # numbers that one thread works on, whose time is of the order of that of the checks
REDUCTIONS = ("mean", "sum", "none")
_BYTES = {torch.float32: 4, torch.float64: 8}
_KNOWN = all(  # parts of torch that tell what is not ordinary; where one is missing, nothing is
    hasattr(torch._C, name)
    for name in ("_dispatch_keys", "_are_functorch_transforms_active", "_get_tracing_state", "_len_torch_dispatch_stack")
)


def _keys(tensor: Tensor) -> int:
    """What torch has to mind with this tensor: where its memory is, whether it has any, whether its numbers are to be negated."""
    keys: int = torch._C._dispatch_keys(tensor).raw_repr()
    return keys


def _ordinary_keys() -> frozenset[int]:
    """Of tensors in the memory of the processor, made outside and inside `torch.inference_mode`."""
    found = []
    for mode in (False, True):
        with torch.inference_mode(mode):
            found.append(_keys(torch.empty(0, device="cpu")))
    return frozenset(found)


_ORDINARY = _ordinary_keys() if _KNOWN else frozenset[int]()


class CrossEntropy(torch.autograd.Function):
    """(z, what has been computed) -> loss."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, computed: tuple[Tensor, Tensor, Tensor, int, str]) -> Tensor:
        loss, target, gradient, ctx.ignore_index, ctx.reduction = computed
        ctx.save_for_backward(z, target, gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None]:
        z, target, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # this will be differentiated: by the general way
            gradient = entropy_node.both(z, target, None, ctx.ignore_index, ctx.reduction, 0.0, True)[1]
        elif entropy_node.gives(u):
            return gradient.detach(), None
        return times_rows(u, gradient, 1, ctx.reduction), None


_apply: Any = super(torch.autograd.Function, CrossEntropy).apply  # without the checks for torch.func


def cross_entropy(z: Tensor, target: Tensor, ignore_index: int, reduction: str) -> Tensor | None:
    """The loss; None: not ordinary, or in error."""
    kernel = dispatch.few_labelled() if _takes(z, target, ignore_index, reduction) else None
    if kernel is None:
        return None
    rows, classes = z.shape
    counted = _counted(target, classes, ignore_index)
    if counted is None:
        return None
    wanted = z.requires_grad and torch.is_grad_enabled()
    gradient = z.new_empty((rows, classes)) if wanted else None
    losses = kernel(
        _BYTES[z.dtype], rows, classes, z.data_ptr(), *z.stride(), target.data_ptr(), ignore_index,
        1.0 / counted if reduction == "mean" else None, 0 if gradient is None else gradient.data_ptr(),
    )  # fmt: skip
    if reduction == "none":
        loss = torch.from_numpy(losses).to(z.dtype)
    else:
        value = dispatch.rounded_total(losses)
        loss = torch.tensor(value / counted if reduction == "mean" else value, dtype=z.dtype, device="cpu")
    return loss if gradient is None else _apply(z, (loss, target, gradient, ignore_index, reduction))


def _takes(z: Any, target: Any, ignore_index: Any, reduction: Any) -> bool:
    return (
        _KNOWN
        and torch._C._get_tracing_state() is None
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and (type(z) is Tensor or type(z) is torch.nn.Parameter)
        and type(target) is Tensor
        and z.dtype in _BYTES
        and target.dtype is torch.int64
        and z.ndim == 2
        and z.shape[:1] == target.shape
        and 0 < z.numel() < FEW
        and reduction in REDUCTIONS
        and type(ignore_index) is int
        and abs(ignore_index) < 1 << 62
        and target.is_contiguous()
        and _keys(z) in _ORDINARY
        and _keys(target) in _ORDINARY
        and not (z.data_ptr() % _BYTES[z.dtype] or target.data_ptr() % 8)
        and torch.autograd.forward_ad.unpack_dual(z).tangent is None
    )


def _counted(target: Tensor, classes: int, ignore_index: int) -> int | None:
    """How many labels there are but for ignored ones; None: there is none, or one outside the classes."""
    labels = target.numpy().view(np.uint64)  # negative ones become the largest
    if not 0 <= ignore_index < classes and np.maximum.reduce(labels) < classes:
        return len(labels)
    kept = labels[labels != ignore_index % (1 << 64)]
    return len(kept) if len(kept) and np.maximum.reduce(kept) < classes else None
