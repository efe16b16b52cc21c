"""The functions of tensors outside any graph, with `backproof.functional` behind them: what autograd and the compiler call."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from backproof import functional as F
from backproof.kernels import dispatch, tensors
from backproof.torch import on_gpu

Tensor = torch.Tensor
HALF = (torch.float16, torch.bfloat16)
PLAIN = (torch.float32, torch.float64)


def _seen(z: Tensor) -> Tensor:
    """z without its graph; half precision on the CPU as float32, for which there are kernels.

    The result is rounded twice then: once in 2^13 (float16) or 2^16 (bfloat16) cases it is the other neighbour of a near tie.
    """
    z = z.detach()
    return z.float() if z.dtype in HALF and z.device.type == "cpu" else z


def softmax(z: Tensor, dim: int) -> Tensor:
    return _along("softmax", z, dim=dim)


def log_softmax(z: Tensor, dim: int) -> Tensor:
    return _along("log_softmax", z, dim=dim)


def logsumexp(z: Tensor, dim: int) -> Tensor:
    if z.numel() and _is_plain(z):
        return torch.from_numpy(np.asarray(dispatch.logsumexp(z.detach().numpy(), dim)))
    if _for_a_gpu(z):
        return dispatch.logsumexp(z.detach(), dim)  # type: ignore[arg-type, return-value]
    result: Tensor = F.logsumexp(_seen(z), axis=dim)
    return result.to(z.dtype).contiguous()


def softmax_vjp(h: Tensor, upstream: Tensor, dim: int) -> Tensor:
    return _along("softmax_vjp", h, upstream, dim=dim)


def log_softmax_vjp(log_h: Tensor, upstream: Tensor, dim: int) -> Tensor:
    return _along("log_softmax_vjp", log_h, upstream, dim=dim)


def _along(name: str, *given: Tensor, dim: int) -> Tensor:
    first = given[0]
    if first.numel() == 0:
        return torch.empty_like(first)  # the functions may hand back an empty input itself
    if all(_is_plain(t) and t.dtype is first.dtype and t.shape == first.shape for t in given):  # nothing to be looked at
        return torch.from_numpy(getattr(dispatch, name)(*(t.detach().numpy() for t in given), dim))
    if _for_a_gpu(*given):
        made: Tensor = getattr(dispatch, name)(*(t.detach() for t in given), dim)
        return made
    result: Tensor = getattr(F, name)(*map(_seen, given), axis=dim)
    return result.to(first.dtype).contiguous()  # as operators have announced it


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is memory that NumPy sees as what it is."""
    return tensor.is_cpu and tensor.dtype in PLAIN and tensor.layout is torch.strided and not tensor.is_neg()


def _for_a_gpu(*given: Tensor) -> bool:
    """Whether there are programs for these, with nothing to be looked at."""
    return tensors.on_a_gpu(given) and all(t.shape == given[0].shape and not t.is_neg() for t in given)


def cross_entropy(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Tensor, Tensor]:
    """(loss, its gradient), the latter without entries if it is not wanted. The classes are torch's: axis 1, or 0 of one row."""
    quick = on_gpu.cross_entropy(z, target, weight, ignore_index, reduction, label_smoothing, gradient)
    if quick is not None:
        return quick
    options: dict[str, Any] = {
        "axis": min(1, z.ndim - 1),
        "weight": None if weight is None else weight.detach(),
        "ignore_index": None if target.shape == z.shape else ignore_index,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
    }
    if not gradient:
        return F.cross_entropy(_seen(z), target.detach(), **options), z.new_empty(0)
    if z.numel() == 0:
        return F.cross_entropy(_seen(z), target.detach(), **options), torch.empty_like(z)
    loss, slopes = F.cross_entropy_and_grad(_seen(z), target.detach(), **options)
    return loss, slopes.to(z.dtype).contiguous()


def linear_cross_entropy(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    scale: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(loss, dx, dW, db) of logits x W^T + bias, of which there are never but a few rows; the gradients are without entries if
    they are not wanted, db too where there is no bias. `scale`, (N,), multiplies the rows."""
    labels = target.ndim == 1
    options: dict[str, Any] = {
        "bias": None if bias is None else _seen(bias),
        "weight": None if weight is None else weight.detach(),
        "ignore_index": ignore_index if labels else None,
        "reduction": reduction,
        "label_smoothing": label_smoothing,
    }
    wild = None  # an upstream gradient that has overflowed makes what it meets nan; the functions take no such weight
    if scale is not None:
        scale = scale.detach()
        wild = ~scale.isfinite() & (target.detach() != ignore_index if labels else True)
        options["sample_weight"] = torch.where(scale.isfinite(), scale, 0.0)
    call = _seen(x), _seen(w), target.detach()
    if not gradient:
        return F.linear_cross_entropy(*call, **options), *(x.new_empty(0) for _ in range(3))
    loss, dx, dw, db = F.linear_cross_entropy_and_grad(*call, **options)
    if wild is not None and wild.any():
        dx[wild] = torch.nan
        for sums in (dw, db):
            if sums is not None:
                sums.fill_(torch.nan)
    return loss, dx.to(x.dtype), dw.to(w.dtype), x.new_empty(0) if bias is None or db is None else db.to(bias.dtype)
