"""A network's layers and loss as JSON values, and back. Arrays among the hyperparameters go beside it as tensors."""

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

Tensors = dict[str, Array]


def layer_to_spec(layer: Layer, path: str, tensors: Tensors) -> dict[str, Any]:
    """{"layer": class name, hyperparameter: value, ...}; arrays are put into `tensors` under `path`."""
    name = type(layer).__name__
    if getattr(layers, name, None) is not type(layer):
        raise ArgumentError(f"save: expected layers of backproof.layers, received {layer!r} of class {type(layer).__qualname__}")
    if isinstance(layer, Combined):
        return {"layer": name, "layers": [layer_to_spec(c, f"{path}.{i}", tensors) for i, c in enumerate(layer.layers)]}
    spec: dict[str, Any] = {"layer": name}
    for key, value in layer.hyperparameters().items():
        if isinstance(value, np.ndarray):
            tensors[f"{path}.{key}"] = np.ascontiguousarray(value)
            spec[key] = {"tensor": f"{path}.{key}"}
        else:
            spec[key] = value.item() if isinstance(value, np.generic) else value
    return spec


def layer_from_spec(spec: Any, tensors: Mapping[str, Array]) -> Layer:
    kind = _class_of(spec, "layer", layers, Layer)
    arguments = {key: value for key, value in spec.items() if key != "layer"}
    if issubclass(kind, Combined):
        combined: Layer = _made(kind, *(layer_from_spec(c, tensors) for c in arguments.pop("layers", [])), **arguments)
        return combined
    for key, value in arguments.items():
        if isinstance(value, dict):
            if value.get("tensor") not in tensors:
                raise ModelFileError(f"layer {spec['layer']}: expected the tensor {value.get('tensor')!r}, received none")
            arguments[key] = tensors[value["tensor"]]
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
