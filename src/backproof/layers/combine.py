"""Layers made of layers: one after the other, around a shortcut, side by side.

Their derivatives are the chain rule, the sum rule, and blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, BackproofError, ShapeError
from backproof.arrays import Array, Shape
from backproof.layers.base import Kept, Layer, Params


class Combined(Layer):
    """The children, and their parameters under the names "0", "1", ..."""

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ArgumentError(f"{type(self).__name__}: expected at least one layer, received none")
        for layer in layers:
            if not isinstance(layer, Layer):
                hint = f" (write {layer.__name__}(...), an instance)" if isinstance(layer, type) else ""
                raise ArgumentTypeError(f"{type(self).__name__}: expected layers, received {layer!r}{hint}")
        self.layers: tuple[Layer, ...] = tuple(layers)

    def hyperparameters(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.layers))})"

    @property
    def mixes_examples(self) -> bool:
        return any(layer.mixes_examples for layer in self.layers)

    @property
    def is_random(self) -> bool:
        return any(layer.is_random for layer in self.layers)


def child(params: Params | None, i: int) -> Params | None:
    """Parameters (or tangents) of the i-th child."""
    return None if params is None else params[str(i)]


class Chain(Combined):
    """The layers one after the other; chains within chains are laid flat.

    backward multiplies the transposed Jacobians from last to first, jvp the Jacobians from first to last.

    >>> from backproof.layers import Linear, Softmax
    >>> Chain(Chain(Linear(8), Softmax()), Linear(3))
    Chain(Linear(8), Softmax(), Linear(3))
    """

    def __init__(self, *layers: Layer) -> None:
        flat: list[Any] = []
        for layer in layers:
            flat.extend(layer.layers if isinstance(layer, Chain) else [layer])
        super().__init__(*flat)

    @property
    def produces(self) -> str:  # type: ignore[override]
        return next((layer.produces for layer in reversed(self.layers) if layer.produces != "same"), "same")

    def shapes(self, in_shape: Shape) -> Iterator[tuple[int, Layer, Shape, Shape]]:
        """(index, layer, shape of its input, shape of its output) for each layer; a misfit names the layer."""
        for i, layer in enumerate(self.layers):
            try:
                out_shape = layer.out_shape(in_shape)
            except BackproofError as error:
                raise type(error)(f"layer {i}, {layer!r}: {error}") from error
            yield i, layer, in_shape, out_shape
            in_shape = out_shape

    def init(self, rng: np.random.Generator, in_shape: Shape) -> Params:
        return {str(i): layer.init(rng, shape) for i, layer, shape, _ in self.shapes(in_shape)}

    def parameter_shapes(self, in_shape: Shape) -> Params:
        return {str(i): layer.parameter_shapes(shape) for i, layer, shape, _ in self.shapes(in_shape)}

    def out_shape(self, in_shape: Shape) -> Shape:
        return [out_shape for *_, out_shape in self.shapes(in_shape)][-1]

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        kept = []
        for i, layer in enumerate(self.layers):
            x, keep = layer.forward(params[str(i)], x, train=train, rng=rng)
            kept.append(keep)
        return x, tuple(kept)

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        dparams: Params = {}
        for i in reversed(range(len(self.layers))):
            dy, dparams[str(i)] = self.layers[i].backward(params[str(i)], kept[i], dy)
        return dy, dparams

    def parameter_gradient(self, params: Params, kept: Kept, dy: Array) -> Params:
        # back to the first layer that has parameters, and no further
        first = next((i for i in range(len(self.layers)) if params[str(i)]), len(self.layers))
        dparams: Params = {str(i): {} for i in range(first)}
        for i in reversed(range(first + 1, len(self.layers))):
            dy, dparams[str(i)] = self.layers[i].backward(params[str(i)], kept[i], dy)
        if first < len(self.layers):
            dparams[str(first)] = self.layers[first].parameter_gradient(params[str(first)], kept[first], dy)
        return dparams

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return self._tangents(params, kept, tx, tparams)[-1]

    def _tangents(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> list[Array]:
        """The tangent before each layer, and after the last."""
        tangents = [tx]
        for i, layer in enumerate(self.layers):
            tangents.append(layer.jvp(params[str(i)], kept[i], tangents[-1], child(tparams, i)))
        return tangents

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        tangents, tdparams = self._tangents(params, kept, tx, tparams), {}
        for i in reversed(range(len(self.layers))):
            layer, own = self.layers[i], params[str(i)]
            tdy, tdparams[str(i)] = layer.backward_jvp(own, kept[i], dy, tangents[i], child(tparams, i), tdy)
            dy, _ = layer.backward(own, kept[i], dy)
        return tdy, tdparams


class Residual(Combined):
    """y = x + F(x), F the given layers one after the other; dx = dy + J_F^T dy (He et al., CVPR 2016).

    >>> from backproof.layers import Linear, Tanh
    >>> Residual(Linear(4), Tanh()).out_shape((4,))
    (4,)
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        self.inner = Chain(*self.layers)
        self.layers = self.inner.layers

    def init(self, rng: np.random.Generator, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        return self.inner.init(rng, in_shape)

    def parameter_shapes(self, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        return self.inner.parameter_shapes(in_shape)

    def out_shape(self, in_shape: Shape) -> Shape:
        out_shape = self.inner.out_shape(in_shape)
        if out_shape != in_shape:
            raise ShapeError(f"Residual: expected layers that keep the shape {in_shape}, received an output of shape {out_shape}")
        return out_shape

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        y, kept = self.inner.forward(params, x, train=train, rng=rng)
        return x + y, kept

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        dx, dparams = self.inner.backward(params, kept, dy)
        return dy + dx, dparams

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return tx + self.inner.jvp(params, kept, tx, tparams)

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        tdx, tdparams = self.inner.backward_jvp(params, kept, dy, tx, tparams, tdy)
        return tdy + tdx, tdparams


class Concatenate(Combined):
    """y = [F_1(x), F_2(x), ...] along the last axis; dx = sum of J_i^T dy_i: x reaches the output along every branch.

    Each branch is one layer; use `Chain` for several.

    >>> from backproof.layers import Identity, Linear
    >>> Concatenate(Linear(3), Identity()).out_shape((4,))
    (7,)
    """

    produces: ClassVar[str] = "activations"

    def out_shape(self, in_shape: Shape) -> Shape:
        shapes = [layer.out_shape(in_shape) for layer in self.layers]
        if not shapes[0] or len({shape[:-1] for shape in shapes}) != 1:
            raise ShapeError(f"Concatenate: expected outputs that differ in the last axis alone, received shapes {shapes}")
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def init(self, rng: np.random.Generator, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        return {str(i): layer.init(rng, in_shape) for i, layer in enumerate(self.layers)}

    def parameter_shapes(self, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        return {str(i): layer.parameter_shapes(in_shape) for i, layer in enumerate(self.layers)}

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        pairs = [layer.forward(params[str(i)], x, train=train, rng=rng) for i, layer in enumerate(self.layers)]
        outputs = [y for y, _ in pairs]
        return np.concatenate(outputs, axis=-1), (tuple(y.shape[-1] for y in outputs), tuple(kept for _, kept in pairs))

    def _split(self, kept: Kept, dy: Array) -> Sequence[Array]:
        return np.split(dy, np.cumsum(kept[0])[:-1], axis=-1)

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        parts = [
            layer.backward(params[str(i)], kept[1][i], part)
            for i, (layer, part) in enumerate(zip(self.layers, self._split(kept, dy), strict=True))
        ]
        return _total([dx for dx, _ in parts]), {str(i): dparams for i, (_, dparams) in enumerate(parts)}

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        return np.concatenate(
            [layer.jvp(params[str(i)], kept[1][i], tx, child(tparams, i)) for i, layer in enumerate(self.layers)], axis=-1
        )

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        parts = [
            layer.backward_jvp(params[str(i)], kept[1][i], part, tx, child(tparams, i), tpart)
            for i, (layer, part, tpart) in enumerate(zip(self.layers, self._split(kept, dy), self._split(kept, tdy), strict=True))
        ]
        return _total([tdx for tdx, _ in parts]), {str(i): tdparams for i, (_, tdparams) in enumerate(parts)}


def _total(terms: Sequence[Array]) -> Array:
    total = terms[0].copy()
    for term in terms[1:]:
        total += term
    return total
