"""softmax, log_softmax and logsumexp of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from backproof._errors import ArgumentError
from backproof.torch.arguments import floating, functions, implicit_dim, one_dim

Tensor = torch.Tensor


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    """h_i = exp(z_i) / sum_j exp(z_j) along `dim`, with `torch.nn.functional.softmax`'s signature: the input's shape and dtype.

    `dtype`, if given, is taken before anything else; integers take torch's default dtype. Limits are those of
    `functional.softmax`: a row of -inf throughout gives zeros (torch: nan). Source: Bridle 1990.

    Raises `ArgumentError` for a dimension that the input does not have, `ArgumentTypeError` for complex numbers.

    >>> import torch
    >>> z = torch.tensor([0.0, 1e8], requires_grad=True)
    >>> softmax(z, 0)
    tensor([0., 1.], grad_fn=<SoftmaxBackward>)
    """
    return _along("softmax", input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
    """log h_i = z_i - logsumexp(z) along `dim`, with `torch.nn.functional.log_softmax`'s signature: the input's shape and dtype.

    The class that dominates keeps its digits: -exp(-gap), where torch has 0. Arguments and errors are those of `softmax`. Source:
    Blanchard, Higham & Higham 2021, section 4.

    >>> import torch
    >>> f"{log_softmax(torch.tensor([50.0, 0.0]), 0)[0]:.4e}"
    '-1.9287e-22'
    """
    return _along("log_softmax", input, dim, dtype)


def _along(name: str, input: Tensor, dim: int | None, dtype: torch.dtype | None) -> Tensor:
    z = floating(input, "input", dtype)
    axis = one_dim(implicit_dim(name, z.ndim) if dim is None else dim, z.ndim)
    function: Any = getattr(functions(), name)
    result: Tensor = function(z, axis) if z.ndim else function(z.unsqueeze(0), 0).squeeze(0)
    return result


def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """log sum_j exp(z_j) along `dim`, one dimension or several (none: all), with `torch.logsumexp`'s signature.

    The dimensions are gone from the result, or have length 1 with `keepdim`. -inf for a sum over nothing. The gradient is
    softmax(z) itself (torch, float32: [1, 1] for z = [1e8, 1e8]). Source: Blanchard, Higham & Higham 2021, algorithm 4.1.

    Raises `ArgumentError` for a dimension that the input does not have or that is named twice, `ArgumentTypeError` for complex
    numbers.

    >>> import torch
    >>> z = torch.tensor([1e8, 1e8], requires_grad=True)
    >>> logsumexp(z, 0).backward()
    >>> z.grad
    tensor([0.5000, 0.5000])
    """
    z = floating(input, "input")
    given = tuple(dim) if isinstance(dim, Sequence) else (dim,)
    dims = [one_dim(d, z.ndim) for d in given] if given else list(range(z.ndim))
    if len(set(dims)) != len(dims):
        raise ArgumentError(f"dim: expected different dimensions, received {dim!r}")
    rest = [d for d in range(z.ndim) if d not in dims]
    if z.ndim == 0:
        rows, axis = z.reshape(1), 0
    elif len(dims) == 1:
        rows, axis = z, dims[0]
    else:
        length = 1
        for d in dims:
            length *= z.shape[d]
        rows, axis = z.permute(*rest, *dims).reshape([*(z.shape[d] for d in rest), length]), len(rest)
    result: Tensor = functions().logsumexp(rows, axis)
    return result.reshape([1 if d in dims else n for d, n in enumerate(z.shape)]) if keepdim and z.ndim else result
