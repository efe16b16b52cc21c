"""What all adapters share: the arguments of a call as arrays, names, outputs, the number of gradients, and the first call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, BackproofError
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject

Names: TypeAlias = tuple[str, ...]


class Adapted(Subject):
    """A Subject with what else is known of it.

    Attributes:
        outputs: what `forward` gave at `inputs` when the subject was made.
        has_backward: False for a function that brought a forward-mode derivative only; its `backward` raises NotImplementedError.
        none_is_zero: a gradient of None means 0 (torch), not "none is given".
        notes: sentences that belong into the report, about what was left out.
    """

    outputs: Arrays = ()
    has_backward: bool = True
    none_is_zero: bool = False
    notes: tuple[str, ...] = ()

    def settle(self, inputs: Iterable[Array], names: Sequence[str], arguments: int, wrt: Sequence[int] | None = None) -> None:
        """Take the inputs; those to be differentiated are all that are floating, unless `wrt` says which."""
        self.inputs, self.names, self.arguments = tuple(inputs), tuple(names), arguments
        self.wrt = tuple(k for k, x in enumerate(self.inputs) if is_float(x)) if wrt is None else tuple(wrt)

    def try_out(self, call: Callable[[], Arrays] | None = None) -> None:
        """Run forward once, on copies, and keep the outputs; what goes wrong there is told in one line."""
        with np.errstate(all="ignore"):
            try:
                self.outputs = call() if call is not None else self.forward([np.array(x) for x in self.inputs])
            except BackproofError:
                raise
            except Exception as error:
                raise ArgumentError(f"target: {self.name} raised {type(error).__name__}: {error}") from error
        if any(y.dtype.kind == "c" for y in self.outputs):
            raise ArgumentTypeError(f"target: expected {self.name} to return real numbers, received complex: that is not supported")
        if not any(is_float(y) for y in self.outputs):
            kinds = ", ".join(str(y.dtype) for y in self.outputs) or "no arrays"
            raise ArgumentTypeError(f"target: expected {self.name} to return floating-point arrays, received {kinds}")


def as_input(value: object, name: str) -> Array:
    """A copy of `value` as an array: dtype kept, numbers and lists of floats become float64."""
    if value is None or isinstance(value, str | bytes | Mapping) or callable(value):
        raise ArgumentTypeError(
            f"{name}: expected an array or a number, received {type(value).__name__}; bind what is none: "
            "check(lambda x: target(x, option), x, ...)"
        )
    try:
        array = np.array(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentTypeError(f"{name}: expected an array or a number, received {type(value).__name__} ({error})") from error
    require_real(array.dtype, name, type(value).__name__)
    return array


def require_real(dtype: np.dtype[Any], name: str, kind: str) -> None:
    """Raise `ArgumentTypeError` for complex numbers and for what is no number."""
    if dtype.kind == "c":
        raise ArgumentTypeError(f"{name}: expected real numbers, received {dtype}: complex numbers are not supported")
    if dtype.kind not in "fiub" and dtype.name != "bfloat16":
        raise ArgumentTypeError(f"{name}: expected an array of numbers, received {kind} with dtype {dtype}")


def argument_names(function: Any, count: int, skip: int = 0) -> Names:
    """Names of the first `count` positional arguments (after `skip`), "input i" where they cannot be had."""
    named: list[str] = []
    try:
        for p in inspect.signature(function).parameters.values():
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                named.append(p.name)
    except (ValueError, TypeError):
        pass
    named = named[skip:]
    return tuple(named[i] if i < len(named) else f"input {i}" for i in range(count))


def name_of(target: Any) -> str:
    """What the report calls a function or an object."""
    name = getattr(target, "__name__", None)
    if name is None and isinstance(getattr(target, "func", None), Callable):  # type: ignore[arg-type]  # functools.partial
        return name_of(target.func)
    return name if isinstance(name, str) else type(target).__name__


def as_outputs(out: Any) -> tuple[Arrays, bool]:
    """(outputs, whether they came as a tuple). A list is a tuple of outputs if it holds arrays, else one array."""
    if isinstance(out, tuple) or (isinstance(out, list) and any(isinstance(y, np.ndarray) for y in out)):
        return tuple(as_output(y) for y in out), True
    return (as_output(out),), False


def as_output(y: Any) -> Array:
    """`y` as an array of its own: a function may return its argument, or a buffer that it uses again."""
    try:
        array = np.array(y)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"target: expected arrays as outputs, received {type(y).__name__} ({error})") from error
    if array.dtype.kind in "OUSV" and array.dtype.name != "bfloat16":
        raise ArgumentTypeError(f"target: expected arrays of numbers as outputs, received {type(y).__name__}")
    return array


def as_gradients(grads: Any, inputs: Sequence[Array], names: Sequence[str], *, may_be_none: bool = False) -> Gradients:
    """One gradient an input of what a backward returned.

    An array for one input; a tuple or list with one each, or one for each floating input. Another number is an `ArgumentError`.
    """
    count, floats = len(inputs), [k for k, x in enumerate(inputs) if is_float(x)]
    if grads is None and may_be_none:
        return (None,) * count
    alone = len(floats) == 1 and inputs[floats[0]].ndim > 0
    if isinstance(grads, tuple | list) and not (isinstance(grads, list) and alone and _numbers(grads)):
        parts = list(grads)
    else:
        parts = [grads]
        if count > 1 and len(floats) > 1:
            what = "None (is a return missing?)" if grads is None else "one array"
            raise ArgumentError(f"backward: expected a tuple of {_gradients(names)}, received {what}")
    if grads is None:
        raise ArgumentError(f"backward: expected {_gradients(names)}, received None (is a return missing?)")
    if len(parts) != count:
        if len(parts) != len(floats):
            raise ArgumentError(f"backward: expected {_gradients(names)}, received {len(parts)}")
        spread: list[Any] = [None] * count
        for k, part in zip(floats, parts, strict=True):
            spread[k] = part
        parts = spread
    return tuple(None if g is None else as_gradient(g, name) for g, name in zip(parts, names, strict=True))


def as_gradient(g: Any, name: str) -> Array:
    """`g` as an array of its own, dtype and shape as they came."""
    try:
        array = np.array(g)
    except (ValueError, TypeError) as error:
        raise ArgumentTypeError(f"backward: expected a gradient of {name}, received {type(g).__name__} ({error})") from error
    if array.dtype.kind in "OUSV" and array.dtype.name != "bfloat16":
        raise ArgumentTypeError(f"backward: expected an array of numbers as gradient of {name}, received {type(g).__name__}")
    return array


def _gradients(names: Sequence[str]) -> str:
    return f"{len(names)} gradient{'s' if len(names) > 1 else ''} (one for each input: {', '.join(names)})"


def _numbers(values: list[Any]) -> bool:
    return bool(values) and not any(isinstance(v, np.ndarray) or v is None for v in values)


def chosen(wrt: Any, names: Sequence[str], inputs: Sequence[Array], allowed: Sequence[int]) -> tuple[int, ...]:
    """`wrt` (positions or names) as positions; None: all that are allowed."""
    if wrt is None:
        if not allowed:
            kinds = ", ".join(f"{n}: {x.dtype}" for n, x in zip(names, inputs, strict=True))
            raise ArgumentError(
                f"inputs: nothing to differentiate: expected at least one floating-point input, received {kinds}; pass x as floats"
            )
        return tuple(allowed)
    places: list[int] = []
    for item in [wrt] if isinstance(wrt, int | np.integer | str) else list(wrt):
        place = names.index(item) if isinstance(item, str) and item in names else item
        if isinstance(place, bool) or not isinstance(place, int | np.integer) or not -len(names) <= place < len(names):
            raise ArgumentError(f"wrt: expected positions below {len(names)} or names of {', '.join(names)}, received {item!r}")
        k = int(place) % len(names)
        if not is_float(inputs[k]):
            raise ArgumentTypeError(f"wrt: integer input to differentiate: {names[k]} has dtype {inputs[k].dtype}; pass floats")
        if k not in allowed:
            having = ", ".join(names[i] for i in allowed)
            raise ArgumentError(f"wrt: expected inputs that have a gradient ({having}), received {names[k]}")
        if k not in places:
            places.append(k)
    if not places:
        raise ArgumentError("wrt: expected at least one input, received none")
    return tuple(places)


def flatten(tree: Mapping[str, Any], above: Names = ()) -> list[tuple[Names, Any]]:
    """(path, value) of everything that is no dictionary."""
    flat: list[tuple[Names, Any]] = []
    for key, value in tree.items():
        flat += flatten(value, (*above, key)) if isinstance(value, Mapping) else [((*above, key), value)]
    return flat


def skeleton(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Its dictionaries, also the empty ones, without what is in them."""
    return {key: skeleton(value) for key, value in tree.items() if isinstance(value, Mapping)}


def nest(empty: Mapping[str, Any], paths: Sequence[Names], values: Sequence[Any]) -> dict[str, Any]:
    """The inverse of `flatten`: new dictionaries like `empty`, a skeleton, with the values at their paths."""
    tree = skeleton(empty)
    for path, value in zip(paths, values, strict=True):
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
    return tree
