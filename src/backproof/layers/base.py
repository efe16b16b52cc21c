"""What a layer is: a pure function of (parameters, input) with its exact derivatives, and nothing stored in between.

Shapes: an input is (N, *features), N examples. Notation, here and in every layer:
    x, y       input and output                       kept      what `forward` hands to the derivatives: arrays, or nested tuples
    dy, dx     upstream gradient and input gradient   dparams   gradient of each parameter, summed over the examples
    tx, ty     tangents: directions of change of x and y            tparams   tangent of each parameter (None: not perturbed)
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeAlias

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array, Shape

Params: TypeAlias = dict[str, Any]
"""Parameters by name: arrays, or such dictionaries again for a layer made of layers."""
Kept: TypeAlias = Any


class Layer:
    """A differentiable map with its hand-derived derivatives.

    A subclass is a frozen dataclass of hyperparameters. Nothing is stored in it and nothing passed in is written to, so that a
    layer maps one to one to a torch `autograd.Function` or a JAX `custom_vjp`.

    `forward` returns `(y, kept)`; `kept` is what the derivatives need and no more. With J the Jacobian of y with respect to the
    input and the parameters, `backward` is the product J^T dy, `jvp` the product J t, and `backward_jvp` the directional
    derivative of `backward` itself, from which exact Hessian products are made (Pearlmutter, Neural Computation 6, 1994).

    >>> import dataclasses
    >>> import numpy as np
    >>> @dataclasses.dataclass(frozen=True, repr=False)
    ... class Square(Layer):
    ...     def forward(self, params, x, *, train=False, rng=None):
    ...         return x * x, x
    ...     def backward(self, params, kept, dy):
    ...         return 2 * kept * dy, {}
    ...     def jvp(self, params, kept, tx, tparams):
    ...         return 2 * kept * tx
    >>> from backproof import check
    >>> check(Square(), np.ones((2, 3))).ok
    True
    """

    link: ClassVar[str | None] = None
    """The loss family this layer is the canonical output of: "softmax", "sigmoid", "identity"."""
    produces: ClassVar[str] = "activations"
    """What the outputs are: "activations", "probabilities", "log-probabilities", or "same" as the input."""
    penalised: ClassVar[tuple[str, ...]] = ()
    """Names of the parameters that an L2 penalty concerns: weights, not biases."""

    def init(self, rng: np.random.Generator, in_shape: Shape) -> Params:
        """Fresh parameters for examples of shape `in_shape` (without the batch axis), in float64."""
        return {}

    def parameter_shapes(self, in_shape: Shape) -> Params:
        """Shapes of the parameters that `init` makes, by the same names. Raises `ShapeError` as `out_shape`.

        Linear layers say them without making any, so that a description can be judged before memory is asked for.
        """
        return _shapes(self.init(np.random.default_rng(0), in_shape))

    def out_shape(self, in_shape: Shape) -> Shape:
        """Shape of one example's output. Raises `ShapeError` where the layer cannot take `in_shape`."""
        return in_shape

    def forward(
        self, params: Params, x: Array, *, train: bool = False, rng: np.random.Generator | None = None
    ) -> tuple[Array, Kept]:
        """(y, kept) for x (N, *features); `train` switches what differs in training on, and `rng` is what it draws from."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, params: Params, kept: Kept, dy: Array) -> tuple[Array, Params]:
        """(dx, dparams): J^T dy for the upstream gradient dy, of y's shape; dx has x's, each of dparams its parameter's."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def parameter_gradient(self, params: Params, kept: Kept, dy: Array) -> Params:
        """dparams alone: what `backward` gives, for the first layer of a network, whose input gradient nobody asks for."""
        return self.backward(params, kept, dy)[1]

    def jvp(self, params: Params, kept: Kept, tx: Array, tparams: Params | None) -> Array:
        """J t: how y moves when x moves along tx and the parameters along tparams (None: not at all)."""
        raise NotImplementedError(f"{type(self).__name__} has no jvp")

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        """Change of `(dx, dparams)` when x, the parameters and dy change along `tx`, `tparams` and `tdy`."""
        raise NotImplementedError(f"{type(self).__name__} has no backward_jvp")

    @property
    def mixes_examples(self) -> bool:
        """Whether one example's output depends on the other examples of the batch."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether `forward(..., train=True)` draws from its generator."""
        return False

    def jacobian(self, params: Params, x: Array) -> Array:
        """dy/dx of each example: shape (N, *outputs, *inputs). By default one backward pass for each output (Bishop 1995, 4.9)."""
        self._require_separate_examples()
        y, kept = self.forward(params, x)
        n, outputs = x.shape[0], int(np.prod(y.shape[1:]))
        rows = np.empty((n, outputs, *x.shape[1:]), dtype=np.result_type(y, x))
        for k in range(outputs):
            unit = np.zeros((n, outputs), dtype=y.dtype)
            unit[:, k] = 1
            rows[:, k] = self.backward(params, kept, unit.reshape(y.shape))[0]
        return rows.reshape(n, *y.shape[1:], *x.shape[1:])

    def _require_separate_examples(self) -> None:
        if self.mixes_examples:
            raise ArgumentError(
                f"jacobian: expected a layer that treats the examples apart, received {self!r}, which couples them along axis 0"
            )

    def hyperparameters(self) -> dict[str, Any]:
        """The constructor's arguments, for the repr, for saving and for tables."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        shown = []
        for name, value in self.hyperparameters().items():
            if isinstance(value, np.ndarray):
                shown.append(f"{name}=<{value.dtype}{list(value.shape)}>")
            elif defaults[name] is dataclasses.MISSING and not shown:
                shown.append(repr(value))
            elif value != defaults[name]:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class FixedMap(Layer):
    """A layer which is linear (or affine) in x and has nothing to learn: its backward depends on dy alone, and linearly."""

    def backward_jvp(
        self, params: Params, kept: Kept, dy: Array, tx: Array, tparams: Params | None, tdy: Array
    ) -> tuple[Array, Params]:
        return self.backward(params, kept, tdy)


def _shapes(params: Params) -> Params:
    return {name: _shapes(value) if isinstance(value, dict) else value.shape for name, value in params.items()}


def diagonal_jacobian(slopes: Array) -> Array:
    """(N, *f) of elementwise derivatives as full Jacobians (N, *f, *f), zero off the diagonal."""
    n, size = slopes.shape[0], int(np.prod(slopes.shape[1:]))
    full = np.zeros((n, size, size), dtype=slopes.dtype)
    full[:, np.arange(size), np.arange(size)] = slopes.reshape(n, size)
    return full.reshape(n, *slopes.shape[1:], *slopes.shape[1:])


def require_number(owner: str, name: str, value: object, *, low: float, high: float = np.inf, open_low: bool = False) -> None:
    """Raise `ArgumentError` unless `value` is a number in [low, high) (or (low, high))."""
    ok = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not ok or not (value > low if open_low else value >= low) or not value < high:  # type: ignore[operator]
        bound = f"{'above' if open_low else 'at least'} {low}" + (f" and below {high}" if high != np.inf else "")
        raise ArgumentError(f"{owner}: expected {name} to be a number {bound}, received {value!r}")


def require_count(owner: str, name: str, value: object) -> None:
    """Raise `ArgumentError` unless `value` is a positive whole number."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(f"{owner}: expected {name} to be a positive whole number, received {value!r}")
