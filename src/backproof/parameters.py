"""One flat vector for all parameters of a network; each layer's parameters are views of it.

An optimiser step, a checkpoint, L-BFGS and a gradient check then each handle one array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from backproof._errors import ShapeError
from backproof.arrays import Array, Shape, as_floats
from backproof.layers.base import Layer, Params
from backproof.layers.combine import Combined


class Slot(NamedTuple):
    """Where one parameter array lies in the flat vector."""

    path: tuple[str, ...]
    shape: Shape
    start: int
    stop: int
    penalised: bool

    @property
    def name(self) -> str:
        """Its name in files and reports: "0.weight"."""
        return ".".join(self.path)


class Layout:
    """The order and the shapes of all parameters of a layer: depth first, each layer's in the order it made them."""

    def __init__(self, layer: Layer, params: Params) -> None:
        self.slots: tuple[Slot, ...] = tuple(_slots(layer, params))
        self.size = self.slots[-1].stop if self.slots else 0

    def views(self, flat: Array, layer_tree: Params) -> Params:
        """Dictionaries of the shape of `layer_tree` whose arrays are views of `flat`."""
        tree = _skeleton(layer_tree)
        for slot in self.slots:
            _parent(tree, slot)[slot.path[-1]] = flat[slot.start : slot.stop].reshape(slot.shape)
        return tree

    def pack(self, tree: Params, out: Array) -> Array:
        """Copy the arrays of `tree` into the flat vector `out`."""
        for slot in self.slots:
            out[slot.start : slot.stop] = _parent(tree, slot)[slot.path[-1]].reshape(-1)
        return out

    def penalty_mask(self) -> Array:
        """True at the entries that an L2 penalty concerns."""
        mask = np.zeros(self.size, dtype=bool)
        for slot in self.slots:
            mask[slot.start : slot.stop] = slot.penalised
        return mask


class ParameterVector:
    """The flat vector of a layer's parameters, freshly drawn, with the views that the layer takes."""

    def __init__(self, layer: Layer, in_shape: Shape, rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
        self.in_shape = in_shape
        drawn = layer.init(rng, in_shape)
        self.layout, self._like = Layout(layer, drawn), _skeleton(drawn)
        self.flat = self.layout.pack(drawn, np.empty(self.layout.size, dtype=dtype))
        self.tree = self.layout.views(self.flat, self._like)
        self.penalised = self.layout.penalty_mask().astype(dtype)

    def checked(self, value: npt.ArrayLike, name: str) -> Array:
        """`value` as a vector of the right length."""
        vector = as_floats(value, name)
        if vector.shape != self.flat.shape:
            raise ShapeError(f"{name}: expected a vector of shape {self.flat.shape}, received {vector.shape}")
        return vector

    def tree_of(self, vector: Array) -> Params:
        """The parameters as the layer takes them, as views of another vector."""
        return self.layout.views(vector, self._like)

    def named(self) -> dict[str, Array]:
        """Views of the flat vector by name."""
        return {slot.name: self.flat[slot.start : slot.stop].reshape(slot.shape) for slot in self.layout.slots}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "tree"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The views are made anew: pickled beside their vector they would come back as arrays of their own."""
        self.__dict__.update(state)
        self.tree = self.tree_of(self.flat)

    def copy(self) -> ParameterVector:
        """The same parameters in a vector of their own."""
        twin = object.__new__(ParameterVector)
        twin.__dict__.update(self.__dict__)
        twin.flat = self.flat.copy()
        twin.tree = twin.tree_of(twin.flat)
        return twin


def named_shapes(shapes: Params, prefix: str = "") -> Iterator[tuple[str, Shape]]:
    """(name, shape) of every parameter in a tree of `Layer.parameter_shapes`."""
    for name, value in shapes.items():
        if isinstance(value, dict):
            yield from named_shapes(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _slots(layer: Layer, params: Params, path: tuple[str, ...] = (), start: int = 0) -> Iterator[Slot]:
    for name, value in params.items():
        if isinstance(value, dict):
            children = layer.layers if isinstance(layer, Combined) else ()
            for slot in _slots(children[int(name)], value, (*path, name), start):
                yield slot
                start = slot.stop
        else:
            yield Slot((*path, name), value.shape, start, start + value.size, name in layer.penalised)
            start += value.size


def _skeleton(tree: Params) -> Params:
    return {name: _skeleton(value) for name, value in tree.items() if isinstance(value, dict)}


def _parent(tree: Params, slot: Slot) -> Params:
    for name in slot.path[:-1]:
        tree = tree[name]
    return tree
