"""`to_torch` and `from_torch`: a network as an `nn.Sequential` of the same weights and outputs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from backproof import layers as l
from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.arrays import Array, Shape
from backproof.layers.base import Layer, Params
from backproof.losses import Loss
from backproof.network import Network
from backproof.saving.model import require_network

if TYPE_CHECKING:
    import torch


# --- to torch --------------------------------------------------------------------------------------------------------------
def to_torch(network: Network) -> torch.nn.Sequential:
    """`network` as a `torch.nn.Sequential` that computes what `network.predict` does, with copies of its parameters.

    A module a layer, so that the parameters keep their names ("1.weight"); in evaluation mode, on the CPU, in the network's dtype.
    Where torch.nn has no such module (standardising, masked or tempered softmax, residual, concatenation) it is one of
    `backproof.export.modules`. For cross-entropy in torch leave out the softmax at the end: `to_torch(network)[:-1]` gives logits.

    Raises `ArgumentError` for a layer that is not of `backproof.layers`.

    >>> import numpy as np
    >>> from backproof import Linear, Network, Softmax
    >>> to_torch(Network([Linear(2), Softmax()]).initialise(np.zeros((1, 3)), seed=0))
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): Softmax(dim=-1)
    )
    """
    require_network("to_torch", network)
    import torch

    dtype = torch.float32 if network.dtype == np.float32 else torch.float64
    modules = [_module(layer, network.parameter_tree[str(i)], dtype) for i, layer in enumerate(network.layers)]
    if network.standardises:
        modules[0] = _standardize(network.layers[0], torch.float64, dtype)  # on the way in, as the network does it
    return torch.nn.Sequential(*modules).eval()


def _module(layer: Layer, params: Params, dtype: torch.dtype) -> torch.nn.Module:
    import torch
    from torch import nn

    from backproof.export import modules

    def each(layers: tuple[Layer, ...]) -> list[nn.Module]:
        return [_module(part, params[str(i)], dtype) for i, part in enumerate(layers)]

    match layer:
        case l.Linear():
            rows, columns = params["weight"].shape
            linear = nn.Linear(columns, rows, bias=bool(layer.bias), dtype=dtype)
            with torch.no_grad():
                for name, value in params.items():
                    getattr(linear, name).copy_(torch.from_numpy(value))
            return linear
        case l.LeakyReLU():
            return nn.LeakyReLU(layer.slope)
        case l.Softplus():
            return nn.Softplus(threshold=_SOFTPLUS_IS_X)
        case l.GELU():
            return nn.GELU(layer.approximate)
        case l.Dropout():
            return nn.Dropout(float(layer.rate))
        case l.Softmax() | l.LogSoftmax():
            logarithm, axis = isinstance(layer, l.LogSoftmax), int(layer.axis)
            if layer.temperature == 1.0 and layer.mask is None:
                return nn.LogSoftmax(axis) if logarithm else nn.Softmax(axis)
            mask = None if layer.mask is None else torch.tensor(layer.mask)
            return modules.MaskedSoftmax(axis, layer.temperature, mask, logarithm)
        case l.Standardize():
            return _standardize(layer, dtype, dtype)
        case l.Chain():
            return nn.Sequential(*each(layer.layers))
        case l.Residual():
            return modules.Residual(nn.Sequential(*each(layer.layers)))
        case l.Concatenate():
            return modules.Concatenate(each(layer.layers))
    for name in _SAME:
        if type(layer) is getattr(l, name):
            module: nn.Module = getattr(nn, name)()
            return module
    raise ArgumentError(f"to_torch: expected layers of backproof.layers, received {layer!r}")


def _standardize(layer: Any, within: torch.dtype, dtype: torch.dtype) -> torch.nn.Module:
    import torch

    from backproof.export import modules

    return modules.Standardize(torch.tensor(layer.mean, dtype=within), torch.tensor(layer.scale, dtype=within), dtype)


_SAME = ("Identity", "Sigmoid", "Tanh", "ReLU", "SiLU", "Flatten")
"""Layers without options that torch.nn knows by the same name."""
_SOFTPLUS_IS_X = 40.0
"""Above it, x + log(1 + exp(-x)) is x in double precision; torch takes x above its threshold."""


# --- from torch ------------------------------------------------------------------------------------------------------------
def from_torch(module: torch.nn.Module, loss: Loss | None = None, *, in_shape: Shape | None = None) -> Network:
    """The network that computes what `module` does in evaluation mode, with copies of its parameters.

    module : an `nn.Sequential` of modules that have a counterpart in `backproof.layers` (what `to_torch` makes, and
    Linear, Flatten, Dropout, Identity, ReLU, LeakyReLU, Sigmoid, Tanh, Softplus, SiLU, GELU, Softmax, LogSoftmax and Sequential of
    torch.nn), or one of these. loss : a `Loss`, to train with. in_shape : shape of one example; by default that of
    the first linear layer, which is known where nothing before it changes shapes.

    Raises `ArgumentError` naming the first module that has no counterpart, or options that have none.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(dim=-1))
    >>> from_torch(model)
    <Network([Linear(2), Softmax()]), 8 parameters, float32>
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError(f"from_torch: expected a torch.nn.Module, received {type(module).__name__}")
    read = _Reader()
    stack = read.layer(module, "")
    dtypes = {value.dtype for value in module.parameters()}
    if not dtypes <= {torch.float32, torch.float64} or len(dtypes) > 1:
        raise ArgumentError(f"from_torch: expected parameters of float32 or of float64, received {sorted(map(str, dtypes))}")
    shape = read.in_shape if in_shape is None else tuple(in_shape)
    if shape is None:
        raise ArgumentError("from_torch: expected in_shape, the shape of one example, where no first linear layer tells it")
    network = Network(stack, loss, dtype="float32" if dtypes == {torch.float32} else "float64")
    network.initialise_shape(shape, seed=0)
    for view, value in zip(network.named_parameters().values(), read.parameters, strict=True):
        if view.shape != value.shape:
            raise ArgumentError(
                f"from_torch: expected modules that fit each other, received a weight of {value.shape} for {view.shape}"
            )
        view[...] = value
    return network


