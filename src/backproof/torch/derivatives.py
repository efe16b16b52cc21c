"""Derivatives of the derivatives, in torch's operations, so that they can be differentiated as often as one likes.

J = diag(h) - h h^T is softmax's Jacobian. It annihilates constants, so that a gradient with respect to h may be changed by a
constant along the classes: that of v^T J(h) u is, but for one, (u - <h, u>) (v - <h, v>), symmetric in u and v.
"""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def wide(x: Tensor) -> Tensor:
    return x.double()


def centred(h: Tensor, u: Tensor, dim: int) -> Tensor:
    """u - <h, u>, in double precision: differences of nearly equal numbers are what second derivatives are made of."""
    return wide(u) - (wide(h) * wide(u)).sum(dim, keepdim=True)


def loss_dtype(z: Tensor) -> torch.dtype:
    return torch.float32 if z.dtype in (torch.float16, torch.bfloat16) else z.dtype


def class_axis(z: Tensor) -> int:
    return min(1, z.ndim - 1)


def along_classes(weight: Tensor, z: Tensor) -> Tensor:
    """(C,) as something that multiplies z."""
    return weight.reshape([-1 if d == class_axis(z) else 1 for d in range(z.ndim)])


def curvature_factor(
    z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str, label_smoothing: float
) -> Tensor:
    """What multiplies J in the Hessian of each row's loss: T = sum(t) of its smoothed and weighted target, over the mean's divisor.

    z's shape with one class; double.
    """
    axis, classes = class_axis(z), z.shape[class_axis(z)]
    weights = torch.ones(classes, dtype=torch.float64, device=z.device) if weight is None else wide(weight.detach()).to(z.device)
    spread = label_smoothing / max(classes, 1) * weights.sum()
    if target.shape == z.shape:
        mass = ((1 - label_smoothing) * wide(target.detach()) * along_classes(weights, z)).sum(axis, keepdim=True) + spread
        return mass / max(mass.numel(), 1) if reduction == "mean" else mass
    labels = target.long().unsqueeze(axis)
    kept = labels != ignore_index
    counts = torch.where(kept, weights[torch.where(kept, labels, 0)], 0.0) if classes else wide(torch.zeros_like(labels))
    mass = torch.where(kept, (1 - label_smoothing) * counts + spread, 0.0)
    if reduction != "mean":
        return mass
    divisor = counts.sum()
    return torch.where(divisor == 0, 0.0, mass / divisor)


def times_rows(upstream: Tensor, gradient: Tensor, axis: int, reduction: str) -> Tensor:
    """The gradient, its rows times their upstream gradient (one for all if they are reduced)."""
    factor = upstream.unsqueeze(axis) if reduction == "none" else upstream
    return (gradient * factor).to(gradient.dtype)


def rowwise(factor: Tensor, product: Tensor) -> Tensor:
    """factor * product, exactly 0 where the factor is, whatever a row that does not count holds."""
    return torch.where(factor == 0, 0.0, product * factor).to(product.dtype)


def along_tangent(gradient: Tensor, tangent: Tensor, axis: int, reduction: str, dtype: torch.dtype) -> Tensor:
    """<gradient, tangent>: how the loss moves with the logits."""
    moves = wide(gradient) * wide(tangent)
    return (moves.sum(axis) if reduction == "none" else moves.sum()).to(dtype)


def log_softmax_vjp_backward(log_h: Tensor, u: Tensor, v: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The gradient of <v, u - h sum(u)> with respect to log h, and to u."""
    h = wide(log_h).exp()
    return (-(h * wide(v)) * wide(u).sum(dim, keepdim=True)).to(log_h.dtype), centred(h, v, dim).to(log_h.dtype)
