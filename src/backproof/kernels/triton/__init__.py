"""Softmax and its kin for torch tensors on a GPU, by programs that Triton compiles; cross-entropy of labels with its gradient.

Single precision is right to 0.501 units in the last place, as everywhere; half precision too. What is not here, double precision
too, is the reference's, in torch's operations. With TRITON_INTERPRET=1 in the environment the programs run in NumPy, for tests.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import triton  # noqa: F401

from backproof.kernels.triton import entropy, jacobian, normalised
from backproof.kernels.triton.launches import at, launch, rows_of

Tensor = torch.Tensor
FINE = {torch.float32: True, torch.float16: False, torch.bfloat16: False}
ALIGNED = 16  # bytes


def takes(arrays: tuple[Any, ...]) -> bool:
    """Whether these are tensors of one precision, single or half, where programs run."""
    first = arrays[0]
    return all(
        isinstance(a, torch.Tensor) and a.dtype is first.dtype and a.device == first.device and a.numel() and a.ndim for a in arrays
    ) and (first.dtype in FINE and (first.is_cuda or INTERPRETED))


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def _mapped(program: Any, z: Tensor, axis: int, out: Tensor) -> None:
    source, place = z.contiguous(), out if out.is_contiguous() else torch.empty_like(z, memory_format=torch.contiguous_format)
    of = rows_of(z, axis)
    how = launch(of, z.element_size(), FINE=FINE[z.dtype], AXIS=of.axis)
    with at(z):
        program[how.grid](source, place, of.rows, of.inner, how.vectors, **how.options)
    if place is not out:
        out.copy_(place)


def softmax(z: Tensor, axis: int, out: Tensor) -> None:
    _mapped(normalised.softmax, z, axis, out)


def log_softmax(z: Tensor, axis: int, out: Tensor) -> None:
    _mapped(normalised.log_softmax, z, axis, out)


def logsumexp(z: Tensor, axis: int) -> Tensor:
    out = z.new_empty((*z.shape[:axis], *z.shape[axis + 1 :]))
    _mapped(normalised.logsumexp, z, axis, out)
    return out


def _product(program: Any, h: Tensor, upstream: Tensor, axis: int, out: Tensor) -> None:
    """The classes side by side, and where threads read several at once: so their sums are always made in the same order."""
    last = h.movedim(axis, -1)
    sources = [t if not t.data_ptr() % ALIGNED else t.clone() for t in (last.contiguous(), upstream.movedim(axis, -1).contiguous())]
    direct = last.shape == out.shape and out.is_contiguous() and axis == h.ndim - 1
    place = out if direct else torch.empty(last.shape, dtype=h.dtype, device=h.device)
    of = rows_of(last, last.ndim - 1)
    how = launch(of, h.element_size())
    with at(h):
        program[how.grid](*sources, place, of.rows, how.vectors, **how.options)
    if place is not out:
        out.copy_(place.movedim(-1, axis))


def softmax_vjp(h: Tensor, upstream: Tensor, axis: int, out: Tensor) -> None:
    _product(jacobian.softmax_product, h, upstream, axis, out)


def log_softmax_vjp(log_h: Tensor, upstream: Tensor, axis: int, out: Tensor) -> None:
    _product(jacobian.log_softmax_product, log_h, upstream, axis, out)


def labelled(
    z: Tensor,
    axis: int,
    target: Tensor,
    weight: Tensor | None,
    scale: Tensor | None,
    ignore_index: int | None,
    label_smoothing: float,
    grad: Tensor | None,
) -> Tensor:
    """Values, one a row, in double precision, for labels (N,); the gradients go to `grad`. `scale` (1,) or one a row, and `weight`
    (C,), are in double precision."""
    source = z.contiguous()
    place = grad if grad is None or grad.is_contiguous() else torch.empty_like(z, memory_format=torch.contiguous_format)
    of = rows_of(z, axis)
    others, distance = torch.empty((2, of.rows), dtype=torch.float64, device=z.device)
    how = launch(
        of,
        z.element_size(),
        FINE=FINE[z.dtype],
        AXIS=of.axis,
        IGNORE=ignore_index is not None,
        WEIGHTED=weight is not None,
        SCALES=0 if scale is None else 1 if scale.numel() == 1 else 2,
        SMOOTHING=label_smoothing,
        GRADIENT=place is not None,
    )
    with at(z):
        entropy.labelled[how.grid](
            source,
            target.contiguous(),
            weight if weight is None else weight.contiguous(),
            scale if scale is None else scale.contiguous(),
            others,
            distance,
            place,
            of.rows,
            of.inner,
            how.vectors,
            ignore_index or 0,
            **how.options,
        )
    if grad is not None and place is not grad:
        grad.copy_(place)
    value = others.log1p_().add_(distance)
    if weight is not None:
        is_class = (target >= 0) & (target < of.classes)
        weights = torch.where(is_class, weight[torch.where(is_class, target, 0)], 1.0)
        value = torch.where(weights == 0, 0.0, value * weights)
    return value
