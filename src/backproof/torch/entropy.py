"""Cross-entropy of tensors: the function and the module."""

from __future__ import annotations

from typing import Any

import torch

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.torch import ordinary
from backproof.torch.arguments import entropy, floating, reduction_of
from backproof.torch.derivatives import along_classes, class_axis, loss_dtype
from backproof.torch.normalised import log_softmax

Tensor = torch.Tensor
_is_compiling = torch.compiler.is_compiling  # found once: for few numbers each step of Python's counts


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum_k w_k t_k log softmax(z)_k, reduced over the rows, with `torch.nn.functional.cross_entropy`'s signature.

    `input`: logits (C,), (N, C) or (N, C, d1, ...). `target`: labels of that shape without the classes, or probabilities of that
    shape, which may require a gradient too. `weight`: (C,). `ignore_index` names a label that counts nothing; it says nothing
    of probabilities. `reduction`: "mean" divides by the sum of the weights of the labels that count (for probabilities: the
    number of rows), "sum", or "none". `size_average` and `reduce` are torch's older words for it.

    Like torch's but for these: the gradient of a confident prediction is -exp(-gap), not 0; a mean over nothing is 0 with a
    gradient of 0 (torch: nan); a row that is ignored counts nothing even if it holds nan; the loss of half-precision logits is
    float32. Where the logits require a gradient it is made with the loss. Source: Bishop 1995, section 6.9.

    Raises `LabelError` (an IndexError) for a label outside the classes (on a GPU it makes nan instead), `ShapeError`,
    `ArgumentTypeError`, `ArgumentError` for options out of range.

    >>> import torch
    >>> z = torch.tensor([[50.0, 0.0]], requires_grad=True)
    >>> cross_entropy(z, torch.tensor([0])).backward()
    >>> f"{z.grad[0, 0]:.4e}"
    '-1.9287e-22'
    """
    if weight is None and size_average is None and reduce is None and not label_smoothing and not _is_compiling():
        short = ordinary.cross_entropy(input, target, ignore_index, reduction)
        if short is not None:
            return short
    z = floating(input, "input")
    if not isinstance(target, Tensor):
        raise ArgumentTypeError(f"target: expected a torch tensor, received {type(target).__name__}")
    if z.ndim == 0:
        raise ShapeError("input: expected logits (C,), (N, C) or (N, C, d1, ...), received shape ()")
    kind = reduction_of(size_average, reduce, reduction)
    probabilities = target.shape == z.shape
    if (probabilities and (moves(target) or moves(weight))) or (weight is not None and moves(weight)):
        return _by_log_softmax(z, target, weight, kind, label_smoothing)
    wanted = z.requires_grad and torch.is_grad_enabled()
    loss: Tensor = entropy()(z, target, weight, ignore_index, kind, float(label_smoothing), wanted)[0]
    return loss


def moves(tensor: Tensor | None) -> bool:
    """Whether a derivative with respect to this may be wanted."""
    if tensor is None or not tensor.is_floating_point():
        return False
    if torch.compiler.is_compiling():
        return tensor.requires_grad
    return tensor.requires_grad or torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None


def _by_log_softmax(z: Tensor, target: Tensor, weight: Tensor | None, kind: str, label_smoothing: float) -> Tensor:
    """The same of probabilities or weights that have gradients, which are torch's to form."""
    if target.shape != z.shape:
        raise ArgumentError("weight: expected one that requires no gradient where the target is labels")
    if kind not in ("mean", "sum", "none"):
        raise ArgumentError(f"reduction: expected one of 'mean', 'sum', 'none', received {kind!r}")
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing: expected a number from 0 to 1, received {label_smoothing!r}")
    axis = class_axis(z)
    log_h = log_softmax(z.to(loss_dtype(z)), axis)
    t = (1 - label_smoothing) * target + label_smoothing / max(z.shape[axis], 1)
    if weight is not None:
        t = t * along_classes(weight, z)
    log_h = log_h.masked_fill((t == 0) & (log_h == -torch.inf), 0.0)  # no mass on a masked class costs nothing
    rows = -(t * log_h).sum(axis)
    if kind == "none":
        return rows.to(loss_dtype(z))
    total = rows.sum()
    return (total / max(rows.numel(), 1) if kind == "mean" else total).to(loss_dtype(z))


class CrossEntropyLoss(torch.nn.Module):
    """`cross_entropy` as a module, with `torch.nn.CrossEntropyLoss`'s signature; `weight` is a buffer.

    Called with logits (C,), (N, C) or (N, C, ...) and targets, it raises what `cross_entropy` raises.
    Source: Bishop 1995, section 6.9.

    >>> import torch
    >>> CrossEntropyLoss()(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor(1.3863)
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction_of(size_average, reduce, reduction)
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        options: dict[str, Any] = {"ignore_index": self.ignore_index, "reduction": self.reduction}
        return cross_entropy(input, target, self.weight, label_smoothing=self.label_smoothing, **options)
