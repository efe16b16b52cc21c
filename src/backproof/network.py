"""A network: layers and a loss over one flat parameter vector, with backpropagation and its second-order products."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from backproof._errors import ArgumentError, ArgumentTypeError, DoubleSoftmaxWarning, NotInitialisedError, ShapeError
from backproof.arrays import Array, Shape, as_floats, float_dtype
from backproof.canonical import double_softmax, is_canonical, require_possible_targets, without_link
from backproof.curvature import second_order_product
from backproof.layers.activations import Identity
from backproof.layers.base import Layer, Params, require_number
from backproof.layers.combine import Chain
from backproof.layers.fixed import Standardize
from backproof.layers.softmax import Softmax
from backproof.losses.base import Loss
from backproof.objective import loss_and_gradient_of, loss_of
from backproof.parameters import Layout, ParameterVector
from backproof.summary import Shown


class Network(Shown):
    """Layers, one after the other, and a loss.

    The objective is  E(theta) = loss(layers(x; theta), t) + l2/2 sum of squared weights,  theta the flat vector `parameters`;
    value, gradient and both second-order products are of this same E. Biases are not penalised.

    If the last layer is the canonical output of the loss (softmax for cross-entropy and KL, sigmoid for binary cross-entropy,
    identity for squared error), the two are fused: the loss takes the logits, and the gradient there is `y - t`. Any other pair
    goes through the Jacobian product of the last layer. Probabilities that would be normalised a second time are announced by a
    `DoubleSoftmaxWarning`.

    layers : layers, or one layer. loss : a `Loss`; needed to train. l2 : weight of the penalty, per unit of the reduced loss.
    dtype : "float32" or "float64" of the parameters; by default that of the data at initialisation.
    metadata : what else belongs to the model and is saved with it (names of classes and features): JSON values.
    Raises `ArgumentTypeError` for what is no layer or loss, `ArgumentError` for a negative l2, `ShapeError` where they do not
    fit together.

    >>> import numpy as np
    >>> from backproof import CrossEntropy, Linear, Sigmoid, Softmax
    >>> network = Network([Linear(4), Sigmoid(), Linear(3), Softmax()], CrossEntropy())
    >>> x, t = np.random.default_rng(0).normal(size=(6, 2)), np.array([0, 1, 2, 0, 1, 2])
    >>> loss, gradient = network.initialise(x, seed=0).loss_and_gradient(x, t)
    >>> network.predict(x).shape, gradient.shape
    ((6, 3), (27,))
    """

    def __init__(
        self,
        layers: Layer | Iterable[Layer],
        loss: Loss | None = None,
        *,
        l2: float = 0.0,
        dtype: npt.DTypeLike | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(layers, Layer | Iterable):
            raise ArgumentTypeError(f"Network: expected layers, received {layers!r}")
        self.chain = Chain(layers) if isinstance(layers, Layer) else Chain(*layers)
        if loss is not None and not isinstance(loss, Loss):
            hint = f" (write {loss.__name__}(), an instance)" if isinstance(loss, type) else ""
            raise ArgumentTypeError(f"Network: expected loss to be a Loss, received {loss!r}{hint}")
        require_number("Network", "l2", l2, low=0.0)
        self.loss_function = loss
        self.l2 = float(l2)
        self.metadata: dict[str, Any] = dict(metadata or {})
        self._given_dtype = self._dtype = None if dtype is None else float_dtype(dtype)
        self._store: ParameterVector | None = None
        self._settle(None)
        if not (isinstance(self.layers[-1], Softmax) and self.layers[-1].axis > 0):  # the last axis? the data will say
            self._warn()

    # --- structure ---------------------------------------------------------------------------------------------------------
    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, from the input on."""
        return self.chain.layers

    def _settle(self, axes: int | None) -> None:
        """Decide what is fused, and which layers compute: standardising, if it comes first, is done on the way in."""
        loss, last = self.loss_function, self.layers[-1]
        self.fused = loss is not None and is_canonical(last, loss, axes)
        if loss is not None:
            require_possible_targets(last, loss)
        self._first = self.layers[0] if isinstance(self.layers[0], Standardize) else None
        self.standardises = self._first is not None
        self._body = self.chain if self._first is None else Chain(Identity(), *self.layers[1:])
        #: the layers up to what the loss receives
        self.trunk = without_link(self._body) if self.fused else self._body

    def _warn(self) -> None:
        for message in double_softmax(self.chain, self.loss_function, self.fused):
            warnings.warn(message, DoubleSoftmaxWarning, stacklevel=3)

    # --- parameters --------------------------------------------------------------------------------------------------------
    def initialise(self, x: object, seed: int | np.random.Generator | None = None) -> Network:
        """Make fresh parameters for data like `x` (N, *features), drawn from `seed` (a number or a generator); returns self."""
        data = as_floats(x, "x")
        if data.ndim < 2:
            raise ShapeError(f"x: expected shape (N, features) or more axes, received {data.shape}")
        inferred = np.dtype(np.float32 if data.dtype in (np.float16, np.float32) else np.float64)
        self._dtype = self._given_dtype or inferred
        return self.initialise_shape(data.shape[1:], seed)

    def initialise_shape(self, in_shape: Shape, seed: int | np.random.Generator | None = None) -> Network:
        """As `initialise`, from the shape of one example."""
        self._dtype = self._dtype or np.dtype(np.float64)
        self._store = ParameterVector(self.chain, tuple(in_shape), np.random.default_rng(seed), self._dtype)
        if isinstance(self.layers[-1], Softmax) and self.layers[-1].axis > 0:
            self._settle(1 + len(self.chain.out_shape(self.in_shape)))
            self._warn()
        return self

    @property
    def store(self) -> ParameterVector:
        """The flat vector with its views and their layout."""
        if self._store is None:
            raise NotInitialisedError("the network has no parameters yet: call network.initialise(x, seed) or train it first")
        return self._store

    @property
    def is_initialised(self) -> bool:
        """Whether there are parameters yet."""
        return self._store is not None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the parameters, and of what is computed with them."""
        return self.store.flat.dtype

    @property
    def in_shape(self) -> Shape:
        """Shape of one example."""
        return self.store.in_shape

    @property
    def layout(self) -> Layout:
        """Which part of the flat vector is which parameter."""
        return self.store.layout

    @property
    def parameters(self) -> Array:
        """The flat parameter vector itself, not a copy: what is written into it, the layers use."""
        return self.store.flat

    @parameters.setter
    def parameters(self, value: npt.ArrayLike) -> None:
        self.store.flat[:] = self.store.checked(value, "parameters")

    @property
    def parameter_tree(self) -> Params:
        """The parameters as the layers take them: dictionaries of views of the flat vector."""
        return self.store.tree

    def named_parameters(self) -> dict[str, Array]:
        """Views of the flat vector by name ("0.weight"); the number counts the layers."""
        return self.store.named()

    def _tree_of(self, parameters: npt.ArrayLike | None) -> tuple[Array, Params]:
        """(flat vector, its views) for the network's own parameters or for a vector given instead of them."""
        if parameters is None:
            return self.store.flat, self.store.tree
        vector = self.store.checked(parameters, "parameters")
        return vector, self.store.tree_of(vector)

    def prepared(self, x: object, dtype: npt.DTypeLike | None = None) -> Array:
        """x as the layers compute with it: checked, standardised if that comes first, in the parameters' precision.

        Standardising is done in double precision, before rounding: a large common offset of a feature costs no digits.
        """
        data = as_floats(x, "x")
        if np.iscomplexobj(data):
            raise ArgumentTypeError(f"x: expected real numbers, received dtype {data.dtype}")
        if data.shape[1:] != self.in_shape or data.ndim != len(self.in_shape) + 1:
            raise ShapeError(f"x: expected shape (N, {', '.join(map(str, self.in_shape))}), received {data.shape}")
        if self._first is not None:
            data, _ = self._first.forward({}, data.astype(np.float64, copy=False))
        wanted = dtype or self.dtype
        if data.dtype == wanted:
            return data
        with np.errstate(over="ignore"):
            return data.astype(wanted)

    def behind_standardising(self) -> Network:
        """The same network, with the same parameters, that takes what `prepared` returns."""
        twin = copy.copy(self)
        twin.chain, twin._first, twin.standardises = self._body, None, False
        return twin

    def _to_inputs(self, gradients: Array) -> Array:
        """Derivatives with respect to what `prepared` returns (on the last axes) as derivatives with respect to x."""
        return gradients if self._first is None else self._first.backward({}, None, gradients)[0]

    # --- values ------------------------------------------------------------------------------------------------------------
    def predict(self, x: object, *, parameters: npt.ArrayLike | None = None) -> Array:
        """The outputs of the last layer for x (N, *features), as they are written: probabilities if it is a softmax."""
        theta, tree = self._tree_of(parameters)
        return self._body.forward(tree, self.prepared(x, theta.dtype))[0]

    def logits(self, x: object, *, parameters: npt.ArrayLike | None = None) -> Array:
        """What the loss receives: the input of the last layer if that is fused with the loss, else the outputs."""
        theta, tree = self._tree_of(parameters)
        return self.trunk.forward(tree, self.prepared(x, theta.dtype))[0]

    def loss(
        self,
        x: object,
        t: object,
        sample_weight: object = None,
        *,
        parameters: npt.ArrayLike | None = None,
        train: bool = False,
        rng: np.random.Generator | None = None,
    ) -> float:
        """E for inputs x and targets t; `parameters` instead of the network's own; `train` lets dropout draw from `rng`."""
        theta, tree = self._tree_of(parameters)
        data = self.prepared(x, theta.dtype)
        return loss_of(self.trunk, self.objective, tree, data, t, sample_weight, train, rng) + self._penalty(theta)

    @property
    def objective(self) -> Loss:
        """The loss, or an error where there is none."""
        if self.loss_function is None:
            raise ArgumentError("loss: expected a network with a loss, received one without; give Network(layers, loss) one")
        return self.loss_function

    def _penalty(self, theta: Array) -> float:
        if not self.l2:
            return 0.0
        weights = theta[self.store.penalised != 0].astype(np.float64)
        return self.l2 / 2 * float(weights @ weights)

    # --- first derivatives -------------------------------------------------------------------------------------------------
    def loss_and_gradient(
        self,
        x: object,
        t: object,
        sample_weight: object = None,
        *,
        parameters: npt.ArrayLike | None = None,
        train: bool = False,
        rng: np.random.Generator | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """(E, dE/dtheta), the gradient in the order of `parameters`, by backpropagation (Rumelhart, Hinton & Williams 1986).

        `train=True` lets random layers (dropout) draw from `rng`. `out` receives the gradient, if given.
        """
        theta, tree = self._tree_of(parameters)
        if out is not None and (out.shape != theta.shape or out.dtype != theta.dtype):
            raise ShapeError(f"out: expected shape {theta.shape} and dtype {theta.dtype}, received {out.shape} and {out.dtype}")
        data, gradient = self.prepared(x, theta.dtype), np.empty_like(theta) if out is None else out
        value = loss_and_gradient_of(self.trunk, self.objective, self.store, tree, data, t, sample_weight, train, rng, gradient)
        if self.l2:
            gradient += theta.dtype.type(self.l2) * (self.store.penalised * theta)
        return value + self._penalty(theta), gradient

    def jacobian(self, x: object) -> Array:
        """d output / d input of each example, (N, *outputs, *features): how sensitive each output is to each feature."""
        theta, tree = self._tree_of(None)
        return self._to_inputs(self._body.jacobian(tree, self.prepared(x, theta.dtype)))

    def input_gradient(self, x: object, t: object, sample_weight: object = None) -> Array:
        """dE/dx, shape of x."""
        theta, tree = self._tree_of(None)
        z, kept = self.trunk.forward(tree, self.prepared(x, theta.dtype))
        dx, _ = self.trunk.backward(tree, kept, self.objective.reduced(z, t, sample_weight)[1])
        return self._to_inputs(dx)

    # --- second derivatives ------------------------------------------------------------------------------------------------
    def hessian_product(self, x: object, t: object, v: npt.ArrayLike, sample_weight: object = None) -> Array:
        """H v with H = d^2E/dtheta^2, exactly: the directional derivative of backpropagation along v, pass by pass.

        Source: Pearlmutter, Fast exact multiplication by the Hessian, Neural Computation 6 (1994), the R-operator.
        """
        return second_order_product(self, x, t, v, sample_weight, exact=True)

    def gauss_newton_product(self, x: object, t: object, v: npt.ArrayLike, sample_weight: object = None) -> Array:
        """G v with G = J^T H_L J (+ the penalty), J = d logits / d theta and H_L the loss's Hessian: never negative definite.

        For softmax + cross-entropy H_L is the softmax Jacobian itself (Schraudolph, Neural Computation 14, 2002).
        """
        return second_order_product(self, x, t, v, sample_weight, exact=False)

    def copy(self) -> Network:
        """A network of the same layers and loss with its own parameters."""
        twin = copy.copy(self)
        twin.metadata = dict(self.metadata)
        twin._store = None if self._store is None else self._store.copy()
        return twin
