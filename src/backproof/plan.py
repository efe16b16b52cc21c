"""Which networks have a compiled training step, and that step.

A plain classifier or regressor, linear layers with elementwise activations between them and a plain loss at the end, is trained by
one compiled call a step (`kernels.fused_mlp`): the same mathematics as the layers', without an array in between. Compiling takes
some seconds once a machine; then it comes from the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backproof.layers import GELU, Identity, LeakyReLU, Linear
from backproof.layers.activations import Elementwise
from backproof.losses import BinaryCrossEntropy, CrossEntropy, SquaredError
from backproof.network import Network

if TYPE_CHECKING:
    from backproof.kernels.fused_mlp import FusedMLP

_NAMES = {"Sigmoid": "sigmoid", "Tanh": "tanh", "ReLU": "relu", "Softplus": "softplus", "SiLU": "silu", "Identity": "identity"}
_LOSSES = {
    CrossEntropy: "softmax_cross_entropy",
    BinaryCrossEntropy: "sigmoid_binary_cross_entropy",
    SquaredError: "half_squared_error",
}


def obstacle(network: Network) -> str | None:
    """What keeps `network` from having a compiled step, or None: then it has one."""
    loss, layers = network.objective, _computing(network)
    if type(loss) not in _LOSSES or loss != type(loss)():
        return f"the loss {loss!r}"
    if network.l2:
        return "the penalty l2"
    if len(network.in_shape) != 1:
        return f"examples of {len(network.in_shape)} axes"
    for i, layer in enumerate(layers):
        if i % 2 == 0 and type(layer) is not Linear:
            return f"{layer!r} where a Linear layer is expected"
        if i % 2 == 1 and _activation(layer) is None:
            return f"{layer!r} where an activation is expected"
    return None if len(layers) % 2 == 1 else "an activation after the last Linear layer"


def compiled_plan(network: Network) -> FusedMLP:
    """The compiled step of a network that has one."""
    from backproof.kernels.fused_mlp import FusedMLP

    layers: list[Any] = _computing(network)
    linear = layers[::2]
    sizes = (network.in_shape[0], *(layer.outputs for layer in linear))
    activations = [_activation(layer) or "" for layer in layers[1::2]]
    name = _LOSSES[type(network.objective)]
    return FusedMLP(sizes, activations, name, network.dtype, biases=[layer.bias for layer in linear])


def _computing(network: Network) -> list[Any]:
    """The layers up to the loss, without the place of a first layer that is done on the way in."""
    layers = list(network.trunk.layers)
    return layers[1:] if type(layers[0]) is Identity and len(layers) > 1 else layers


def _activation(layer: object) -> str | tuple[str, float] | None:
    if type(layer) is LeakyReLU:
        return ("leaky_relu", layer.slope) if layer.slope >= 0 else None
    if type(layer) is GELU:
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    return _NAMES.get(type(layer).__name__) if isinstance(layer, Elementwise) else None
