"""A linear layer and cross-entropy together, its logits never whole: the function and the module."""

from __future__ import annotations

import math
from typing import Any

import torch

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.torch.arguments import floating, linear_entropy
from backproof.torch.entropy import cross_entropy, moves

Tensor = torch.Tensor


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """Cross-entropy of the logits input linear_weight^T + linear_bias, with `torch.nn.functional.linear_cross_entropy`'s signature.

    `input` (D,) or (N, D), `linear_weight` (C, D), `linear_bias` (C,); the rest is that of `cross_entropy`, `ignore_index` None
    being -100 for labels. On the CPU logits and their gradient are made for a few rows at a time, in 56 MiB (or what one row
    needs), in every mode: gradients with the loss, or with reduction "none" in the backward; second derivatives by making the rows
    again. So `options`, torch's choices of chunks, is taken and not needed. Half precision is computed in single precision.

    By whole logits, as torch does it: tensors on a GPU, a weight (C, d1, ..., D) of several losses a row, and target probabilities
    or class weights that require a gradient. Source: Bishop 1995, section 6.9; chunks: `functional.linear_cross_entropy_and_grad`.

    Raises what `cross_entropy` raises, and `ShapeError` where input, weight and bias do not fit.

    >>> import torch
    >>> x, w = torch.tensor([[3.0]]).log().requires_grad_(True), torch.tensor([[1.0], [0.0]])
    >>> loss = linear_cross_entropy(x, w, torch.tensor([0]))            # -ln(3 / 4)
    >>> loss.backward()
    >>> round(loss.item(), 4), x.grad.tolist()
    (0.2877, [[-0.25]])
    """
    x, w = floating(input, "input"), floating(linear_weight, "linear_weight")
    bias = None if linear_bias is None else floating(linear_bias, "linear_bias")
    _require_fit(x, w, bias, target)
    outputs = (w.shape[0], *w.shape[1:-1])
    probabilities = target.shape == (*x.shape[:-1], *outputs)
    if probabilities and ignore_index is not None:
        raise ArgumentError("ignore_index: expected None with probabilities as targets; it names a label")
    ignored = -100 if ignore_index is None else ignore_index
    if w.ndim > 2 or moves(weight) or (probabilities and moves(target)):
        flat = None if bias is None else bias.reshape(-1)
        logits = torch.nn.functional.linear(x, w.reshape(math.prod(outputs), w.shape[-1]), flat)
        logits = logits.reshape(*x.shape[:-1], *outputs)
        return cross_entropy(logits, target, weight, None, ignored, None, reduction, label_smoothing)
    rows, targets = (x, target) if x.ndim == 2 else (x.unsqueeze(0), target.unsqueeze(0))
    wanted = torch.is_grad_enabled() and reduction != "none" and any(t is not None and t.requires_grad for t in (x, w, bias))
    loss: Tensor = linear_entropy()(rows, w, bias, None, targets, weight, ignored, reduction, float(label_smoothing), wanted)[0]
    return loss.squeeze(0) if reduction == "none" and x.ndim == 1 else loss


def _require_fit(x: Tensor, w: Tensor, bias: Tensor | None, target: object) -> None:
    if not isinstance(target, Tensor):
        raise ArgumentTypeError(f"target: expected a torch tensor, received {type(target).__name__}")
    if x.ndim not in (1, 2):
        raise ShapeError(f"input: expected shape (features,) or (rows, features), received {tuple(x.shape)}")
    if w.ndim < 2 or w.shape[-1] != x.shape[-1] or not w.shape[0]:
        expected = f"shape (classes, {x.shape[-1]}) with at least one class, as input has {x.shape[-1]} features"
        raise ShapeError(f"linear_weight: expected {expected}, received {tuple(w.shape)}")
    if w.ndim > 2 and x.ndim == 1:
        raise ShapeError(f"input: expected shape (rows, {w.shape[-1]}) for a weight {tuple(w.shape)}, received {tuple(x.shape)}")
    if bias is not None and bias.shape != w.shape[:-1]:
        raise ShapeError(f"linear_bias: expected shape {tuple(w.shape[:-1])}, as of linear_weight, received {tuple(bias.shape)}")


class LinearCrossEntropyLoss(torch.nn.Module):
    """`linear_cross_entropy` as a module that holds the layer, with `torch.nn.LinearCrossEntropyLoss`'s signature and state:
    `linear` is the layer, `weight` a buffer. Called with an input (N, in_features) and targets (N,), it raises what
    `linear_cross_entropy` raises; `ShapeError` for a weight of another shape. Source: Bishop 1995, section 6.9.

    >>> import torch
    >>> head = LinearCrossEntropyLoss(3, 10, bias=True)
    >>> head(torch.zeros(2, 3), torch.tensor([0, 9])).shape
    torch.Size([])
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__()
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ShapeError(f"weight: expected shape {(num_classes,)}, received {tuple(weight.shape)}")
        self.register_buffer("weight", weight)
        self.linear = torch.nn.Linear(in_features, math.prod(out_features, start=num_classes), bias, device, dtype)
        self.outputs = (num_classes, *out_features)
        self.reduction, self.ignore_index, self.label_smoothing = reduction, ignore_index, label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape(*self.outputs, -1),
            target,
            linear_bias=None if self.linear.bias is None else self.linear.bias.reshape(self.outputs),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
