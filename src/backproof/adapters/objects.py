"""A layer object with `forward(x)` and `backward(upstream)` that keeps a cache in itself, and its parameters and gradients."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.common import Adapted, argument_names, as_gradient, as_gradients, as_input, as_outputs
from backproof.adapters.slots import MISSING, Slot, asked_for, clear, duplicate, held_at, held_slots, put_at, slots_by_name
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients


class ObjectSubject(Adapted):
    """Every call works on a deep copy of the object as it was given, so that the user's is left alone and a cache that is set in
    the first forward only shows: `backward_after` is on a copy that has seen another input first.

    A copy is made with the parameters' values in place of the originals wherever they are referred to (`self.W` as well as
    `self.params["W"]`). Gradients that lie there from an earlier backward are cleared, for layers that add to them. Attributes that
    cannot be copied (a file, a lock) are shared; an object that cannot be copied at all is used itself and put back as it was.
    """

    def __init__(self, target: Any, inputs: Sequence[object], parameters: Mapping[str, str] | None) -> None:
        target = constructed(target)
        self.name = type(target).__name__
        self.copies = True
        try:
            self.pristine = duplicate(target)
        except Exception:  # whatever a foreign __copy__ or __reduce__ raises
            self.pristine, self.copies = target, False
        names = argument_names(_call(target), len(inputs))
        values = [as_input(x, n) for x, n in zip(inputs, names, strict=True)]
        self.slots: list[Slot] = []
        self.originals: list[Any] = []
        self.gradients: list[Any] = []
        self.settle(values, names, len(values))
        self.try_out(self._first)
        if parameters is not None:
            self.slots = asked_for(self.pristine, parameters)
        else:
            used, kept = self._used()
            self.slots = held_slots(self.pristine, used) + slots_by_name(self.pristine, used, kept)
        self.originals = [held_at(self.pristine, slot.value) for slot in self.slots]
        self.gradients = [held_at(self.pristine, slot.gradient) for slot in self.slots]
        if self.copies:
            for gradient in self.gradients:
                clear(gradient)
        own = [f"self.{slot.name}" if slot.name in names else slot.name for slot in self.slots]
        self.settle((*values, *(np.array(v) for v in self.originals)), (*names, *own), len(values))

    def replay(self) -> str:
        """An object that is made with arguments stands there with dots: which they were is not known here."""
        try:
            inspect.signature(type(self.pristine)).bind()
            made = self.name
        except (TypeError, ValueError):
            made = f"{self.name}(...)"
        return f"backproof.check({made}, {', '.join(self.names[: self.arguments])})"

    def _first(self) -> Arrays:
        layer, before = self._layer(self.inputs)
        try:
            outputs, self.packed = as_outputs(_call(layer)(*[np.array(x) for x in self.inputs]))
        finally:
            self._restore(before)
        return outputs

    def _used(self) -> tuple[Any, set[str]]:
        """A copy after one forward and backward, which shows where gradients are left, and which attributes these did not replace.

        None if that cannot be had.
        """
        if not self.copies:
            return None, set()
        try:
            layer = duplicate(self.pristine)
            before = dict(getattr(layer, "__dict__", {}))
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _call(layer)(*[np.array(x) for x in self.inputs])
                ones = tuple(np.ones_like(y) for y in self.outputs)
                layer.backward(ones if self.packed else ones[0])
        except Exception:  # the check itself will meet it, and say more
            return None, set()
        return layer, {name for name, value in before.items() if getattr(layer, name, None) is value}

    # --- the object of a call ----------------------------------------------------------------------------------------------
    def _layer(self, inputs: Sequence[Array]) -> tuple[Any, dict[str, Any] | None]:
        """An object in its first state with the parameters of `inputs`, and what to put back afterwards."""
        values = inputs[self.arguments :]
        if not self.copies:
            before = dict(getattr(self.pristine, "__dict__", {}))
            self._place(self.pristine, values)
            return self.pristine, before
        memo: dict[int, Any] = {}
        for old, new, gradient in zip(self.originals, values, self.gradients, strict=True):
            if isinstance(old, np.ndarray):
                memo[id(old)] = new
                if new.dtype != old.dtype and isinstance(gradient, np.ndarray) and is_float(gradient):
                    memo[id(gradient)] = np.zeros(gradient.shape, new.dtype)  # sums of float64 need a place
        layer = duplicate(self.pristine, memo)
        self._place(layer, values)
        return layer, None

    def _place(self, layer: Any, values: Sequence[Array]) -> None:
        for slot, value in zip(self.slots, values, strict=True):
            old = held_at(layer, slot.value)
            put_at(layer, slot.value, value)
            if not self.copies and isinstance(old, np.ndarray):
                for name in [n for n, held in getattr(layer, "__dict__", {}).items() if held is old]:
                    setattr(layer, name, value)

    def _restore(self, before: dict[str, Any] | None) -> None:
        if before is None:
            return
        self._place(self.pristine, self.originals)
        held = getattr(self.pristine, "__dict__", {})
        for name in set(held) - set(before):
            delattr(self.pristine, name)
        held.update(before)

    # --- the protocol ------------------------------------------------------------------------------------------------------
    def forward(self, inputs: Sequence[Array]) -> Arrays:
        layer, before = self._layer(inputs)
        try:
            return as_outputs(_call(layer)(*inputs[: self.arguments]))[0]
        finally:
            self._restore(before)

    def same_instance(self, inputs: Sequence[Array]) -> list[Arrays]:
        """Outputs of three calls of one object, which may count its calls or draw random numbers."""
        layer, before = self._layer(inputs)
        try:
            return [tuple(np.array(y) for y in as_outputs(_call(layer)(*inputs[: self.arguments]))[0]) for _ in range(3)]
        finally:
            self._restore(before)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        return self._backward(upstream, inputs, None)

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        return self._backward(upstream, inputs, other)

    def _backward(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array] | None) -> Gradients:
        layer, before = self._layer(inputs)
        held: list[tuple[Array, Array]] = []
        try:
            if not self.copies:
                held = [(g, g.copy()) for g in self.gradients if isinstance(g, np.ndarray)]
                for g, _ in held:
                    clear(g)
            if other is not None:
                _call(layer)(*other[: self.arguments])
            _call(layer)(*inputs[: self.arguments])
            grads = layer.backward(tuple(upstream) if self.packed else upstream[0])
            mine = as_gradients(grads, self.inputs[: self.arguments], self.names[: self.arguments], may_be_none=bool(self.slots))
            theirs = [(slot.name, held_at(layer, slot.gradient)) for slot in self.slots]
            return (*mine, *(None if g is MISSING or g is None else as_gradient(g, n) for n, g in theirs))
        finally:
            self._restore(before)
            for g, values in held:
                g[...] = values


def is_layer_object(target: Any) -> bool:
    """Whether it has a backward, and a forward or a call."""
    return callable(getattr(target, "backward", None)) and (callable(getattr(target, "forward", None)) or callable(target))


def constructed(target: Any) -> Any:
    """An instance, made if a class was given."""
    if not inspect.isclass(target):
        return target
    for method in ("forward", "backward"):
        if isinstance(inspect.getattr_static(target, method, None), staticmethod):
            raise ArgumentTypeError(
                f"target: expected forward and backward to be methods of an object, received {target.__name__} with static ones; "
                f"check {target.__name__}.forward with backward={target.__name__}.backward, if that is backward(upstream, *inputs)"
            )
    try:
        return target()
    except Exception as error:
        raise ArgumentError(
            f"target: expected an object, or a class that is constructed without arguments; {target.__name__}() raised "
            f"{type(error).__name__}: {error}; make one, {target.__name__.lower()} = {target.__name__}(...), and check that"
        ) from error


def _call(layer: Any) -> Any:
    return layer.forward if callable(getattr(layer, "forward", None)) else layer
