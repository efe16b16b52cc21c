"""Other people's things as Subjects of the check: functions, layer objects, our own layers and networks, torch, JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.functions import FunctionSubject
from backproof.adapters.jax_ import JaxSubject, is_jax
from backproof.adapters.native import is_native, native
from backproof.adapters.objects import ObjectSubject, is_layer_object
from backproof.adapters.torch_ import TorchSubject, is_torch
from backproof.gradcheck.subject import Subject


def adapt(
    target: Any,
    inputs: Sequence[Any],
    *,
    backward: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    wrt: Any = None,
    parameters: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
) -> Subject:
    """The Subject for `target`, recognised by what it is and what it is called with; see `backproof.check`."""
    if not inputs:
        raise ArgumentError("inputs: expected at least one array, received none")
    subject: Subject
    if is_native(target):
        subject = native(target, inputs, parameters)
    elif backward is not None or jvp is not None:
        if not callable(target):
            raise ArgumentTypeError(f"target: expected a function, received {type(target).__name__}")
        if backward is not None and not callable(backward):
            raise ArgumentTypeError(f"backward: expected a function, received {type(backward).__name__}")
        subject = FunctionSubject(target, inputs, backward, jvp)
    elif is_torch(target, inputs):
        subject = TorchSubject(target, inputs)
    elif is_jax(target, inputs):
        subject = JaxSubject(target, inputs)
    elif is_layer_object(target):
        subject = ObjectSubject(target, inputs, parameters)
    else:
        raise ArgumentTypeError(
            f"target: expected a function with backward=, an object with forward and backward, a layer or network, or a torch or JAX function "
            f"called on torch or JAX arrays, received {getattr(target, '__name__', type(target).__name__)}"
        )
    if names is not None:
        subject.names = (*names, *subject.names[len(names) :])
    subject.wrt = _chosen(subject, wrt)
    return subject


def _chosen(subject: Subject, wrt: Any) -> tuple[int, ...]:
    if wrt is not None:
        places = []
        for item in [wrt] if isinstance(wrt, int | str) else list(wrt):
            k = subject.names.index(item) if isinstance(item, str) and item in subject.names else item
            if not isinstance(k, int) or not 0 <= k < len(subject.inputs):
                raise ArgumentError(f"wrt: expected positions below {len(subject.inputs)} or names among {', '.join(subject.names)}, received {item!r}")
            if k not in subject.wrt:
                raise ArgumentTypeError(f"wrt: expected floating-point inputs, received {subject.names[k]} of dtype {subject.inputs[k].dtype}: an integer input cannot be differentiated")
            places.append(k)
        return tuple(places)
    if not subject.wrt:
        kinds = ", ".join(f"{n}: {x.dtype}" for n, x in zip(subject.names, subject.inputs, strict=True))
        raise ArgumentTypeError(f"inputs: expected at least one floating-point array to differentiate, received {kinds}; pass floats")
    return subject.wrt
