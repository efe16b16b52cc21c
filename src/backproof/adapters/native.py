"""Our own layers, losses and networks as Subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError
from backproof.adapters.functions import as_input
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject
from backproof.layers import Layer
from backproof.layers.base import Params
from backproof.losses import Loss
from backproof.network import Network


def is_native(target: Any) -> bool:
    return isinstance(target, Layer | Loss | Network) or (isinstance(target, type) and issubclass(target, Layer | Loss))


def native(target: Any, inputs: Sequence[Any], parameters: Any) -> Subject:
    if isinstance(target, type):
        target = target()
    arrays = [as_input(x, i) for i, x in enumerate(inputs)]
    if isinstance(target, Layer):
        return LayerSubject(target, arrays, parameters)
    return LossSubject(target, arrays) if isinstance(target, Loss) else NetworkSubject(target, arrays)


class LayerSubject(Subject):
    """A layer: x, then its parameters. A layer that draws random numbers draws the same ones in every call."""

    def __init__(self, layer: Layer, inputs: list[Array], parameters: Mapping[str, Any] | None) -> None:
        if len(inputs) != 1:
            raise ArgumentError(f"inputs: expected one array x for {layer!r}, received {len(inputs)}")
        self.layer, self.name = layer, repr(layer)
        tree = dict(parameters) if parameters is not None else layer.init(np.random.default_rng(0), inputs[0].shape[1:])
        flat = _flatten(tree)
        self.paths = [path for path, _ in flat]
        self.inputs = (inputs[0], *(np.asarray(v) for _, v in flat))
        self.names = ("x", *(".".join(path) for path in self.paths))
        self.arguments = 1
        self.wrt = tuple(k for k, x in enumerate(self.inputs) if is_float(x))

    def _pass(self, inputs: Sequence[Array]) -> tuple[Params, Array, Any]:
        params = _tree(self.paths, inputs[1:])
        y, kept = self.layer.forward(params, inputs[0], train=self.layer.is_random, rng=np.random.default_rng(0))
        return params, y, kept

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (self._pass(inputs)[1],)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        params, _, kept = self._pass(inputs)
        dx, dparams = self.layer.backward(params, kept, upstream[0])
        found = dict(_flatten(dparams))
        return (dx, *(found[path] for path in self.paths))

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        params, _, kept = self._pass(inputs)
        return (self.layer.jvp(params, kept, tangents[0], _tree(self.paths, tangents[1:])),)


class LossSubject(Subject):
    """A loss of (z, t): a scalar, with its gradient for z."""

    def __init__(self, loss: Loss, inputs: list[Array]) -> None:
        if len(inputs) != 2:
            raise ArgumentError(f"inputs: expected z and t for {loss!r}, received {len(inputs)} arrays")
        self.loss, self.name = loss, repr(loss)
        self.inputs, self.names, self.arguments, self.wrt = tuple(inputs), ("z", "t"), 2, (0,)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (np.asarray(self.loss.value_and_gradient(inputs[0], inputs[1])[0]),)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        dz = self.loss.value_and_gradient(inputs[0], inputs[1])[1]
        return (np.asarray(dz * upstream[0]).astype(dz.dtype), None)


class NetworkSubject(Subject):
    """A network's loss as a function of each of its parameter arrays (and not of the data)."""

    def __init__(self, network: Network, inputs: list[Array]) -> None:
        if len(inputs) != 2:
            raise ArgumentError(f"inputs: expected x and t for a network, received {len(inputs)} arrays")
        self.network = network if network.dtype == np.float64 else _double(network)
        self.given = network
        self.name = network.summary().splitlines()[0] if hasattr(network, "summary") else "network"
        self.name = "network"
        self.data = inputs
        entries = list(network.named_parameters.items())
        self.arguments = 2
        layers = network.layers
        self.inputs = (*inputs, *(np.asarray(v, dtype=np.float64) for _, v in entries))
        self.names = ("x", "t", *(_title(name, layers) for name, _ in entries))
        self.wrt = tuple(range(2, len(self.inputs)))
        self.paths = [name for name, _ in entries]

    def _theta(self, inputs: Sequence[Array]) -> Array:
        return np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in inputs[2:]])

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (np.asarray(self.network.loss(inputs[0], inputs[1], parameters=self._theta(inputs))),)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        _, gradient = self.network.loss_and_gradient(inputs[0], inputs[1], parameters=self._theta(inputs))
        parts, at = [], 0
        for v in inputs[2:]:
            parts.append(np.asarray(gradient[at : at + v.size].reshape(v.shape) * float(upstream[0])))
            at += v.size
        return (None, None, *parts)


def _double(network: Network) -> Network:
    wide = Network(network.layers, network.loss_function if hasattr(network, "loss_function") else None, l2=network.l2, dtype=np.float64)
    return wide


def _title(name: str, layers: Sequence[Layer]) -> str:
    first, _, rest = name.partition(".")
    return f"{first} {layers[int(first)]!r} {rest}" if first.isdigit() and int(first) < len(layers) else name


def _flatten(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    flat: list[tuple[tuple[str, ...], Any]] = []
    for key, value in tree.items():
        flat += _flatten(value, (*above, key)) if isinstance(value, Mapping) else [((*above, key), value)]
    return flat


def _tree(paths: Sequence[tuple[str, ...]], values: Sequence[Array]) -> Params:
    tree: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree
