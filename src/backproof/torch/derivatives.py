"""What the derivatives of cross-entropy are made of: its Hessian is the softmax Jacobian, times what the row's target sums to."""

from __future__ import annotations

from typing import Any

import torch

from backproof.torch.rules import wide

Tensor = torch.Tensor


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
    else:
        kept = target.unsqueeze(axis) != ignore_index
        mass = torch.where(kept, (1 - label_smoothing) * counts(z, target, weight, ignore_index) + spread, 0.0)
    return over_mean(mass, counts(z, target, weight, ignore_index)) if reduction == "mean" else mass


def counts(z: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """What each row counts in a mean: the weight of its label, 0 if that is ignored; 1 for probabilities. As `curvature_factor`."""
    axis = class_axis(z)
    if target.shape == z.shape or not z.shape[axis]:
        return torch.ones_like(z.narrow(axis, 0, min(z.shape[axis], 1)), dtype=torch.float64)
    labels = target.long().unsqueeze(axis)
    kept, is_class = labels != ignore_index, (labels >= 0) & (labels < z.shape[axis])
    counted = wide(kept)
    if weight is not None:
        counted = torch.where(kept, wide(weight.detach()).to(z.device)[torch.where(is_class, labels, 0)], 0.0)
    return torch.where(kept & ~is_class, torch.nan, counted)  # as on a GPU, where nobody has looked at the labels


def over_mean(rows: Tensor, counted: Tensor) -> Tensor:
    """The rows over the mean's divisor; 0 where nothing counts."""
    divisor = counted.sum()
    return torch.where(divisor == 0, 0.0, rows / divisor)


def times_rows(upstream: Tensor, gradient: Tensor, axis: int, reduction: str) -> Tensor:
    """The gradient, its rows times their upstream gradient (one for all if they are reduced)."""
    factor = upstream.unsqueeze(axis) if reduction == "none" else upstream
    return (gradient * factor).to(gradient.dtype)


def curvature_product(f: Any, z: Tensor, target: Tensor, weight: Tensor | None, options: Any, v: Tensor) -> Tensor:
    """H v: of each row its factor times J v, exactly 0 where the factor is, whatever a row that does not count holds.

    `f`: as in `rules`.
    """
    axis = class_axis(z)
    factor, product = curvature_factor(z, target, weight, *options), f.softmax_vjp(f.softmax(z, axis), v, axis)
    return torch.where(factor == 0, 0.0, product * factor).to(product.dtype)


def entropy_backward(f: Any, both: Any, ctx: Any, u: Tensor | None, v: Tensor | None, given: Any) -> Tensor | None:
    """The gradient of u loss + <v, gradient>. `both` makes loss and gradient; `given` as in `entropy_node`."""
    z, target, weight, gradient = ctx.saved_tensors
    dz = None
    if u is not None:
        if not ctx.made:
            gradient = both(z, target, weight, *ctx.options, True)[1]
        dz = given(gradient, u) if ctx.made and v is None else None
        dz = times_rows(u, gradient, class_axis(z), ctx.options[1]) if dz is None else dz
    if v is not None and ctx.made:
        second = curvature_product(f, z, target, weight, ctx.options, v)
        dz = second if dz is None else dz + second
    return dz


def along_tangent(gradient: Tensor, tangent: Tensor, axis: int, reduction: str, dtype: torch.dtype) -> Tensor:
    """<gradient, tangent>: how the loss moves with the logits."""
    moves = wide(gradient) * wide(tangent)
    return (moves.sum(axis) if reduction == "none" else moves.sum()).to(dtype)
