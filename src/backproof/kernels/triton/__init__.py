"""Softmax and its kin for torch tensors on a GPU, by programs that Triton compiles; cross-entropy of labels with its gradient.

Single and half precision, to 0.501 units in the last place, with the same bits for any axis, strides, order of a row and company of
other rows. Arguments are checked by the caller, `kernels.tensors` says what is taken; everything else is left to the reference.
`out` and `grad` may be the first argument. With TRITON_INTERPRET=1 in the environment the programs run in NumPy, for tests.
"""

from __future__ import annotations

from typing import Any

import torch

from backproof.kernels.triton import entropy, jacobian, normalised
from backproof.kernels.triton.launches import FARTHEST, at, launch, rows_of

Tensor = torch.Tensor
BLOCK, MANY = 4096, 2048  # numbers and programs of `times`


def _is_fine(z: Tensor) -> bool:
    return z.dtype is torch.float32


def _laid_out(z: Tensor, out: Tensor | None, axis: int) -> tuple[Tensor, Tensor | None, int]:
    """What is read, what is written to, and the classes' axis there: another one if they are too far apart for a program."""
    where = axis if rows_of(z, axis).reach < FARTHEST else z.ndim - 1
    source = z.contiguous() if where == axis else z.movedim(axis, where).contiguous()
    direct = out is None or (where == axis and out.is_contiguous() and not out.is_neg())
    return source, out if direct else torch.empty_like(source), where


def _handed_over(place: Tensor | None, out: Tensor | None, where: int, axis: int) -> None:
    if place is not None and out is not None and place is not out:
        out.copy_(place.movedim(where, axis))


def _along(program: Any, kind: str, arrays: tuple[Tensor, ...], axis: int, out: Tensor, **constants: Any) -> None:
    source, place, where = _laid_out(arrays[0], out, axis)
    others = [each.movedim(axis, where).contiguous() for each in arrays[1:]]
    of = rows_of(source, where)
    how = launch(kind, of, source.element_size(), **constants)
    with at(source):
        program[how.grid](source, *others, place, of.rows, of.inner, how.vectors, **how.options)
    _handed_over(place, out, where, axis)


def softmax(z: Tensor, axis: int, out: Tensor) -> None:
    _along(normalised.normalised, "ONE_ARRAY", (z,), axis, out, LOG=False, FINE=_is_fine(z))


def log_softmax(z: Tensor, axis: int, out: Tensor) -> None:
    _along(normalised.normalised, "ONE_ARRAY", (z,), axis, out, LOG=True, FINE=_is_fine(z))


def logsumexp(z: Tensor, axis: int) -> Tensor:
    source, _, where = _laid_out(z, None, axis)
    out = z.new_empty((*z.shape[:axis], *z.shape[axis + 1 :]))
    of = rows_of(source, where)
    how = launch("ONE_ARRAY", of, z.element_size(), FINE=_is_fine(z))
    with at(z):
        normalised.logsumexp[how.grid](source, out, of.rows, of.inner, how.vectors, **how.options)
    return out


def softmax_vjp(h: Tensor, upstream: Tensor, axis: int, out: Tensor) -> None:
    _along(jacobian.softmax_product, "TWO_ARRAYS", (h, upstream), axis, out)


def log_softmax_vjp(log_h: Tensor, upstream: Tensor, axis: int, out: Tensor) -> None:
    _along(jacobian.log_softmax_product, "TWO_ARRAYS", (log_h, upstream), axis, out)


def cross_entropy(
    z: Tensor, target: Tensor, *, scale: Tensor | None, class_weight: Tensor | None, ignore_index: int | None,
    label_smoothing: float, z_loss: float, softcap: float | None, temperature: float, loss: Tensor, grad: Tensor | None,
) -> None:  # fmt: skip
    """Of rows z (N, C) and labels (N,), no class weights with smoothing, and none of the three options that follow it."""
    parts = labelled(z, 1, target, class_weight, scale, None, ignore_index, label_smoothing, grad)
    torch.add(*parts, out=loss)
    if class_weight is not None:
        weighted(loss, class_weight, target)


def labelled(
    z: Tensor,
    axis: int,
    target: Tensor,
    weight: Tensor | None,
    scale: Tensor | None,
    divisor: Tensor | None,
    ignore_index: int | None,
    label_smoothing: float,
    grad: Tensor | None,
) -> Tensor:
    """Two parts of each row's value, (2, N) in double precision, for labels (N,); the gradients go to `grad`.

    These are the gradients of the values times the `weight` (C,) of their label, and times `scale` (N,) or over the `divisor` ();
    both that are not one number are in double precision.
    """
    source, place, where = _laid_out(z, grad, axis)
    of = rows_of(source, where)
    target = target.reshape(-1).long().contiguous()
    parts = torch.empty((2, of.rows), dtype=torch.float64, device=z.device)
    others, distance = parts.unbind()
    how = launch(
        "LABELLED",
        of,
        z.element_size(),
        FINE=_is_fine(z),
        IGNORE=ignore_index is not None,
        WEIGHTED=weight is not None,
        SCALES=2 if scale is not None else 0 if divisor is None else 1,
        SMOOTHING=label_smoothing,
        GRADIENT=place is not None,
    )
    with at(z):
        entropy.labelled[how.grid](
            source,
            target,
            weight if weight is None else weight.contiguous(),
            divisor if scale is None else scale.contiguous(),
            others,
            distance,
            place,
            of.rows,
            of.inner,
            how.vectors,
            ignore_index or 0,
            **how.options,
        )
    _handed_over(place, grad, where, axis)
    others.log1p_()
    return parts


def weighted(values: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """The values times the weight of their label, in their place; 0 where that is 0, also of an infinite one."""
    is_class = (target >= 0) & (target < weight.numel())
    weights = torch.where(is_class, weight[torch.where(is_class, target, 0)], 1.0)
    nothing = (weights == 0) & ~values.isnan()
    return values.mul_(weights).masked_fill_(nothing, 0.0)


def times(x: Tensor, factor: Tensor) -> Tensor:
    """x, contiguous, times a number on the same GPU, in its place; the number is looked at there."""
    blocks = -(-x.numel() // BLOCK)
    with at(x):
        entropy.times[(min(blocks, MANY),)](x, factor, x.numel(), blocks, BLOCK=BLOCK)
    return x
