"""Cross-entropy of labels on a GPU: loss and gradient by one program, and nothing that waits for the GPU.

So no value is looked at, labels neither: one that is no class and not ignored makes its row, and a loss that it is in, nan.
"""

from __future__ import annotations

import torch

from backproof.functional.reduction import REDUCTIONS
from backproof.kernels import dispatch
from backproof.torch.derivatives import class_axis, loss_dtype

Tensor = torch.Tensor
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def cross_entropy(
    z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float, gradient: bool
) -> tuple[Tensor, Tensor] | None:
    """(loss, gradient) as in `plain`; None: not for here, or in error."""
    kernel = dispatch.on_a_gpu("labelled", z)
    if kernel is None:
        return None
    axis, z = class_axis(z), z.detach()
    if (
        target.shape != z.shape[:axis] + z.shape[axis + 1 :]
        or target.dtype not in WHOLE
        or target.device != z.device
        or reduction not in REDUCTIONS
        or not 0 <= label_smoothing <= 1
        or not -(2**63) <= ignore_index < 2**63
        or z.is_neg()
    ):
        return None
    target, ignore_index, weights = target.long(), int(ignore_index), None
    if weight is not None:
        if label_smoothing or weight.shape != z.shape[axis : axis + 1] or weight.device != z.device:
            return None
        weights = weight.detach().double()
    divisor = _counted(target, weights, ignore_index) if reduction == "mean" else None
    slopes = torch.empty_like(z, memory_format=torch.contiguous_format) if gradient else None
    parts = kernel(z, axis, target, weights, None, divisor, ignore_index, label_smoothing, slopes)
    loss = torch.empty(target.shape if reduction == "none" else (), dtype=loss_dtype(z), device=z.device)
    if weights is not None or reduction == "none":
        parts = parts.sum(0)
    if weights is not None:
        parts = dispatch.on_a_gpu("weighted", z)(parts, weights, target.reshape(-1))  # type: ignore[misc]
    if reduction == "none":
        loss.view(-1).copy_(parts)
    elif divisor is None:
        loss.copy_(parts.sum())
    else:
        torch.div(parts.sum(), divisor, out=loss)
    return loss, z.new_empty(0) if slopes is None else slopes


def _counted(target: Tensor, weights: Tensor | None, ignore_index: int) -> Tensor:
    """What the rows count in a mean, together; where nothing does, something, as then nothing is divided by it."""
    kept = target != ignore_index
    if weights is None:
        return kept.sum().clamp_(min=1)
    label = torch.where(kept, target, 0).clamp(0, weights.numel() - 1)
    total = torch.where(kept, weights[label], 0.0).sum()
    return torch.where(total == 0, 1.0, total)


def times(gradient: Tensor, u: Tensor) -> Tensor | None:
    """gradient times the number u, in its place, without a look at it from here; None: not for here."""
    kernel = dispatch.on_a_gpu("times", gradient)
    if kernel is None or u.ndim or u.device != gradient.device or not gradient.is_contiguous():
        return None
    made: Tensor = kernel(gradient.detach(), u.detach())
    return made
