"""torch modules for the layers that torch.nn has no module for. They are made by `to_torch`, and `from_torch` reads them."""

from __future__ import annotations

import torch

from backproof.torch import log_softmax, softmax

Tensor = torch.Tensor


class Standardize(torch.nn.Module):
    """(x - mean) / scale over the last axis, computed in the buffers' dtype, returned in `dtype`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        return ((x.to(self.mean.dtype) - self.mean) / self.scale).to(self.dtype)


class MaskedSoftmax(torch.nn.Module):
    """softmax(x / temperature), or its logarithm, along `dim` over the entries where `mask` is True (None: all)."""

    mask: Tensor | None

    def __init__(self, dim: int, temperature: float, mask: Tensor | None, logarithm: bool) -> None:
        super().__init__()
        self.dim, self.temperature, self.logarithm = dim, temperature, logarithm
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        z = x / self.temperature
        if self.mask is not None:
            z = torch.where(self.mask, z, -torch.inf)
        return (log_softmax if self.logarithm else softmax)(z, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, temperature={self.temperature}, mask={self.mask is not None}, logarithm={self.logarithm}"


class Residual(torch.nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: torch.nn.Sequential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.inner(x)
        return result


class Concatenate(torch.nn.Module):
    """The outputs of all branches along the last axis."""

    def __init__(self, branches: list[torch.nn.Module]) -> None:
        super().__init__()
        self.branches = torch.nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=-1)
