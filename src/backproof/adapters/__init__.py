"""Other people's things as Subjects of the check: functions, layer objects, our own layers and networks, torch, JAX."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.common import Adapted, chosen, name_of
from backproof.adapters.functions import FunctionSubject
from backproof.adapters.jax_ import JaxSubject, is_jax
from backproof.adapters.native import is_native, native
from backproof.adapters.objects import ObjectSubject, is_layer_object
from backproof.adapters.torch_ import TorchSubject
from backproof.adapters.torch_targets import is_torch


def adapt(
    target: Any,
    inputs: Sequence[Any],
    *,
    backward: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    wrt: int | str | Sequence[int | str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    names: Sequence[str] | None = None,
    forward_ad: bool = False,
) -> Adapted:
    """The Subject for `target`, recognised by what it is and what it is called with.

    backward, jvp: of a NumPy function: `backward(upstream, *inputs)`, `jvp(tangents, *inputs)` (tangents: one array for one input,
    else a tuple). parameters: of an object, {attribute: attribute of its gradient}; of a Layer, its parameters. wrt: positions or
    names of the inputs to be differentiated, by default all that are floating. names: of the inputs, from the first on.
    forward_ad: torch's or JAX's forward mode too. Inputs are copied; `target` and its state are left as they are. Forward is run.

    Raises `ArgumentError` or `ArgumentTypeError` if the target cannot be recognised or run, or has nothing to differentiate.
    """
    if len(inputs) == 0:
        raise ArgumentError("inputs: expected at least one array, received none")
    subject = _recognised(target, inputs, backward, jvp, parameters, forward_ad)
    if names is not None:
        if isinstance(names, str) or len(names) > len(subject.names) or not all(isinstance(n, str) for n in names):
            raise ArgumentError(f"names: expected at most {len(subject.names)} names, received {names!r}")
        subject.names = (*names, *subject.names[len(names) :])
    subject.wrt = chosen(wrt, subject.names, subject.inputs, subject.wrt)
    return subject


def _recognised(target: Any, inputs: Sequence[Any], backward: Any, jvp: Any, parameters: Any, forward_ad: bool) -> Adapted:
    for name, function in (("backward", backward), ("jvp", jvp)):
        if function is not None and not callable(function):
            raise ArgumentTypeError(f"{name}: expected a function, received {type(function).__name__}")
    torch, jax = is_torch(target, inputs), is_jax(target, inputs)
    if backward is not None or jvp is not None:
        if not callable(target):
            raise ArgumentTypeError(f"target: expected a function, received {type(target).__name__}")
        if torch or jax:
            raise ArgumentTypeError(
                "inputs: expected NumPy arrays where backward= or jvp= is given, received torch or JAX arrays; make it an autograd "
                "Function (a custom_vjp), or convert in the function"
            )
        return FunctionSubject(target, inputs, backward, jvp)
    if is_native(target):
        return native(target, inputs, parameters)
    if torch or jax:
        if parameters is not None:
            raise ArgumentTypeError("parameters: expected them as arguments of a function; a module's are found by themselves")
        return TorchSubject(target, inputs, forward_ad=forward_ad) if torch else JaxSubject(target, inputs, forward_ad=forward_ad)
    if is_layer_object(target):
        return ObjectSubject(target, inputs, parameters)
    if callable(target):
        if not inspect.isroutine(target) and (methods := _methods(target)):
            name = (target if isinstance(target, type) else type(target)).__name__
            raise ArgumentTypeError(
                f"target: expected an object with forward(x) and backward(upstream), received {name} with {methods}; "
                f"below the class, write {name}.forward = {name}.METHOD and {name}.backward = {name}.METHOD"
            )
        raise ArgumentTypeError(
            f"backward: expected the gradient of {name_of(target)}, a function backward(upstream, *inputs), received None; without "
            "it, give an object with forward and backward, a backproof Layer, Loss or Network, or torch or JAX arrays"
        )
    raise ArgumentTypeError(
        "target: expected a function (with backward=), an object with forward and backward, or a backproof Layer, Loss or "
        f"Network, received {type(target).__name__}"
    )


def _methods(target: Any) -> str:
    """The methods that its class, or the class that it is, defines itself."""
    kind = target if isinstance(target, type) else type(target)
    return ", ".join(n for n, value in vars(kind).items() if inspect.isfunction(value) and n not in ("__init__", "__repr__"))
