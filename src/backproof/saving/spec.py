"""A network as JSON values and tensors, and back. Arrays among the hyperparameters are tensors, too."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

import backproof.layers as layers
import backproof.losses as losses
from backproof._errors import ArgumentError, BackproofError, ModelFileError
from backproof.arrays import Array
from backproof.layers.base import Layer
from backproof.layers.combine import Combined
from backproof.losses.base import Loss
from backproof.network import Network
from backproof.parameters import named_shapes

Tensors = dict[str, Array]
_DEEPEST = 32
"""Layers within layers in a file: far more than anyone needs, and little enough for work that grows with the depth's square."""


def network_to_spec(network: Network) -> tuple[dict[str, Any], Tensors]:
    """(description, tensors) of `network`, its parameters by name among the tensors."""
    tensors: Tensors = {}
    spec = {
        "layers": [layer_to_spec(layer, f"layers.{i}", tensors) for i, layer in enumerate(network.layers)],
        "loss": None if network.loss_function is None else loss_to_spec(network.loss_function),
        "l2": network.l2,
        "dtype": str(network.dtype),
        "in_shape": list(network.in_shape),
        "metadata": network.metadata,
    }
    return spec, tensors | network.named_parameters()


def network_from_spec(spec: dict[str, Any], tensors: Mapping[str, Array]) -> Network:
    """The network of `network_to_spec`. What the layers ask for is compared with the tensors before anything is allocated."""
    if spec["dtype"] not in ("float32", "float64"):
        raise ModelFileError(f"expected dtype float32 or float64, received {spec['dtype']!r}")
    in_shape = spec["in_shape"]
    if not isinstance(in_shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in in_shape):
        raise ModelFileError(f"expected in_shape to be a list of sizes, received {in_shape!r}")
    if not isinstance(spec["metadata"], dict):
        raise ModelFileError(f"expected metadata by name, received {spec['metadata']!r}")
    loss = None if spec["loss"] is None else loss_from_spec(spec["loss"])
    stack = [layer_from_spec(layer, tensors) for layer in spec["layers"]]
    network = Network(stack, loss, l2=spec["l2"], dtype=spec["dtype"], metadata=spec["metadata"])
    for name, shape in named_shapes(network.chain.parameter_shapes(tuple(in_shape))):
        held = tensors.get(name)
        if held is None or held.shape != shape or held.dtype != spec["dtype"]:
            received = "none" if held is None else f"shape {held.shape}, {held.dtype}"
            raise ModelFileError(f"expected the tensor {name!r} of shape {shape}, {spec['dtype']}, received {received}")
    network.initialise_shape(tuple(in_shape), seed=0)
    for name, view in network.named_parameters().items():
        view[...] = tensors[name]
    return network


def layer_to_spec(layer: Layer, path: str, tensors: Tensors) -> dict[str, Any]:
    """{"layer": class name, hyperparameter: value, ...}; arrays are put into `tensors` under `path`."""
    name = type(layer).__name__
    if getattr(layers, name, None) is not type(layer):
        raise ArgumentError(f"save: expected layers of backproof.layers, received {layer!r} of class {type(layer).__qualname__}")
    if isinstance(layer, Combined):
        if path.count(".") > _DEEPEST:
            raise ArgumentError(f"save: expected layers within layers at most {_DEEPEST} deep, received more")
        return {"layer": name, "layers": [layer_to_spec(c, f"{path}.{i}", tensors) for i, c in enumerate(layer.layers)]}
    spec: dict[str, Any] = {"layer": name}
    for key, value in layer.hyperparameters().items():
        if isinstance(value, np.ndarray):
            tensors[f"{path}.{key}"] = value
            spec[key] = {"tensor": f"{path}.{key}"}
        else:
            spec[key] = value.item() if isinstance(value, np.generic) else value
    return spec


def layer_from_spec(spec: Any, tensors: Mapping[str, Array], depth: int = 0) -> Layer:
    kind = _class_of(spec, "layer", layers, Layer)
    arguments = {key: value for key, value in spec.items() if key != "layer"}
    if issubclass(kind, Combined):
        if depth == _DEEPEST:
            raise ModelFileError(f"expected layers within layers at most {_DEEPEST} deep, received more")
        parts = [layer_from_spec(part, tensors, depth + 1) for part in arguments.pop("layers", [])]
        combined: Layer = _made(kind, *parts, **arguments)
        return combined
    for key, value in arguments.items():
        if isinstance(value, dict):
            if value.get("tensor") not in tensors:
                raise ModelFileError(f"layer {spec['layer']}: expected the tensor {value.get('tensor')!r}, received none")
            arguments[key] = held = tensors[value["tensor"]]
            if held.dtype.kind not in "fb":
                raise ModelFileError(f"layer {spec['layer']}: expected {key} to be real numbers, received dtype {held.dtype}")
    layer: Layer = _made(kind, **arguments)
    return layer


def loss_to_spec(loss: Loss) -> dict[str, Any]:
    name = type(loss).__name__
    if getattr(losses, name, None) is not type(loss):
        raise ArgumentError(f"save: expected a loss of backproof.losses, received {loss!r} of class {type(loss).__qualname__}")
    return {"loss": name, **{key: getattr(loss, key) for key in (f.name for f in dataclasses.fields(loss))}}


def loss_from_spec(spec: Any) -> Loss:
    kind = _class_of(spec, "loss", losses, Loss)
    loss: Loss = _made(kind, **{key: value for key, value in spec.items() if key != "loss"})
    return loss


def _class_of(spec: Any, key: str, module: Any, base: type) -> Any:
    name = spec.get(key) if isinstance(spec, dict) else None
    kind = getattr(module, name, None) if isinstance(name, str) and name in module.__all__ else None
    if not isinstance(kind, type) or not issubclass(kind, base) or kind is base:
        raise ModelFileError(f"unknown {key} {name!r}: expected one of {[n for n in module.__all__ if n != base.__name__]}")
    return kind


def _made(kind: Any, *positional: Any, **arguments: Any) -> Any:
    try:
        return kind(*positional, **arguments)
    except (BackproofError, TypeError) as error:
        raise ModelFileError(f"{kind.__name__} cannot be made of {arguments}: {error}") from error
