"""One flat vector for all parameters of a network; each layer's parameters are views of it.

An optimiser step, a checkpoint, L-BFGS and a gradient check then each handle one array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from backproof.arrays import Array, Shape
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
