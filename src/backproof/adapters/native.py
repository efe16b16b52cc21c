"""Our own layers and losses as Subjects, and which Subject belongs to what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.adapters.common import Adapted, Names, as_input, flatten, nest, skeleton
from backproof.adapters.networks import NetworkSubject, title, with_parameters
from backproof.adapters.objects import constructed
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject
from backproof.layers.base import Layer, Params
from backproof.losses.base import Loss
from backproof.network import Network

SEED = 0  # of parameters that are drawn here, and of the generator that every call of a random layer receives


def is_native(target: Any) -> bool:
    """A Layer, Loss or Network, or a class of these."""
    return isinstance(target, Layer | Loss | Network) or (isinstance(target, type) and issubclass(target, Layer | Loss | Network))


def native(target: Any, inputs: Sequence[Any], parameters: Any) -> Adapted:
    """The Subject of a Layer, Loss or Network; a network called on x alone is checked as the chain of its layers."""
    target = constructed(target)
    if isinstance(target, Loss):
        if parameters is not None:
            raise ArgumentTypeError(f"parameters: expected none for a loss, received {type(parameters).__name__}")
        return LossSubject(target, inputs)
    if isinstance(target, Layer):
        return LayerSubject(target, inputs, parameters)
    if parameters is not None:
        raise ArgumentTypeError("parameters: expected none for a network, which has its own; set network.parameters")
    if len(inputs) == 1:
        network = with_parameters(target, as_input(inputs[0], "x"), SEED)
        x = np.asarray(inputs[0])
        x = x if network.standardises or not is_float(x) else x.astype(network.dtype)
        subject = LayerSubject(network.chain, [x], network.parameter_tree)
        subject.name = "network (outputs)"
        subject.names = ("x", *(title(network.layers, path) for path in subject.paths))
        return subject
    return NetworkSubject(target, inputs, SEED)


class LayerSubject(Adapted):
    """A layer of x, then its parameters: drawn for x, or given. A layer that draws random numbers draws the same in every call."""

    def __init__(self, layer: Layer, inputs: Sequence[Any], parameters: Mapping[str, Any] | None) -> None:
        if len(inputs) != 1:
            raise ArgumentError(f"inputs: expected one array x for {layer!r}, received {len(inputs)}")
        self.layer, self.name = layer, repr(layer)
        x = as_input(inputs[0], "x")
        if x.ndim < 1:
            raise ArgumentError(f"x: expected shape (N, *features), received {x.shape}")
        tree = layer.init(np.random.default_rng(SEED), x.shape[1:])
        drawn, self.empty = flatten(tree), skeleton(tree)
        self.paths: list[Names] = [path for path, _ in drawn]
        if parameters is None:
            values = [np.asarray(v, dtype=x.dtype if is_float(x) else None) for _, v in drawn]
        else:
            values = _given(layer, drawn, parameters)
        self.settle((x, *values), ("x", *(".".join(path) for path in self.paths)), 1)
        self.try_out()

    def _pass(self, inputs: Sequence[Array]) -> tuple[Params, Array, Any]:
        params = nest(self.empty, self.paths, inputs[1:])
        rng = np.random.default_rng(SEED) if self.layer.is_random else None
        y, kept = self.layer.forward(params, inputs[0], train=self.layer.is_random, rng=rng)
        return params, y, kept

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (self._pass(inputs)[1],)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        return self._gradients(*self._pass(inputs), upstream[0])

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        passed = self._pass(inputs)
        self._pass(other)
        return self._gradients(*passed, upstream[0])

    def _gradients(self, params: Params, y: Array, kept: Any, dy: Array) -> Gradients:
        dx, dparams = self.layer.backward(params, kept, dy)
        found = dict(flatten(dparams))
        return (dx, *(found.get(path) for path in self.paths))

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        params, _, kept = self._pass(inputs)
        try:
            return (self.layer.jvp(params, kept, tangents[0], self._tangents(tangents)),)
        except NotImplementedError:  # a layer, or one of a chain, that nobody wrote it for
            return None

    def _tangents(self, tangents: Sequence[Array]) -> Params | None:
        return nest(self.empty, self.paths, tangents[1:]) if self.paths else None

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        """The gradients as functions of x and the parameters, with `backward_jvp` as their forward-mode derivative, if any."""
        gradient = LayerGradient(self, upstream[0])
        try:
            gradient.jvp([np.zeros_like(x) for x in self.inputs], self.inputs)
        except NotImplementedError:
            return None
        return gradient


class LayerGradient(Adapted):
    """(x, parameters) -> backward(dy): what `Layer.backward_jvp` is the derivative of. There is no reverse mode of it."""

    has_backward = False

    def __init__(self, of: LayerSubject, upstream: Array) -> None:
        self.of, self.upstream = of, np.array(upstream)
        self.name, self.packed = f"gradient of {of.name}", True
        self.settle(of.inputs, of.names, of.arguments, of.wrt)
        self.try_out()

    def _upstream(self, y: Array) -> Array:
        return self.upstream.astype(y.dtype, copy=False)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        params, y, kept = self.of._pass(inputs)
        grads = self.of._gradients(params, y, kept, self._upstream(y))
        return tuple(np.zeros_like(inputs[k]) if (g := grads[k]) is None else g for k in self.wrt)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        raise NotImplementedError(f"{self.name} has a forward-mode derivative only")

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        params, y, kept = self.of._pass(inputs)
        dy = self._upstream(y)
        # along `tangents` y changes too, but dy is held fixed
        tdx, tdparams = self.of.layer.backward_jvp(params, kept, dy, tangents[0], self.of._tangents(tangents), np.zeros_like(dy))
        found = dict(flatten(tdparams))
        parts = (tdx, *(found.get(path) for path in self.of.paths))
        return tuple(np.zeros_like(inputs[k]) if (t := parts[k]) is None else t for k in self.wrt)


class LossSubject(Adapted):
    """A loss of (z, t) or (z, t, sample_weight): a scalar, with its gradient for z."""

    def __init__(self, loss: Loss, inputs: Sequence[Any]) -> None:
        if len(inputs) not in (2, 3):
            raise ArgumentError(f"inputs: expected z and t (and sample_weight) for {loss!r}, received {len(inputs)}")
        self.loss, self.name = loss, repr(loss)
        names = ("z", "t", "sample_weight")[: len(inputs)]
        arrays = [as_input(x, n) for x, n in zip(inputs, names, strict=True)]
        self.settle(arrays, names, len(arrays), (0,) if is_float(arrays[0]) else ())
        self.try_out()

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (np.asarray(self.loss.value_and_gradient(*inputs)[0]),)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        dz = self.loss.value_and_gradient(*inputs)[1]
        return (dz * upstream[0].astype(dz.dtype), *(None for _ in inputs[1:]))

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        return LossGradient(self, upstream[0])


class LossGradient(Adapted):
    """z -> dE/dz, with the loss's Hessian product as its derivative in both modes."""

    def __init__(self, of: LossSubject, upstream: Array) -> None:
        self.of, self.factor = of, float(upstream)
        self.name, self.packed = f"gradient of {of.name}", True
        self.settle(of.inputs, of.names, of.arguments, of.wrt)
        self.try_out()

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return (self.of.loss.value_and_gradient(*inputs)[1] * self.factor,)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        product = self.of.loss.hessian_product(inputs[0], inputs[1], upstream[0], *inputs[2:])
        return (product * self.factor, *(None for _ in inputs[1:]))

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        return (self.backward(tangents[:1], inputs)[0],)  # type: ignore[return-value]  # the Hessian is symmetric


def _given(layer: Layer, drawn: list[tuple[Names, Any]], parameters: Any) -> list[Array]:
    """The user's parameters, in the order and of the shapes that the layer draws them."""
    if not isinstance(parameters, Mapping):
        raise ArgumentTypeError(f"parameters: expected a dictionary of arrays for {layer!r}, received {type(parameters).__name__}")
    found = dict(flatten(parameters))
    wanted, had = [".".join(p) for p, _ in drawn], [".".join(map(str, p)) for p in found]
    if sorted(wanted) != sorted(had):
        raise ArgumentError(f"parameters: expected {wanted} for {layer!r}, received {had}")
    values = [as_input(found[path], ".".join(path)) for path, _ in drawn]
    for (path, like), value in zip(drawn, values, strict=True):
        if value.shape != np.shape(like):
            raise ArgumentError(f"parameters: expected {'.'.join(path)} of shape {np.shape(like)}, received {value.shape}")
    return values
