"""Which networks have a compiled training step, and that step.

A plain classifier or regressor is trained by one compiled call a step (`kernels.fused_mlp`): linear layers, behind each but the
last an activation, dropout, both or neither, and cross-entropy, binary cross-entropy or squared error at the end. Smoothed labels,
class weights and the penalty are part of it. It is the same mathematics as the layers', with the same random numbers and without an
array in between. Compiling takes some seconds once a machine; then it comes from the disk.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from backproof.layers import GELU, Dropout, Identity, LeakyReLU, Linear
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


class _Stage(NamedTuple):
    """A linear layer, what it is followed by, and the rate at which that is dropped."""

    linear: Linear
    activation: str | tuple[str, float] = "identity"
    rate: float = 0.0


def obstacle(network: Network) -> str | None:
    """What keeps `network` from having a compiled step, or None: then it has one."""
    if find_spec("numba") is None:
        return "one on a machine without Numba"
    loss = network.objective
    served: dict[str, Any] = {"reduction": loss.reduction}
    if type(loss) is CrossEntropy:
        served |= {"label_smoothing": loss.label_smoothing, "class_weight": loss.class_weight}
    if type(loss) not in _LOSSES or loss != dataclasses.replace(type(loss)(), **served):
        return f"the loss {loss!r}"
    if len(network.in_shape) != 1:
        return f"examples of {len(network.in_shape)} axes"
    stages = _stages(network)
    if isinstance(stages, str):
        return stages
    return f"{network.trunk.layers[-1]!r} after the last Linear layer" if stages[-1][1:] != ("identity", 0.0) else None


def compiled_plan(network: Network) -> FusedMLP:
    """The compiled step of a network that has one."""
    from backproof.kernels.fused_mlp import FusedMLP

    stages, loss = _stages(network), network.objective
    assert not isinstance(stages, str)
    linear = [stage.linear for stage in stages]
    options = {"label_smoothing": loss.label_smoothing, "class_weight": loss.class_weight} if isinstance(loss, CrossEntropy) else {}
    return FusedMLP(
        (network.in_shape[0], *(layer.outputs for layer in linear)),
        [stage.activation for stage in stages[:-1]],
        _LOSSES[type(loss)],
        network.dtype,
        biases=[layer.bias for layer in linear],
        dropout=[stage.rate for stage in stages[:-1]],
        l2=network.l2,
        **options,
    )


def _stages(network: Network) -> list[_Stage] | str:
    """The layers up to the loss by stages, or the one that fits in nowhere. A first layer done on the way in leaves an Identity."""
    layers: list[Any] = list(network.trunk.layers)
    stages: list[_Stage] = []
    for layer in layers[1:] if type(layers[0]) is Identity and len(layers) > 1 else layers:
        activation = _activation(layer)
        if type(layer) is Linear:
            stages.append(_Stage(layer))
        elif not stages:
            return f"{layer!r} where a Linear layer is expected"
        elif type(layer) is Dropout and not stages[-1].rate:
            stages[-1] = stages[-1]._replace(rate=layer.rate)
        elif activation is not None and stages[-1][1:] == ("identity", 0.0):
            stages[-1] = stages[-1]._replace(activation=activation)
        else:
            return f"{layer!r} where a Linear layer is expected"
    return stages


def _activation(layer: object) -> str | tuple[str, float] | None:
    if type(layer) is LeakyReLU:
        return ("leaky_relu", layer.slope) if layer.slope >= 0 else None
    if type(layer) is GELU:
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    return _NAMES.get(type(layer).__name__) if isinstance(layer, Elementwise) else None
