"""A NumPy function with the backward (and the forward-mode derivative) that was written for it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.common import Adapted, argument_names, as_gradients, as_input, as_outputs, name_of
from backproof.arrays import Array
from backproof.gradcheck.subject import Arrays, Gradients


class FunctionSubject(Adapted):
    """`target(*inputs)` with `backward(upstream, *inputs)`, and perhaps `jvp(tangents, *inputs)`.

    Outputs that are no floats stay in their place: `upstream` has zeros there.
    """

    # a closure may hand values from its last forward to its backward: set by the check when it has seen that, and then every
    # backward follows a forward at its own inputs
    remembers = False

    def __init__(
        self,
        target: Callable[..., Any],
        inputs: Sequence[object],
        backward: Callable[..., Any] | None,
        jvp: Callable[..., Any] | None,
    ) -> None:
        self.target, self.claimed, self.claimed_jvp = target, backward, jvp
        self.has_backward = backward is not None
        self.name = name_of(target)
        names = argument_names(target, len(inputs))
        self.settle([as_input(x, n) for x, n in zip(inputs, names, strict=True)], names, len(inputs))
        self.try_out(self._first)
        _require_upstream(backward, names)

    def replay(self) -> str:
        """With what was given beside the function; what has no name stands there with dots."""
        given = {"backward": self.claimed, "jvp": self.claimed_jvp}
        derivatives = [f"{key}={_written(name_of(function))}" for key, function in given.items() if function is not None]
        return f"backproof.check({', '.join([_written(self.name), *self.names, *derivatives])})"

    def _first(self) -> Arrays:
        outputs, self.packed = as_outputs(self.target(*[np.array(x) for x in self.inputs]))
        return outputs

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return as_outputs(self.target(*inputs))[0]

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        if self.claimed is None:
            raise NotImplementedError(f"{self.name} has a forward-mode derivative only")
        if self.remembers:
            self.target(*[np.array(x) for x in inputs])
        return as_gradients(self.claimed(tuple(upstream) if self.packed else upstream[0], *inputs), self.inputs, self.names)

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        if self.claimed is None:
            return None
        self.target(*other)
        return self.backward(upstream, inputs)

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        if self.claimed_jvp is None:
            return None
        outputs, _ = as_outputs(self.claimed_jvp(tangents[0] if len(tangents) == 1 else tuple(tangents), *inputs))
        if len(outputs) != len(self.outputs):
            raise ArgumentError(f"jvp: expected {len(self.outputs)} tangents, one for each output, received {len(outputs)}")
        return outputs


def _require_upstream(backward: Callable[..., Any] | None, names: Sequence[str]) -> None:
    """Raise `ArgumentTypeError` for a backward of other arguments; that of a loss is often written without upstream."""
    try:
        signature = None if backward is None else inspect.signature(backward)
    except (ValueError, TypeError):  # it cannot be looked at
        return
    if signature is None or _takes(signature, [None, *names]):
        return
    hint = "; multiply its gradient by upstream" if _takes(signature, names) else ""
    wanted = ", ".join(["upstream", *names])
    raise ArgumentTypeError(f"backward: expected a function backward({wanted}), received {name_of(backward)}{signature}{hint}")


def _takes(signature: inspect.Signature, arguments: Sequence[Any]) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _written(name: str) -> str:
    return name if name.isidentifier() else "..."
