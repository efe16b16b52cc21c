"""A layer object with `forward(x)` and `backward(upstream)` that keeps a cache in itself, and perhaps .params and .grads."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError
from backproof.adapters.functions import argument_names, as_gradients, as_input, as_outputs, first_call
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject


class ObjectSubject(Subject):
    """Works on deep copies: each backward starts from the object as it was given, so that a cache that is never renewed shows."""

    def __init__(self, target: Any, inputs: Sequence[object], parameters: Mapping[str, str] | None) -> None:
        if inspect.isclass(target):
            try:
                target = target()
            except Exception as error:
                raise ArgumentError(
                    f"target: expected a class that needs no arguments, received {target.__name__}, which raises {type(error).__name__}: {error}; pass an object"
                ) from error
        self.name = type(target).__name__
        self.pristine = target
        call = [as_input(x, i) for i, x in enumerate(inputs)]
        self.arguments = len(call)
        self.slots = _slots(target, parameters)
        self.inputs = (*call, *(np.array(_get(target, s[0])) for s in self.slots))
        self.names = (*argument_names(_forward(target), len(call)), *(s[0][-1] for s in self.slots))
        self.wrt = tuple(k for k, x in enumerate(self.inputs) if is_float(x))
        self.packed = isinstance(first_call(self.name, _forward(self._fresh()), call), tuple | list)

    def _fresh(self) -> Any:
        try:
            return copy.deepcopy(self.pristine)
        except Exception:  # an object that cannot be copied is used as it is
            return self.pristine

    def _set(self, layer: Any, inputs: Sequence[Array]) -> None:
        for slot, value in zip(self.slots, inputs[self.arguments :], strict=True):
            _put(layer, slot[0], value)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        layer = self._fresh()
        self._set(layer, inputs)
        return as_outputs(_forward(layer)(*inputs[: self.arguments]))

    def _backward(self, layer: Any, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        self._set(layer, inputs)
        _forward(layer)(*inputs[: self.arguments])
        for _, place in self.slots:  # accumulating into zeros and assigning both work
            held = _get(layer, place, None)
            if isinstance(held, np.ndarray):
                _put(layer, place, np.zeros_like(held, dtype=np.result_type(held, inputs[0])))
        grads = layer.backward(tuple(upstream) if self.packed else upstream[0])
        mine = as_gradients(grads, self.inputs[: self.arguments], self.name)
        return (*mine, *(None if (g := _get(layer, place, None)) is None else np.asarray(g) for _, place in self.slots))

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        return self._backward(self._fresh(), upstream, inputs)

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        layer = self._fresh()
        self._set(layer, other)
        _forward(layer)(*other[: self.arguments])
        return self._backward(layer, upstream, inputs)


def is_layer_object(target: Any) -> bool:
    return callable(getattr(target, "backward", None)) and (callable(getattr(target, "forward", None)) or callable(target))


def _forward(layer: Any) -> Any:
    return layer.forward if hasattr(layer, "forward") else layer


Path = tuple[str, ...]


def _slots(layer: Any, parameters: Mapping[str, str] | None) -> list[tuple[Path, Path]]:
    """(where a parameter is, where its gradient appears): attributes that were asked for, or the entries of .params and .grads."""
    if parameters:
        for name in parameters:
            if not hasattr(layer, name):
                raise ArgumentError(f"parameters: expected attributes of {type(layer).__name__}, received {name!r}")
        return [((name,), (grad,)) for name, grad in parameters.items()]
    for values, grads in (("params", "grads"), ("parameters", "gradients")):
        held = getattr(layer, values, None)
        if isinstance(held, dict) and isinstance(getattr(layer, grads, {}), dict):
            return [((values, k), (grads, k)) for k, v in held.items() if is_float(np.asarray(v))]
    return []


_MISSING = object()


def _get(layer: Any, path: Path, default: Any = _MISSING) -> Any:
    held = getattr(layer, path[0], None)
    if len(path) == 1:
        return held
    if isinstance(held, dict) and path[1] in held:
        return held[path[1]]
    if default is _MISSING:
        raise ArgumentError(f"{type(layer).__name__}.{path[0]}: expected an entry {path[1]!r}, received none")
    return default


def _put(layer: Any, path: Path, value: Array) -> None:
    if len(path) == 1:
        old = getattr(layer, path[0], None)
        setattr(layer, path[0], value)
    else:
        held = getattr(layer, path[0])
        old = held.get(path[1])
        held[path[1]] = value
    if isinstance(old, np.ndarray):  # the same array under a plain attribute (self.W is self.params["W"])
        for name, other in list(vars(layer).items()):
            if other is old:
                setattr(layer, name, value)
