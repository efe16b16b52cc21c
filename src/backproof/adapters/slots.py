"""Where an object keeps its parameters and their gradients: found, read, replaced; and copies of such an object."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.common import require_real
from backproof.gradcheck.evaluate import is_float

HOLDERS = (("params", "grads"), ("parameters", "gradients"))
GRADIENT_NAMES = ("d{}", "d_{}", "{}_grad", "grad_{}", "grad{}")
MISSING = object()


class Slot(NamedTuple):
    """Where a parameter is and where its gradient appears: an attribute, then keys of dictionaries or positions in lists."""

    name: str
    value: tuple[Any, ...]
    gradient: tuple[Any, ...]


def asked_for(layer: Any, parameters: Mapping[str, str]) -> list[Slot]:
    if not isinstance(parameters, Mapping):
        raise ArgumentTypeError(f'parameters: expected {{"W": "dW"}} (attributes and their gradients\'), received {parameters!r}')
    slots = []
    for name, gradient in parameters.items():
        value = getattr(layer, name, None)
        if value is None:
            raise ArgumentError(f"parameters: expected attributes of {type(layer).__name__}, received {name!r}")
        array = np.asarray(value)
        require_real(array.dtype, f"parameters: {name}", type(value).__name__)
        if not is_float(array):
            raise ArgumentTypeError(f"parameters: expected floats, received {name} with dtype {array.dtype}")
        slots.append(Slot(name, (name,), (gradient,)))
    return slots


def held_slots(layer: Any, used: Any) -> list[Slot]:
    """The floating-point entries of `.params` (or `.parameters`) that have a `.grads` (`.gradients`): dictionaries, lists, nested.

    `used` is the object after a backward, which may have made `.grads` only then. Numbers without a gradient there are settings.
    """
    for values, gradients in HOLDERS:
        held = getattr(layer, values, None)
        claimed = [getattr(o, gradients, None) for o in (layer, used)]
        if not isinstance(held, dict | list | tuple) or not any(isinstance(c, dict | list | tuple) for c in claimed):
            continue
        slots = []
        for name, path in _entries(held, "" if isinstance(held, dict) else values):
            slot = Slot(name, (values, *path), (gradients, *path))
            if isinstance(held_at(layer, slot.value), np.ndarray) or used is None or held_at(used, slot.gradient) is not MISSING:
                slots.append(slot)
        return slots
    return []


def slots_by_name(layer: Any, used: Any, kept: set[str]) -> list[Slot]:
    """Attributes whose gradient a backward leaves under the usual name (W and dW); those that a forward replaces are caches."""
    if used is None:
        return []
    held = [held_at(layer, (values,)) for values, _ in HOLDERS]
    inside = {id(held_at(layer, (v, *path))) for (v, _), h in zip(HOLDERS, held, strict=True) if isinstance(h, dict | list | tuple)
              for _, path in _entries(h, "")}  # fmt: skip
    found = []
    for name, value in getattr(layer, "__dict__", {}).items():
        if name not in kept or not isinstance(value, np.ndarray) or not is_float(value) or id(value) in inside:
            continue
        for gradient in (pattern.format(name) for pattern in GRADIENT_NAMES):
            if isinstance(g := getattr(used, gradient, None), np.ndarray) and g.shape == value.shape:
                found.append(Slot(name, (name,), (gradient,)))
                break
    return found


def _entries(held: Any, prefix: str, path: tuple[Any, ...] = ()) -> list[tuple[str, tuple[Any, ...]]]:
    found: list[tuple[str, tuple[Any, ...]]] = []
    for key, value in held.items() if isinstance(held, dict) else enumerate(held):
        name = f"{prefix}[{key}]" if not isinstance(held, dict) else f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict | list | tuple):
            found += _entries(value, name, (*path, key))
        elif isinstance(value, np.ndarray | np.floating | float) and is_float(np.asarray(value)):
            found.append((name, (*path, key)))
    return found


def held_at(layer: Any, path: tuple[Any, ...]) -> Any:
    held: Any = getattr(layer, path[0], MISSING)
    for key in path[1:]:
        try:
            held = held[key]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return held


def put_at(layer: Any, path: tuple[Any, ...], value: Any) -> None:
    if held_at(layer, path) is value:
        return
    if len(path) == 1:
        setattr(layer, path[0], value)
        return
    holder: Any = held_at(layer, path[:-1])
    if isinstance(holder, dict | list):
        holder[path[-1]] = value
    else:  # a tuple that holds it
        put_at(layer, path[:-1], tuple(value if i == path[-1] else v for i, v in enumerate(holder)))


def clear(gradient: Any) -> None:
    if isinstance(gradient, np.ndarray) and gradient.flags.writeable:
        gradient[...] = 0


def duplicate(layer: Any, memo: dict[int, Any] | None = None) -> Any:
    """A deep copy; with what cannot be copied shared between the two. `memo` as for `copy.deepcopy`."""
    try:
        return copy.deepcopy(layer, dict(memo or {}))
    except Exception:
        twin, memo = copy.copy(layer), dict(memo or {})
        for name, value in getattr(layer, "__dict__", {}).items():
            with contextlib.suppress(Exception):
                setattr(twin, name, copy.deepcopy(value, memo))
        return twin
