"""`to_onnx`: a network as an ONNX graph, each layer by the operators of the ONNX standard that make its outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backproof import layers as l
from backproof._errors import ArgumentError
from backproof.arrays import Array, Shape, float_dtype
from backproof.layers.base import Layer, Params
from backproof.network import Network
from backproof.saving.files import require_free, write_atomically
from backproof.saving.model import require_network

OPSET = 20  # the first with Gelu
_LARGEST = 2**31 - 2**20  # bytes of a protobuf message, less what describes the layers


def to_onnx(network: Network, path: str | os.PathLike[str] | None = None, *, dtype: object = None, overwrite: bool = False) -> Any:
    """What `network.predict` computes, as an `onnx.ModelProto`; written to `path` if that is given.

    The graph takes "x" (N, *features), N free, and returns "y". It computes in `dtype`, "float32" or "float64", that of the
    network by default. Where standardising comes first, x is double precision, as it is inside the network: in single precision a
    large common offset would cost digits. Dropout does nothing, as in `predict`. The metadata of the network are among those
    of the model, as JSON.

    Needs the package onnx. Not every runtime has every operator in double precision: onnxruntime lacks Erf, and so the exact GELU.

    Raises `ArgumentError` for a layer that is not of `backproof.layers` and for a network of 2 GB or more,
    `OutputExistsError` if the file exists and `overwrite` is not set.

    >>> import numpy as np, pytest
    >>> onnx = pytest.importorskip("onnx")
    >>> from backproof import Linear, Network, Softmax
    >>> model = to_onnx(Network([Linear(2), Softmax()], dtype="float32").initialise(np.zeros((1, 3)), seed=0))
    >>> [node.op_type for node in model.graph.node]
    ['Gemm', 'Softmax']
    """
    require_network("to_onnx", network)
    onnx = _onnx()
    if path is not None:
        require_free(Path(path), overwrite, "give overwrite=True to replace it")
    precision = network.dtype if dtype is None else float_dtype(dtype)  # type: ignore[arg-type]
    graph = _Graph(onnx, precision)
    first = np.dtype(np.float64) if network.standardises else precision
    inside, rest = "x", list(network.layers)
    if network.standardises:
        inside = graph.cast(_standardised(graph, rest.pop(0), {}, "x", network.in_shape))
    tree = network.parameter_tree
    offset = len(network.layers) - len(rest)
    shape = network.in_shape
    for i, layer in enumerate(rest, offset):
        inside, shape = graph.layer(layer, tree[str(i)], inside, shape), layer.out_shape(shape)
    graph.result(inside)
    model = graph.model(first, network.in_shape, shape)
    for key, value in network.metadata.items():
        model.metadata_props.add(key=str(key), value=json.dumps(value))
    onnx.checker.check_model(model)
    if path is not None:
        write_atomically(Path(path), model.SerializeToString())
    return model


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ArgumentError("to_onnx: expected the package onnx to be installed (pip install backproof[onnx])") from error
    return onnx


class _Graph:
    """Nodes and constants as they are added; values are known by their names."""

    def __init__(self, onnx: Any, dtype: np.dtype[Any]) -> None:
        self.onnx, self.dtype = onnx, dtype
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.bytes = 0

    def node(self, operator: str, *inputs: str | float | Array, **attributes: Any) -> str:
        """Add an operator; numbers and arrays among its inputs become constants. Returns the name of its output."""
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, names, [output], **attributes))
        return output

    def constant(self, value: float | Array) -> str:
        array = np.asarray(value, order="C") if isinstance(value, np.ndarray) else np.asarray(value, dtype=self.dtype)
        self.bytes += array.nbytes
        if self.bytes > _LARGEST:
            raise ArgumentError("to_onnx: expected a network below 2 GB, which an ONNX file can hold, received a larger one")
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def result(self, name: str) -> None:
        """Call this value "y", the output of the graph."""
        if not self.nodes or self.nodes[-1].output[0] != name:
            self.node("Identity", name)
        self.nodes[-1].output[0] = "y"

    def cast(self, x: str) -> str:
        return self.node("Cast", x, to=self.onnx.helper.np_dtype_to_tensor_dtype(self.dtype))

    def layer(self, layer: Layer, params: Params, x: str, shape: Shape) -> str:
        """Add a layer for examples of `shape`."""
        rule = RULES.get(type(layer))
        if rule is None:
            raise ArgumentError(f"to_onnx: expected layers of backproof.layers, received {layer!r}, for which ONNX has no rule")
        return rule(self, layer, params, x, shape)

    def model(self, first: np.dtype[Any], in_shape: Shape, out_shape: Shape) -> Any:
        helper = self.onnx.helper

        def described(name: str, dtype: np.dtype[Any], shape: Shape) -> Any:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), ["N", *shape])

        x, y = described("x", first, in_shape), described("y", self.dtype, out_shape)
        graph = helper.make_graph(self.nodes, "backproof", [x], [y], self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(graph, opset_imports=opsets, ir_version=version, producer_name="backproof")


# --- a rule a layer --------------------------------------------------------------------------------------------------------
Rule = Callable[[_Graph, Any, Params, str, Shape], str]


def _operator(name: str) -> Rule:
    return lambda graph, layer, params, x, shape: graph.node(name, x)


def _linear(graph: _Graph, layer: l.Linear, params: Params, x: str, shape: Shape) -> str:
    weight = params["weight"].astype(graph.dtype)
    bias = [params["bias"].astype(graph.dtype)] if layer.bias else []
    if len(shape) == 1:
        return graph.node("Gemm", x, weight, *bias, transB=1)
    y = graph.node("MatMul", x, weight.T)
    return graph.node("Add", y, *bias) if bias else y


def _leaky_relu(graph: _Graph, layer: l.LeakyReLU, params: Params, x: str, shape: Shape) -> str:
    if graph.dtype == np.float32:
        return graph.node("LeakyRelu", x, alpha=layer.slope)
    # relu(x) - slope relu(-x): the attribute alpha is a single
    below = graph.node("Mul", graph.node("Relu", graph.node("Neg", x)), layer.slope)
    return graph.node("Sub", graph.node("Relu", x), below)


def _softplus(graph: _Graph, layer: Layer, params: Params, x: str, shape: Shape) -> str:
    if graph.dtype == np.float32:
        return graph.node("Softplus", x)
    # max(x, 0) + log(1 + exp(-|x|)): onnxruntime has Softplus in single precision only
    exponential = graph.node("Exp", graph.node("Neg", graph.node("Abs", x)))
    return graph.node("Add", graph.node("Relu", x), graph.node("Log", graph.node("Add", exponential, 1.0)))


def _gelu(graph: _Graph, layer: l.GELU, params: Params, x: str, shape: Shape) -> str:
    if layer.approximate == "none" or graph.dtype == np.float32:
        return graph.node("Gelu", x, approximate=layer.approximate)
    # x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    cube = graph.node("Mul", graph.node("Mul", x, x), x)
    inner = graph.node("Mul", graph.node("Add", x, graph.node("Mul", cube, 0.044715)), float(np.sqrt(2 / np.pi)))
    return graph.node("Mul", graph.node("Mul", x, 0.5), graph.node("Add", graph.node("Tanh", inner), 1.0))


def _silu(graph: _Graph, layer: Layer, params: Params, x: str, shape: Shape) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _normalising(operator: str, of_masked: float) -> Rule:
    def rule(graph: _Graph, layer: l.Softmax | l.LogSoftmax, params: Params, x: str, shape: Shape) -> str:
        z = x if layer.temperature == 1.0 else graph.node("Div", x, layer.temperature)
        if layer.mask is None:
            return graph.node(operator, z, axis=int(layer.axis))
        z = graph.node("Where", layer.mask, z, -np.inf)
        # where all is masked, ONNX has nan
        return graph.node("Where", layer.mask, graph.node(operator, z, axis=int(layer.axis)), of_masked)

    return rule


def _standardised(graph: _Graph, layer: Any, params: Params, x: str, shape: Shape) -> str:
    """In double precision, for the input of the network."""
    mean, scale = (np.asarray(a, dtype=np.float64) for a in (layer.mean, layer.scale))
    return graph.node("Div", graph.node("Sub", x, mean), scale)


def _standardise(graph: _Graph, layer: l.Standardize, params: Params, x: str, shape: Shape) -> str:
    return graph.node("Div", graph.node("Sub", x, layer.mean.astype(graph.dtype)), layer.scale.astype(graph.dtype))


def _chain(graph: _Graph, layer: l.Chain, params: Params, x: str, shape: Shape) -> str:
    for i, part, in_shape, _ in layer.shapes(shape):
        x = graph.layer(part, params[str(i)], x, in_shape)
    return x


def _residual(graph: _Graph, layer: l.Residual, params: Params, x: str, shape: Shape) -> str:
    return graph.node("Add", x, _chain(graph, layer.inner, params, x, shape))


def _concatenate(graph: _Graph, layer: l.Concatenate, params: Params, x: str, shape: Shape) -> str:
    outputs = [graph.layer(part, params[str(i)], x, shape) for i, part in enumerate(layer.layers)]
    return graph.node("Concat", *outputs, axis=-1)


RULES: dict[type[Layer], Rule] = {
    l.Linear: _linear,
    l.Identity: lambda graph, layer, params, x, shape: x,
    l.Dropout: lambda graph, layer, params, x, shape: x,
    l.Sigmoid: _operator("Sigmoid"),
    l.Tanh: _operator("Tanh"),
    l.ReLU: _operator("Relu"),
    l.LeakyReLU: _leaky_relu,
    l.Softplus: _softplus,
    l.SiLU: _silu,
    l.GELU: _gelu,
    l.Softmax: _normalising("Softmax", 0.0),
    l.LogSoftmax: _normalising("LogSoftmax", -np.inf),
    l.Flatten: lambda graph, layer, params, x, shape: graph.node("Flatten", x, axis=1),
    l.Standardize: _standardise,
    l.Chain: _chain,
    l.Residual: _residual,
    l.Concatenate: _concatenate,
}
