"""Measurements of a network in training, on a sample of its examples: one forward pass, and numbers that the last step left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from backproof.arrays import Array
from backproof.kernels import blas
from backproof.layers import Identity, Sigmoid, Softmax, Tanh
from backproof.layers.activations import Elementwise
from backproof.layers.base import Layer
from backproof.network import Network

EDGE = 0.025  # of a unit's range: an output closer than that to an end is saturated; a sigmoid's slope there is 1/10 of its largest
CERTAIN = 0.99  # a softmax is saturated where one class has more


@dataclass(frozen=True)
class LayerVitals:
    """One layer of `Network.layers`, by its number.

    saturated : share of the outputs at an end of their range (sigmoid, tanh), or of the rows that are all one class (softmax).
    dead : share of the units that give the same number, whatever the example (rectifiers and their kin); nan for other layers.
    gradient, update, weight : root mean squares of the weights' gradient, their last step, and themselves; nan without weights.
    Source of the shares: Glorot & Bengio, AISTATS 2010 (saturation); Maas, Hannun & Ng, ICML 2013 (dead units).

    >>> LayerVitals(2, "Tanh", saturated=0.9).saturated
    0.9
    """

    index: int
    name: str
    saturated: float = math.nan
    dead: float = math.nan
    gradient: float = math.nan
    update: float = math.nan
    weight: float = math.nan


class Prefix(Sequence[float]):
    """The first `count` of numbers that become more: what a tuple would be, without holding them again at each look."""

    def __init__(self, values: list[float], count: int) -> None:
        self._values, self._count = values, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return self._values[: self._count][index]
        return self._values[range(self._count)[index]]


@dataclass(frozen=True)
class Vitals:
    """What the rules look at, at the end of an epoch. Losses and norms: one an epoch (held-out ones: if there are any).

    baseline : the loss of a classifier that knows the classes' frequencies only; nan where there are no classes.

    >>> from backproof.doctor import LayerVitals
    >>> layers = LayerVitals(0, "Linear", gradient=0.1, update=0.001, weight=0.3), LayerVitals(1, "Tanh", saturated=0.9)
    >>> Vitals(1, 32, layers, (0.7,), (0.8,), (1.5,)).trained[0].name
    'Linear'
    """

    epoch: int
    step: int
    layers: tuple[LayerVitals, ...]
    train_losses: Sequence[float]
    validation_losses: Sequence[float]
    gradient_norms: Sequence[float]
    baseline: float = math.nan

    @property
    def trained(self) -> tuple[LayerVitals, ...]:
        """The layers with weights."""
        return tuple(layer for layer in self.layers if not math.isnan(layer.weight))


def measure(network: Network, x: Array, gradient: Array | None, update: Array | None) -> tuple[LayerVitals, ...]:
    """The layers' vitals on the examples x; `gradient` and `update`, flat vectors, are those of the last step."""
    y = network.prepared(x)
    first = 1 if network.standardises else 0
    found = []
    with np.errstate(all="ignore"), blas.few(2.0 * len(x) * network.parameters.size):
        for i, layer in enumerate(network.layers):
            if i >= first:
                y, _ = layer.forward(network.parameter_tree[str(i)], y)
            found.append(
                LayerVitals(i, type(layer).__name__, _saturated(layer, y), _dead(layer, y), **_sizes(network, i, gradient, update))
            )
    return tuple(found)


def _sizes(network: Network, index: int, gradient: Array | None, update: Array | None) -> dict[str, float]:
    """Of all weights (what an L2 penalty would concern) of the layer, those of layers within it included."""
    slots = [slot for slot in network.layout.slots if slot.path[0] == str(index) and slot.penalised]
    vectors = {"gradient": gradient, "update": update, "weight": network.parameters}
    return {
        name: _root_mean_square(np.concatenate([vector[slot.start : slot.stop] for slot in slots]))
        for name, vector in vectors.items()
        if slots and vector is not None
    }


def _root_mean_square(vector: Array) -> float:
    return math.sqrt(float(np.mean(np.square(vector, dtype=np.float64))))


def _saturated(layer: Layer, y: Array) -> float:
    if isinstance(layer, Sigmoid):
        return float(np.mean(np.abs(y - 0.5) > 0.5 - EDGE))
    if isinstance(layer, Tanh):
        return float(np.mean(np.abs(y) > 1 - 2 * EDGE))
    if isinstance(layer, Softmax):
        return float(np.mean(y.max(axis=layer.axis) > CERTAIN))
    return math.nan


def _dead(layer: Layer, y: Array) -> float:
    if not isinstance(layer, Elementwise) or isinstance(layer, Identity) or len(y) < 2:
        return math.nan
    return float(np.mean(np.ptp(y, axis=0) == 0))
