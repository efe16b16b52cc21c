"""What torch's signatures leave open: implicit dimensions, integers, and its older ways to say things."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.torch import entropy_node, graph, linear_node, operators

Tensor = torch.Tensor


def functions() -> Any:
    """Nodes of the graph; while torch.compile traces, operators."""
    return operators if torch.compiler.is_compiling() else graph


def entropy() -> Any:
    return operators.cross_entropy if torch.compiler.is_compiling() else entropy_node.both


def linear_entropy() -> Any:
    return operators.linear_cross_entropy if torch.compiler.is_compiling() else linear_node.linear


def floating(value: object, name: str, dtype: torch.dtype | None = None) -> Tensor:
    """`value` as a floating-point tensor: integers take torch's default dtype."""
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(f"{name}: expected a torch tensor, received {type(value).__name__}")
    if dtype is not None:
        value = value.to(dtype)
    if value.is_complex():
        raise ArgumentTypeError(f"{name}: expected real numbers, received dtype {value.dtype}")
    return value if value.is_floating_point() else value.to(torch.get_default_dtype())


def one_dim(dim: int, ndim: int) -> int:
    """`dim` counted from 0; a tensor without dimensions has 0 and -1."""
    if not isinstance(dim, int) or isinstance(dim, bool):
        raise ArgumentTypeError(f"dim: expected a whole number, received {dim!r}")
    if not -max(ndim, 1) <= dim < max(ndim, 1):
        raise ArgumentError(f"dim: expected {-max(ndim, 1)} to {max(ndim, 1) - 1} for {ndim} dimensions, received {dim}")
    return dim % max(ndim, 1)


def implicit_dim(name: str, ndim: int) -> int:
    """The dimension that torch takes if none is given, with torch's warning."""
    warnings.warn(f"Implicit dimension choice for {name} has been deprecated. Give dim=X as an argument.", stacklevel=4)
    return 0 if ndim in (0, 1, 3) else 1


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """`reduction`, or what the two older arguments mean if one of them is given, with torch's warning."""
    if size_average is None and reduce is None:
        return reduction
    size_average, reduce = size_average is None or size_average, reduce is None or reduce
    meant = "none" if not reduce else "mean" if size_average else "sum"
    warnings.warn(f"size_average and reduce are deprecated: give reduction={meant!r}", stacklevel=4)
    return meant
