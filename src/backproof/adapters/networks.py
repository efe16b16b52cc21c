"""A network's loss as a Subject: a function of x, t and every parameter array, with the network's own gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError
from backproof.adapters.common import Adapted, as_input
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject
from backproof.layers.base import Layer
from backproof.network import Network


class NetworkSubject(Adapted):
    """E(x, t, parameters) with `loss_and_gradient` and `input_gradient`; sample weights may follow t.

    Calls go to a copy of the network for each float dtype, into whose flat vector the given parameters are written: one copy of the
    parameters a call, and nothing an entry. Gradients come back as views of the flat gradient. Dropout is on, with the same mask in
    every call; `input_gradient` and `hessian_product` have it off, so that then x and second derivatives are not checked.
    """

    def __init__(self, network: Network, inputs: Sequence[Any], seed: int) -> None:
        if len(inputs) not in (2, 3):
            raise ArgumentError(f"inputs: expected x and t (and sample_weight) for a network, received {len(inputs)}")
        if network.loss_function is None:
            raise ArgumentError("target: expected a network with a loss for x and t, received one without; or give x alone")
        names = ("x", "t", "sample_weight")[: len(inputs)]
        data = [as_input(x, n) for x, n in zip(inputs, names, strict=True)]
        network = with_parameters(network, data[0], seed)
        self.seed, self.count = seed, len(data)
        self.name = "network"
        self.slots = network.layout.slots
        self.random = network.chain.is_random
        self.twins: dict[np.dtype[Any], Network] = {network.dtype: network.copy()}
        if is_float(data[0]) and not network.standardises:  # a network computes in its parameters' precision
            data[0] = data[0].astype(network.dtype)
        held = [np.array(v) for v in network.named_parameters().values()]
        titles = [title(network.layers, slot.path) for slot in self.slots]
        first = self.count
        wrt = [0] if is_float(data[0]) and not self.random else []
        self.settle((*data, *held), (*names, *titles), first, [*wrt, *range(first, first + len(held))])
        if self.random:
            self.notes = ("x is not checked: the network's input_gradient is without dropout",)
        self.try_out()

    def at(self, inputs: Sequence[Array]) -> Network:
        """A network with the parameters of `inputs`, in their precision."""
        values = inputs[self.count :]
        dtype = np.result_type(*values) if values else next(iter(self.twins))
        twin = self.twins.get(dtype)
        if twin is None:
            twin = self.twins[dtype] = as_dtype(next(iter(self.twins.values())), dtype)
        flat = twin.parameters
        for slot, value in zip(self.slots, values, strict=True):
            flat[slot.start : slot.stop].reshape(slot.shape)[...] = _fitting(value, slot.shape)
        return twin

    @property
    def drawing(self) -> dict[str, Any]:
        return {"train": True, "rng": np.random.default_rng(self.seed)} if self.random else {}

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (np.asarray(self.at(inputs).loss(*inputs[: self.count], **self.drawing)),)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        network, data = self.at(inputs), inputs[: self.count]
        _, flat = network.loss_and_gradient(*data, **self.drawing)
        factor = float(upstream[0])
        flat *= factor
        dx = network.input_gradient(*data) * flat.dtype.type(factor) if 0 in self.wrt else None
        return (dx, *(None for _ in data[1:]), *self.parts(flat))

    def parts(self, flat: Array) -> list[Array]:
        return [flat[slot.start : slot.stop].reshape(slot.shape) for slot in self.slots]

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        return None if self.random or not self.slots else NetworkGradient(self, upstream[0])


class NetworkGradient(Adapted):
    """parameters -> dE/dparameters, with `hessian_product` as its derivative in both modes. x stays where it is."""

    def __init__(self, of: NetworkSubject, upstream: Array) -> None:
        self.of, self.factor = of, float(upstream)
        self.name, self.packed = f"gradient of {of.name}", True
        self.settle(of.inputs, of.names, of.arguments, [k for k in of.wrt if k >= of.count])
        self.try_out()

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        grads = self.of.backward([np.asarray(self.factor)], inputs)
        return tuple(g for k in self.wrt if (g := grads[k]) is not None)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        of, network = self.of, self.of.at(inputs)
        v = np.zeros_like(network.parameters)
        for part, k in zip(upstream, self.wrt, strict=True):
            slot = of.slots[k - of.count]
            v[slot.start : slot.stop] = part.reshape(-1)
        data = inputs[: of.count]
        product = network.hessian_product(data[0], data[1], v, *data[2:])
        product *= self.factor
        return (*(None for _ in data), *of.parts(product))

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        products = self.backward([tangents[k] for k in self.wrt], inputs)  # the Hessian is symmetric
        return tuple(p for k in self.wrt if (p := products[k]) is not None)


def with_parameters(network: Network, x: Array, seed: int) -> Network:
    """The network, or a copy of it with fresh parameters if it has none yet."""
    return network if network.is_initialised else network.copy().initialise(x, seed)


def as_dtype(network: Network, dtype: np.dtype[Any]) -> Network:
    """A copy of the network that computes in another precision."""
    twin = network.copy()
    store = twin.store
    store.flat, store.penalised = store.flat.astype(dtype), store.penalised.astype(dtype)
    store.tree = store.tree_of(store.flat)
    return twin


def title(layers: Sequence[Layer], path: Sequence[str]) -> str:
    """A parameter's name with its layer: "0 Linear(64) weight"."""
    layer = layers[int(path[0])]
    text = repr(layer)
    return f"{path[0]} {text if len(text) <= 40 else type(layer).__name__} {'.'.join(path[1:])}"


def _fitting(value: Array, shape: tuple[int, ...]) -> Array:
    if value.shape != shape:
        raise ArgumentError(f"parameters: expected shape {shape}, received {value.shape}")
    return value
