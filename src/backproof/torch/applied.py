"""A node of torch's graph applied by the shortest way: to bind its arguments by name takes longer than all the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch


def _unwrapped() -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    """What torch does to the arguments before it makes the node; None where a part of torch is missing that is needed."""
    try:
        from torch._functorch.utils import unwrap_dead_wrappers
    except ImportError:
        return None
    return unwrap_dead_wrappers if hasattr(torch._C, "_are_functorch_transforms_active") else None


_UNWRAPPED = _unwrapped()


def applied(node: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`node.apply`, for arguments by their place; where a transform of torch.func is at work, it is that."""
    whole: Any = node.apply
    short: Any = super(torch.autograd.Function, node).apply  # type: ignore[misc]
    unwrapped = _UNWRAPPED
    if unwrapped is None:
        return cast("Callable[..., Any]", whole)

    def apply(*inputs: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return whole(*inputs)
        return short(*unwrapped(inputs))

    return apply
