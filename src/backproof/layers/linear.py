"""The fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, Shape
from backproof.layers.base import Kept, Layer, Params, require_count

INITIALISERS: dict[str, Callable[[np.random.Generator, int, int], Array]] = {
    # standard deviation sqrt(2 / (in + out)), uniform: Glorot & Bengio, AISTATS 2010, equation 16
    "glorot": lambda rng, m, n: rng.uniform(-math.sqrt(6 / (m + n)), math.sqrt(6 / (m + n)), size=(m, n)),
    # variance 2 / in, for layers that a rectifier follows: He et al., ICCV 2015, equation 10
    "he": lambda rng, m, n: rng.normal(0.0, math.sqrt(2 / n), size=(m, n)),
    # variance 1 / in: LeCun et al., Efficient BackProp, 1998, section 4.6
    "lecun": lambda rng, m, n: rng.normal(0.0, math.sqrt(1 / n), size=(m, n)),
    "zeros": lambda rng, m, n: np.zeros((m, n)),
}


@dataclass(frozen=True, repr=False, eq=False)
class Linear(Layer):
    """y = x W^T + b over the last axis: (N, ..., inputs) -> (N, ..., outputs); `weight` is (outputs, inputs), `bias` (outputs,).

        dx = dy W        dW = dy^T x        db = sum over examples of dy

    The number of inputs is taken from the first data. `init` names the distribution of the initial weights ("glorot", "he",
    "lecun", "zeros"); biases begin at 0. Source: Bishop, Neural Networks for Pattern Recognition (1995), section 4.8.

    Raises `ArgumentError` for fewer than one output or another name of a distribution, `ShapeError` where x does not fit.

    >>> import numpy as np
    >>> layer = Linear(2)
    >>> params = layer.init(np.random.default_rng(0), (3,))
    >>> y, kept = layer.forward(params, np.ones((5, 3)))
    >>> dx, dparams = layer.backward(params, kept, np.ones((5, 2)))
    >>> y.shape, dx.shape, dparams["weight"].shape
    ((5, 2), (5, 3), (2, 3))
    """

    outputs: int
    bias: bool = True
    init_weights: str = "glorot"

    penalised: ClassVar[tuple[str, ...]] = ("weight",)

    def __post_init__(self) -> None:
        require_count("Linear", "outputs", self.outputs)
        object.__setattr__(self, "outputs", int(self.outputs))
        if not isinstance(self.bias, bool | np.bool_):
            raise ArgumentTypeError(f"Linear: expected bias to be True or False, received {self.bias!r}")
        if self.init_weights not in INITIALISERS:
            raise ArgumentError(f"Linear: expected init_weights to be one of {list(INITIALISERS)}, received {self.init_weights!r}")

    def parameter_shapes(self, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        shapes: Params = {"weight": (self.outputs, in_shape[-1])}
        return {**shapes, "bias": (self.outputs,)} if self.bias else shapes

    def init(self, rng: np.random.Generator, in_shape: Shape) -> Params:
        self.out_shape(in_shape)
        params = {"weight": INITIALISERS[self.init_weights](rng, self.outputs, in_shape[-1])}
        return {**params, "bias": np.zeros(self.outputs)} if self.bias else params

    def out_shape(self, in_shape: Shape) -> Shape:
        if not in_shape or in_shape[-1] < 1:
            raise ShapeError(f"Linear: expected examples with at least one feature, received examples of shape {in_shape}")
        return (*in_shape[:-1], self.outputs)

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        weight = params["weight"]
        if x.ndim < 2 or x.shape[-1] != weight.shape[1]:
            raise ShapeError(f"Linear: expected x of shape (N, ..., {weight.shape[1]}), received {x.shape}")
        y = x @ weight.T
        if self.bias:
            y += params["bias"]
        return y, x

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        dx = dy @ params["weight"]
        return dx, self.parameter_gradient(params, kept, dy)

    def parameter_gradient(self, params: Params, kept: Kept, dy: Array) -> Params:
        rows = dy.reshape(-1, dy.shape[-1])
        dparams = {"weight": rows.T @ kept.reshape(-1, kept.shape[-1])}
        return {**dparams, "bias": rows.sum(axis=0)} if self.bias else dparams

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        ty: Array = tx @ params["weight"].T
        if tparams is not None:
            ty = ty + kept @ tparams["weight"].T
            if self.bias:
                ty += tparams["bias"]
        return ty

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        # product rule on dx = dy W and dW = dy^T x; db = sum dy is linear in dy alone
        tdx = tdy @ params["weight"]
        if tparams is not None:
            tdx = tdx + dy @ tparams["weight"]
        tdparams = self.parameter_gradient(params, kept, tdy)
        tdparams["weight"] = tdparams["weight"] + self.parameter_gradient(params, tx, dy)["weight"]
        return tdx, tdparams

    def jacobian(self, params: Params, x: Array) -> Array:
        """W for each example: (N, outputs, inputs); for examples of more axes, W between equal leading positions."""
        if x.ndim == 2:
            return np.broadcast_to(params["weight"], (x.shape[0], *params["weight"].shape)).copy()
        positions = int(np.prod(x.shape[1:-1]))
        out, inp = params["weight"].shape
        full = np.zeros((x.shape[0], positions, out, positions, inp), dtype=params["weight"].dtype)
        for p in range(positions):
            full[:, p, :, p, :] = params["weight"]
        return full.reshape(x.shape[0], *x.shape[1:-1], out, *x.shape[1:])
