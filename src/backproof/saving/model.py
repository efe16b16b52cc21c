"""`save` and `load`: a network in one safetensors file."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, BackproofError, DoubleSoftmaxWarning, ModelFileError
from backproof.arrays import Array
from backproof.network import Network
from backproof.saving.files import require_free, write_atomically
from backproof.saving.spec import layer_from_spec, layer_to_spec, loss_from_spec, loss_to_spec

FORMAT = 1


def save(network: Network, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write `network` (layers, loss, parameters, metadata) to `path`, whole or not at all; returns the path.

    The file is safetensors: other programs read the parameters by name ("1.weight"), and loading runs no code.
    Raises `OutputExistsError` if the file exists and `overwrite` is not set.

    >>> import numpy as np, tempfile, pathlib
    >>> from backproof import Linear, Network
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = Network([Linear(2)]).initialise(np.zeros((1, 3)), seed=0)
    >>> file = save(network, pathlib.Path(folder.name) / "model.safetensors")
    >>> bool((load(file).parameters == network.parameters).all())
    True
    >>> folder.cleanup()
    """
    from safetensors.numpy import save as to_bytes

    target = Path(path)
    require_free(target, overwrite, "give overwrite=True to replace it")
    tensors: dict[str, Array] = {}
    spec = {
        "format": FORMAT,
        "layers": [layer_to_spec(layer, f"layers.{i}", tensors) for i, layer in enumerate(network.layers)],
        "loss": None if network.loss_function is None else loss_to_spec(network.loss_function),
        "l2": network.l2,
        "dtype": str(network.dtype),
        "in_shape": list(network.in_shape),
        "metadata": network.metadata,
    }
    try:
        described = json.dumps(spec)
    except TypeError as error:
        raise ArgumentError(f"save: expected metadata of JSON values, received {error}") from error
    tensors.update({name: np.ascontiguousarray(value) for name, value in network.named_parameters().items()})
    write_atomically(target, to_bytes(tensors, metadata={"backproof": described}))
    return target


def load(path: str | os.PathLike[str]) -> Network:
    """The network in the file `path`, as it was saved.

    Raises `ModelFileError`, naming the file, if it is damaged or of another kind.
    """
    source = Path(path)
    if not source.is_file():
        raise ModelFileError(f"{source}: expected a model file, received {'a folder' if source.is_dir() else 'no such file'}")
    try:
        spec, tensors = _read(source)
        return _network(spec, tensors)
    except BackproofError as error:
        raise ModelFileError(f"{source}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{source}: expected a backproof model, received a damaged description ({error!r})") from error


def _read(source: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="np") as file:
            described = (file.metadata() or {}).get("backproof")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"expected a whole safetensors file, received one that is damaged or cut short ({error})") from error
    if described is None:
        raise ModelFileError("expected a model saved by backproof, received a safetensors file of something else")
    spec = json.loads(described)
    if spec.get("format") != FORMAT:
        raise ModelFileError(f"expected format {FORMAT}, received {spec.get('format')}; it was saved by another version")
    return spec, tensors


def _network(spec: dict[str, Any], tensors: dict[str, Array]) -> Network:
    loss = None if spec["loss"] is None else loss_from_spec(spec["loss"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubleSoftmaxWarning)  # said when the network was made
        network = Network(
            [layer_from_spec(layer, tensors) for layer in spec["layers"]],
            loss,
            l2=spec["l2"],
            dtype=spec["dtype"],
            metadata=spec["metadata"],
        )
    network.initialise_shape(tuple(spec["in_shape"]), seed=0)
    for name, view in network.named_parameters().items():
        if name not in tensors or tensors[name].shape != view.shape:
            received = "none" if name not in tensors else f"shape {tensors[name].shape}"
            raise ModelFileError(f"expected the tensor {name!r} of shape {view.shape}, received {received}")
        view[...] = tensors[name]
    return network
