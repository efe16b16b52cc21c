"""What a torch target is: what to call, what has its signature and its name; and whether its gradients can be differentiated."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

from backproof._errors import ArgumentTypeError
from backproof.adapters.common import name_of
from backproof.adapters.trees import take_apart


def is_torch(target: Any, inputs: Sequence[Any]) -> bool:
    """A module, an autograd Function, or anything called with a tensor."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    kinds = (torch.nn.Module, torch.autograd.Function)
    if isinstance(target, torch.nn.Module) or (isinstance(target, type) and issubclass(target, kinds)):
        return True
    return bool(take_apart(list(inputs), lambda x: isinstance(x, torch.Tensor))[0])


def callable_of(target: Any) -> tuple[Callable[..., Any], Any, Any, int]:
    """(what to call, a copy of the module or None, what has the signature, how many of its names come before the arguments)."""
    torch = importlib.import_module("torch")
    if isinstance(target, type) and issubclass(target, torch.nn.Module):
        raise ArgumentTypeError(f"target: expected a module, received the class {target.__name__}; write {target.__name__}(...)")
    if isinstance(target, torch.nn.Module):
        try:
            module = copy.deepcopy(target)
        except Exception:  # parameters that are results of computations cannot be copied: the module itself, then
            module = target
        return module, module, module.forward, 0
    owner = target if isinstance(target, type) else getattr(target, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, torch.autograd.Function):
        own: Any = owner
        return own.apply, None, own.forward, 1 if own.setup_context is torch.autograd.Function.setup_context else 0
    if not callable(target):
        raise ArgumentTypeError(f"target: expected a function of tensors, received {type(target).__name__}")
    return target, None, target, 0


def title_of(target: Any) -> str:
    owner = getattr(target, "__self__", None)
    return owner.__name__ if isinstance(owner, type) and getattr(target, "__name__", "") == "apply" else name_of(target)


def refuses(gradients: list[Any]) -> bool:
    """Whether a node of their graph is the error that `once_differentiable` puts there."""
    stack, seen = [g.grad_fn for g in gradients], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("::Error"):
            return True
        seen.add(node)
        stack += [following for following, _ in node.next_functions]
    return False
