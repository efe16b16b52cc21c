"""A NumPy function with its hand-written backward, and what all adapters do with their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject


class FunctionSubject(Subject):
    """`target(*inputs)` with `backward(upstream, *inputs)`, and perhaps `jvp(tangents, *inputs)`."""

    def __init__(
        self, target: Callable[..., Any], inputs: Sequence[object], backward: Callable[..., Any] | None, jvp: Callable[..., Any] | None
    ) -> None:
        self.target, self.claimed, self.tangents = target, backward, jvp
        self.name = getattr(target, "__name__", type(target).__name__)
        self.inputs = tuple(as_input(x, i) for i, x in enumerate(inputs))
        self.arguments = len(self.inputs)
        self.names = argument_names(target, self.arguments)
        self.wrt = tuple(k for k, x in enumerate(self.inputs) if is_float(x))
        self.packed = isinstance(first_call(self.name, target, self.inputs), tuple | list)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return as_outputs(self.target(*inputs))

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        if self.claimed is None:
            raise NotImplementedError(f"{self.name} has no backward")
        grads = self.claimed(tuple(upstream) if self.packed else upstream[0], *inputs)
        return as_gradients(grads, self.inputs, self.name)

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        self.target(*inputs)
        self.target(*other)
        return self.backward(upstream, inputs)

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        if self.tangents is None:
            return None
        return as_outputs(self.tangents(tangents[0] if len(tangents) == 1 else tuple(tangents), *inputs))


def as_input(x: object, i: int) -> Array:
    array = np.array(x)
    if array.dtype == object or array.dtype.kind in "USOMm":
        raise ArgumentTypeError(f"input {i}: expected an array of numbers, received {type(x).__name__}")
    if array.dtype.kind == "c":
        raise ArgumentTypeError(f"input {i}: expected real numbers, received {array.dtype}; complex functions are not supported")
    return array


def argument_names(target: Callable[..., Any], count: int) -> tuple[str, ...]:
    try:
        parameters = [p.name for p in inspect.signature(target).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (ValueError, TypeError):
        parameters = []
    return tuple(parameters[i] if i < len(parameters) else f"input {i}" for i in range(count))


def first_call(name: str, target: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """The output at the user's inputs; what goes wrong there is the user's to know, in one line."""
    try:
        with np.errstate(all="ignore"):
            out = target(*[np.array(x) if isinstance(x, np.ndarray) else x for x in inputs])
    except Exception as error:
        raise ArgumentError(f"target: expected {name} to run on the given inputs, received {type(error).__name__}: {error}") from error
    outputs = as_outputs(out)
    if not any(is_float(y) for y in outputs):
        kinds = ", ".join(str(y.dtype) for y in outputs) or "nothing"
        raise ArgumentTypeError(f"target: expected {name} to return floating-point arrays, received {kinds}")
    return out


def as_outputs(out: Any) -> Arrays:
    return tuple(np.asarray(y) for y in out) if isinstance(out, tuple | list) else (np.asarray(out),)


def as_gradients(grads: Any, inputs: Sequence[Array], name: str) -> Gradients:
    """One gradient an input, from what the code returned: an array, or a tuple with one each, or one for each float input."""
    floats = [k for k, x in enumerate(inputs) if is_float(x)]
    parts = tuple(grads) if isinstance(grads, tuple | list) else (grads,)
    if isinstance(grads, list) and len(inputs) == 1 and inputs[0].ndim and not any(isinstance(g, np.ndarray) for g in grads):
        parts = (np.asarray(grads),)
    if len(parts) != len(inputs):
        if len(parts) != len(floats):
            raise ArgumentError(f"backward: expected {len(inputs)} gradients, one for each input of {name}, received {len(parts)}")
        spread: list[Any] = [None] * len(inputs)
        for k, part in zip(floats, parts, strict=True):
            spread[k] = part
        parts = tuple(spread)
    return tuple(None if g is None else np.asarray(g) for g in parts)