class _Reader:
    """Walks the modules in order; collects the parameters and the shape that the first linear module asks for."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.in_shape: Shape | None = None
        self._reshaped = False
        self._seen: set[int] = set()

    def layer(self, module: torch.nn.Module, name: str) -> Layer:
        from torch import nn

        from backproof.export import modules as own

        place = f"module {name or 'itself'}, {str(module).splitlines()[0]}"
        if list(module.parameters(recurse=False)) and id(module) in self._seen:
            raise ArgumentError(
                f"from_torch: expected each module once, received {place} again: its weights would no longer be shared"
            )
        if module._forward_hooks or module._forward_pre_hooks:
            raise ArgumentError(f"from_torch: expected modules without hooks, received {place}")
        self._seen.add(id(module))

        def each(parts: Any, prefix: str) -> list[Layer]:
            return [self.layer(part, f"{prefix}.{i}".lstrip(".")) for i, part in enumerate(parts)]

        def given(option: bool, expected: str) -> None:
            if not option:
                raise ArgumentError(f"from_torch: expected {expected}, received {place}")

        m: Any = module
        kind = type(module)  # itself: a subclass may compute anything
        if kind is nn.Sequential:
            given(len(m) > 0, "at least one module")
            return l.Chain(*each(m, name))
        if kind is nn.Linear:
            return self._linear(m)
        if kind is nn.Flatten:
            given((m.start_dim, m.end_dim) == (1, -1), "a Flatten of all but the first dimension")
            self._reshaped = True
            return l.Flatten()
        if kind is nn.Dropout:
            return l.Dropout(m.p)
        if kind is nn.LeakyReLU:
            return l.LeakyReLU(m.negative_slope)
        if kind is nn.Softplus:
            given(m.beta == 1 and m.threshold >= 20, "a Softplus with beta=1 and a threshold of 20 or more")
            return l.Softplus()
        if kind is nn.GELU:
            return l.GELU(m.approximate)
        if kind in (nn.Softmax, nn.LogSoftmax):
            given(m.dim is not None, "a softmax with a dim")
            return (l.Softmax if kind is nn.Softmax else l.LogSoftmax)(axis=m.dim)
        if kind is own.MaskedSoftmax:
            mask = None if m.mask is None else m.mask.cpu().numpy()
            return (l.LogSoftmax if m.logarithm else l.Softmax)(m.temperature, mask, m.dim)
        if kind is own.Standardize:
            if self.in_shape is None and not self._reshaped:
                self.in_shape = tuple(m.mean.shape)
            return l.Standardize(m.mean.cpu().numpy(), m.scale.cpu().numpy())
        if kind is own.Residual:
            return l.Residual(*each(m.inner, f"{name}.inner"))
        if kind is own.Concatenate:
            return l.Concatenate(*each(m.branches, f"{name}.branches"))
        for same in _SAME:
            if kind is getattr(nn, same):
                layer: Layer = getattr(l, same)()
                return layer
        raise ArgumentError(f"from_torch: expected modules that have a counterpart in backproof.layers, received {place}")

    def _linear(self, module: Any) -> Layer:
        for value in (module.weight, module.bias):
            if value is not None:
                self.parameters.append(value.detach().cpu().numpy())
        if self.in_shape is None and not self._reshaped:
            self.in_shape = (module.in_features,)
        return l.Linear(module.out_features, bias=module.bias is not None)
