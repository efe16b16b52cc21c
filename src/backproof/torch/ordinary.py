"""Cross-entropy of ordinary tensors, where the checks and layers of the general way may take ten times as long as the arithmetic.

Ordinary are logits and labels in plain memory, no weights, no smoothing: logits (N, C) on the CPU go to the compiled kernel by
their addresses, on a GPU to its program. Loss and gradient have the bits of the general way, which takes everything else, errors
too, and differentiates the gradient.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch.autograd import forward_ad

from backproof.functional.reduction import REDUCTIONS
from backproof.kernels import dispatch, tensors
from backproof.torch import entropy_node, on_gpu
from backproof.torch.derivatives import class_axis, times_rows

Tensor = torch.Tensor

SHARED = 1 << 19  # numbers from which on threads are called; between, torch's own, still awake, are in their way and they in theirs
_BYTES = {torch.float32: 4, torch.float64: 8}

# Each question to torch costs a few tenths of a microsecond where its code has left the first cache; none are ordinary if a part of
# torch is missing that is needed to tell.
_NEEDED = "_get_tracing_state", "_are_functorch_transforms_active", "_len_torch_dispatch_stack"
POSSIBLE = all(hasattr(torch._C, name) for name in _NEEDED) and hasattr(forward_ad, "_current_level")
_asked: Any = [getattr(torch._C, name, None) for name in _NEEDED]
_tracing, _transforms, _modes = _asked


@cache
def _keys_on_a_gpu(device: torch.device) -> frozenset[int]:
    """What torch has to mind with tensors in a GPU's plain memory, made outside and inside `torch.inference_mode`.

    Any others are elsewhere, have no memory, or have another meaning than what is in it: their numbers are to be negated, say.
    """
    keys = set()
    for mode in (False, True):
        with torch.inference_mode(mode):
            keys.add(torch._C._dispatch_keys(torch.empty(0, device=device)).raw_repr())
    return frozenset(keys)


class CrossEntropy(torch.autograd.Function):
    """(z, what has been computed) -> loss.

    The gradient is no saved tensor: nobody else knows it, and it is given away as it is wherever that is possible.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, computed: tuple[Tensor, Tensor, Tensor, tuple[int, str]]) -> Tensor:
        loss, target, ctx.gradient, ctx.options = computed
        ctx.save_for_backward(z, target)
        return loss

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor, None]:
        gradient: Tensor = ctx.gradient
        if entropy_node.gives(u) and gradient is not None:
            ctx.gradient = None
            return gradient, None
        z, target = ctx.saved_tensors  # refused where the graph has been freed, and the gradient given away
        if not entropy_node.graph_is_kept():
            ctx.gradient = None
        made = entropy_node.given(gradient, u)
        if made is not None:
            return made, None
        if torch.is_grad_enabled():  # this will be differentiated
            gradient = entropy_node.both(z, target, None, *ctx.options, 0.0, True)[1]
        return times_rows(u, gradient, class_axis(z), ctx.options[1]), None


_apply: Any = super(torch.autograd.Function, CrossEntropy).apply  # without what torch.func needs, which takes as long as the rest


def cross_entropy(z: Any, target: Any, ignore_index: Any, reduction: Any) -> Tensor | None:
    """The loss; None: not ordinary, or in error."""
    if (
        not POSSIBLE
        or not (type(z) is Tensor or type(z) is torch.nn.Parameter)
        or type(target) is not Tensor
        or _tracing() is not None
        or _transforms()
        or _modes()
        or forward_ad._current_level >= 0
    ):
        return None
    if not z.is_cpu or tensors.INTERPRETED:
        if tensors.on_a_gpu((z,)):
            return _on_a_gpu(z, target, ignore_index, reduction)
        if not z.is_cpu:
            return None
    try:
        (rows, classes), (count,), item = z.shape, target.shape, _BYTES[z.dtype]
        source, labels = z.data_ptr(), target.data_ptr()  # 0 where the numbers are not kept as such
    except (ValueError, KeyError, RuntimeError):  # other dimensions, other numbers, no memory
        return None
    if (
        not target.is_cpu
        or z.is_neg()
        or target.is_neg()
        or target.dtype is not torch.int64
        or count != rows
        or not target.is_contiguous()
        or not (source and labels)
        or source % item
        or labels % 8
        or not 0 < rows * classes < dispatch.MOST
        or reduction not in REDUCTIONS
        or type(ignore_index) is not int
        or not -dispatch.FARTHEST < ignore_index < dispatch.FARTHEST
    ):
        return None
    kernels = dispatch.by_address()
    if kernels is None:
        return None
    wanted = z.requires_grad and torch.is_grad_enabled()
    gradient = torch.empty_like(z, memory_format=torch.contiguous_format) if wanted else None
    out, mean, added = 0 if gradient is None else gradient.data_ptr(), reduction == "mean", reduction != "none"
    few, steps = added and rows <= dispatch.FEW, z.stride()
    if few and rows * classes < SHARED:
        loss = z.new_empty(())
        value = kernels.few_labelled(item, rows, classes, mean)(source, *steps, labels, ignore_index, out, loss.data_ptr())
        if 0.0 <= value < math.inf:
            return loss if gradient is None else _apply(z, (loss, target, gradient, (ignore_index, reduction)))
    found = kernels.labelled_by_address(item, rows, classes, source, *steps, labels, ignore_index, mean, few, out, SHARED)
    if found is None:
        return None
    reduced = dispatch.reduced(found, mean, added)
    loss = torch.tensor(reduced, dtype=z.dtype, device="cpu") if added else torch.from_numpy(reduced).to(z.dtype)
    return loss if gradient is None else _apply(z, (loss, target, gradient, (ignore_index, reduction)))


def _on_a_gpu(z: Tensor, target: Tensor, ignore_index: Any, reduction: Any) -> Tensor | None:
    keys = _keys_on_a_gpu(z.device)
    if (
        torch._C._dispatch_keys(z).raw_repr() not in keys
        or torch._C._dispatch_keys(target).raw_repr() not in keys
        or type(ignore_index) is not int
    ):
        return None
    wanted = z.requires_grad and torch.is_grad_enabled()
    made = on_gpu.cross_entropy(z, target, None, ignore_index, reduction, 0.0, wanted)
    if made is None or not wanted:
        return None if made is None else made[0]
    loss, gradient = made
    return _apply(z, (loss, target, gradient, (ignore_index, reduction)))
