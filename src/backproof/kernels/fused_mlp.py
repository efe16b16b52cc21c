"""The compiled training step of multi-layer perceptrons, as the rest of the library calls it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from backproof._errors import ArgumentError, ArgumentTypeError, LabelError, ShapeError
from backproof.arrays import Array
from backproof.kernels import mlp_step as plan
from backproof.kernels import panel_losses, pointwise, team, tickets
from backproof.kernels.compiled import entry
from backproof.kernels.mlp_layout import Perceptron, Workspace

INT64, FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)
LABELS = panel_losses.LABELS
Adam = tuple[float, float, float, float]
"""b1, b2, eps and decoupled decay."""
NO_ADAM: Adam = (0.0, 0.0, 0.0, 0.0)
WORTH_A_THREAD = 1e7  # operations below which another thread may take longer to pass numbers on than to be of use


def _signature(kind: Any) -> Any:
    def vector(dtype: Any, readonly: bool = False, ndim: int = 1) -> Any:
        return types.Array(dtype, ndim, "C", readonly=readonly)

    i, d = types.int64, types.float64
    return d(i, i, i, vector(kind, True, 2), vector(i, True), i, i, d, i)


class FusedMLP:
    """Forward, loss, backward and Adam of linear layers with activations between them, each step in one compiled call.

    `sizes` are the widths from input to scores; `activations` one name for each hidden layer (`pointwise.CODES`; "leaky_relu" may
    be ("leaky_relu", slope)), `dropout` one rate; `loss` one of "softmax_cross_entropy", "sigmoid_binary_cross_entropy",
    "half_squared_error"; `label_smoothing` and `class_weight` are for the first of them; `l2` penalises the weights.
    Parameters are one vector: for each layer the weight (outputs, inputs) by rows, then the bias. Losses are sums over the rows of
    row_weights[n] times the row's loss, with 1 / rows where there are no row_weights: the mean; and the penalty.

    The same input gives the same bits, for any number of threads. A loss that is not finite leaves everything as it was, but `rng`.

    >>> import numpy as np
    >>> net = FusedMLP((2, 3, 2), ("tanh",), "softmax_cross_entropy", np.float64)
    >>> gradient = np.empty(net.size)
    >>> round(net.loss_and_gradient(np.zeros(net.size), np.ones((4, 2)), np.array([0, 1, 1, 1]), out=gradient), 4)
    0.6931
    >>> gradient[-2:].tolist()
    [0.25, -0.25]
    """

    GRADIENT_ONLY, UPDATE, UPDATE_AND_KEEP = plan.GRADIENT_ONLY, plan.UPDATE, plan.UPDATE_AND_KEEP

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[str | tuple[str, float]],
        loss: str,
        dtype: npt.DTypeLike,
        *,
        biases: Sequence[bool] | None = None,
        dropout: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | None = None,
        l2: float = 0.0,
        threads: int | None = None,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        self.dtype = np.dtype(dtype)
        layers, classes = len(self.sizes) - 1, self.sizes[-1]
        named = [(a, 0.01) if isinstance(a, str) else a for a in activations]
        biases = (True,) * layers if biases is None else tuple(biases)
        rates = (0.0,) * len(named) if dropout is None else tuple(map(float, dropout))
        if layers < 1 or min(self.sizes) < 1 or {len(named), len(rates), len(biases) - 1} != {layers - 1}:
            raise ArgumentError(f"sizes: expected n + 2 positive widths for n activations, received {self.sizes} for {len(named)}")
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ArgumentTypeError(f"dtype: expected float32 or float64, received {self.dtype}")
        for name, leak in named:
            if name not in pointwise.CODES or not leak >= 0:
                raise ArgumentError(f"activations: expected names of {list(pointwise.CODES)}, slopes >= 0, received {(name, leak)}")
        if not all(0 <= rate < 1 for rate in rates):
            raise ArgumentError(f"dropout: expected rates from 0 to below 1, received {rates}")
        if loss not in panel_losses.CODES:
            raise ArgumentError(f"loss: expected one of {list(panel_losses.CODES)}, received {loss!r}")
        factors = np.ones(classes) if class_weight is None else np.asarray(class_weight, dtype=np.float64)
        if factors.shape != (classes,):
            raise ShapeError(f"class_weight: expected {classes} entries, one a class, received {factors.shape}")
        self._net = Perceptron(
            self.sizes, biases, (*(pointwise.CODES[name] for name, _ in named), pointwise.IDENTITY),
            (*(float(leak) for _, leak in named), 0.0), (*rates, 0.0), panel_losses.CODES[loss],
            tuple(factors * label_smoothing / classes), tuple(factors * (1 - label_smoothing)), float(l2), self.dtype,
        )  # fmt: skip
        self.threads = min(team.processors() if threads is None else threads, plan.MEMBERS)
        self.size = self._net.size
        self._no_labels, self._no_targets = np.empty(0, dtype=np.int64), np.empty((0, classes), dtype=self.dtype)
        self._weights: Array | None = None
        self._generation, self.is_repeatable = 0, False
        self._helped: dict[int, team.Helper] = {}
        self._reserve(1)
        self._step = compiled_step(self.dtype)
        self._lock = threading.Lock()

    def _reserve(self, panels: int) -> None:
        """Make room for batches of up to so many panels."""
        self._space = Workspace(self._net, panels, self.threads)
        self._table = self._space.table
        self._facts = self._table.ctypes.data
        self._p: Array | None = None
        self._m: Array | None = None
        self._v: Array | None = None
        self._before: Array | None = None
        self._adam: Adam | None = None
        self._shape: tuple[int, ...] = (0, 0)
        self._rows: tuple[int, ...] = (0,)
        self._code = self._net.loss

    def loss_and_gradient(
        self, parameters: Array, x: Array, target: Array, row_weights: Array | None = None,
        rng: np.random.Generator | None = None, *, out: Array,
    ) -> float:  # fmt: skip
        """The loss; its gradient goes to `out`. A loss that is not finite leaves `out` as it was. `rng` is for dropout."""
        return self.run(parameters, out, out, out, x, target, row_weights, rng, self.GRADIENT_ONLY, NO_ADAM, 0.0, 1)

    def adam_step(
        self, parameters: Array, mean: Array, mean_square: Array, x: Array, target: Array, row_weights: Array | None = None,
        rng: np.random.Generator | None = None, *, learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8,
        step: int, weight_decay: float = 0.0,
    ) -> float:  # fmt: skip
        """Loss, gradient and update number `step` (the first is 1), in place; the loss is that before the update."""
        return self.run(
            parameters, mean, mean_square, mean, x, target, row_weights, rng,
            self.UPDATE, (b1, b2, eps, weight_decay), learning_rate, step,
        )  # fmt: skip

    def run(
        self, p: Array, m: Array, v: Array, before: Array, x: Array, target: Array, row_weights: Array | None,
        rng: np.random.Generator | None, action: int, adam: Adam, learning_rate: float, step: int,
    ) -> float:  # fmt: skip
        """Either of the above, all arguments by their place; with UPDATE_AND_KEEP `before` receives the parameters it had."""
        with self._lock:  # one workspace: one step at a time
            given = x
            if x.dtype is not self.dtype or not x.flags.c_contiguous:
                x = np.ascontiguousarray(x, dtype=self.dtype)
            if x.shape != self._shape:
                self._prepare(x.shape)
            if p is not self._p or m is not self._m or v is not self._v or before is not self._before:
                self._accept(p, m, v, before)
            if target.dtype is INT64 and target.shape == self._rows and self._code == LABELS and target.flags.c_contiguous:
                labels, targets = target, self._no_targets
            else:
                labels, targets = self._targets(target)
            if row_weights is not None or self._weights is not self._uniform:
                self._weigh(row_weights)
            if adam is not self._adam:
                place = self._table[plan.ADAM]
                self._space.doubles[place : place + 4] = self._adam = adam
            if self._drawn is not None:
                self._draw(rng)
            self._generation += 1
            if self._members > 1:
                nothing = (self._step, self._no_targets, self._no_labels)
                tickets.call_helpers(self._table, plan.TICKETS, self._members, self._helped, _help, *nothing)
            self.is_repeatable = self._members == 1 and target is labels and x is given and self._weights is self._uniform
            self.is_repeatable = self.is_repeatable and self._drawn is None
            loss: float = self._step(
                0, self._generation, self._facts, x, labels, targets.ctypes.data if labels is self._no_labels else 0,
                action, learning_rate, step,
            )  # fmt: skip
            if loss != loss and self._table[plan.BAD_LABEL] >= 0:
                row = int(self._table[plan.BAD_LABEL])
                raise LabelError(f"target: expected labels from 0 to {self.sizes[-1] - 1}, received {labels[row]} in row {row}")
            return loss

    def again(self, action: int, x: Array, labels: Array, learning_rate: float, step: int) -> float | None:
        """The last step again on another batch, by the shortest way: for small networks it is half the time.

        None, with nothing done, where types or shapes have changed or a label is bad. Only if that step was `is_repeatable`, and
        the vectors are still the same.
        """
        with self._lock:
            try:
                loss: float = self._step(0, 0, self._facts, x, labels, 0, action, learning_rate, step)
            except TypeError:  # other types than the ones it is compiled for
                return None
            return None if loss != loss and self._table[plan.BAD_LABEL] != plan.ALL_GOOD else loss

    def _accept(self, *vectors: Array) -> None:
        """Check the long vectors; the same ones come again with every step and are then known."""
        for vector in vectors:
            if (
                vector.dtype != self.dtype
                or vector.shape != (self.size,)
                or not (vector.flags.c_contiguous and vector.flags.aligned)
            ):
                raise ShapeError(
                    f"parameters, gradient and moments: expected contiguous vectors of {self.size} {self.dtype}, "
                    f"received shape {vector.shape} of {vector.dtype}"
                )
            if not vector.flags.writeable:
                raise ArgumentError("parameters, gradient and moments: expected arrays that may be written to")
        self._p, self._m, self._v, self._before = vectors
        self._table[[plan.FIRST, plan.SECOND, plan.THIRD, plan.PREVIOUS]] = [vector.ctypes.data for vector in vectors]

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """What depends on the number of rows alone."""
        if len(shape) != 2 or shape[1] != self.sizes[0] or shape[0] == 0:
            raise ShapeError(f"x: expected shape (rows, {self.sizes[0]}) with at least one row, received {shape}")
        examples, panels = shape[0], -(-shape[0] // self._space.width)
        if panels > self._space.panels:
            self._reserve(panels)
        self._shape, self._rows, self._uniform = shape, shape[:1], np.full(examples, 1.0 / examples)
        place = self._space.drawn[: examples * self._net.dropped]
        self._drawn = None if not len(place) else place if place.dtype is FLOAT32 else np.empty(len(place), dtype=FLOAT32)
        self._members = min(self.threads, int(6.0 * examples * self.size / WORTH_A_THREAD) + 1)
        self._table[plan.TEAM], self._table[plan.EXAMPLES] = self._members, examples
        self._table[plan.CHUNK] = panels if self._members == 1 else max(1, min(4, panels // self._members))

    def _targets(self, target: Array) -> tuple[Array, Array]:
        """Labels and targets as the step takes them, with an empty array for what is not there; the table is told which."""
        code = self._net.loss
        if code == LABELS and target.ndim == 1:
            if target.dtype.kind not in "iu":
                raise ArgumentTypeError(f"target: expected integer labels, received {target.dtype}")
            if target.shape != self._rows:
                raise ShapeError(f"target: expected {self._shape[0]} labels, received {len(target)}")
            labels, targets = np.ascontiguousarray(target, dtype=np.int64), self._no_targets
        else:
            if target.shape != (self._shape[0], self.sizes[-1]):
                raise ShapeError(f"target: expected shape {(self._shape[0], self.sizes[-1])}, received {target.shape}")
            code = panel_losses.PROBABILITIES if code == LABELS else code
            labels, targets = self._no_labels, np.ascontiguousarray(target, dtype=self.dtype)
        self._table[plan.LOSS] = self._code = code
        return labels, targets

    def _weigh(self, row_weights: Array | None) -> None:
        if row_weights is None:
            self._weights = self._uniform
        elif row_weights.shape != self._rows:
            raise ShapeError(f"row_weights: expected shape {self._rows}, received {row_weights.shape}")
        else:
            self._weights = np.ascontiguousarray(row_weights, dtype=np.float64)
        self._table[plan.WEIGHTS] = self._weights.ctypes.data

    def _draw(self, rng: np.random.Generator | None) -> None:
        """Dropout's numbers, in the order and precision in which the layers draw them."""
        if rng is None:
            raise ArgumentError("dropout: expected rng, a numpy.random.Generator; received None")
        assert self._drawn is not None
        rng.random(out=self._drawn, dtype=np.float32)
        if self.dtype != FLOAT32:
            self._space.drawn[: len(self._drawn)] = self._drawn


def _help(member: int, generation: int, table: Array, step: Any, no_inputs: Array, no_labels: Array) -> None:
    """What a helper is called to. It holds the table: the step that it was made for may be gone while it waits."""
    step(member, generation, table.ctypes.data, no_inputs, no_labels, 0, plan.GRADIENT_ONLY, 0.0, 1)


@cache
def compiled_step(dtype: np.dtype[Any]) -> Any:
    """`mlp_step.step` for one dtype, with its types fixed, so that arrays that may not be written to are taken too."""
    kind = types.float32 if dtype == np.float32 else types.float64
    return entry(_signature(kind), f"the training step for {dtype}")(plan.step)
