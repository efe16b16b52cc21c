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
from backproof.kernels import panel_losses, pointwise, team
from backproof.kernels.compiled import entry
from backproof.kernels.panels import BLOCK, STRETCH
from backproof.kernels.rows import panel_width
from backproof.kernels.tiles import TILE

INT64 = np.dtype(np.int64)
LABELS = panel_losses.LABELS
BLOCK_ROWS = 24  # rows of weights whose gradient is formed and used at a time ...
BLOCK_NUMBERS = 65536  # ... or fewer, if their gradient would outgrow the cache
WORTH_A_THREAD = 2e7  # operations below which another thread takes longer to wake than to be of use


def _signature(kind: Any) -> Any:
    def vector(dtype: Any, readonly: bool = False, ndim: int = 1) -> Any:
        return types.Array(dtype, ndim, "C", readonly=readonly)

    i, d = types.int64, types.float64
    return d(
        i, i, vector(i), vector(kind, True, 2), vector(i, True), vector(kind, True, 2), types.boolean, d, d, d, d, i, d
    )  # fmt: skip


class FusedMLP:
    """Forward, loss, backward and Adam of linear layers with activations between them, each step in one compiled call.

    `sizes` are the widths from input to scores; `activations` one name for each hidden layer (`pointwise.CODES`; "leaky_relu" may
    be ("leaky_relu", slope)); `loss` one of "softmax_cross_entropy", "sigmoid_binary_cross_entropy", "half_squared_error".
    Parameters are one vector: for each layer the weight (outputs, inputs) by rows, then the bias. Losses are sums over the rows of
    row_weights[n] times the row's loss, with 1 / rows where there are no row_weights: the mean.

    The same input gives the same bits, for any number of threads. A loss that is not finite leaves everything as it was.

    >>> import numpy as np
    >>> net = FusedMLP((2, 3, 2), ("tanh",), "softmax_cross_entropy", np.float64)
    >>> gradient = np.empty(net.size)
    >>> round(net.loss_and_gradient(np.zeros(net.size), np.ones((4, 2)), np.array([0, 1, 1, 1]), out=gradient), 4)
    0.6931
    >>> gradient[-2:].tolist()
    [0.25, -0.25]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activations: Sequence[str | tuple[str, float]],
        loss: str,
        dtype: npt.DTypeLike,
        *,
        biases: Sequence[bool] | None = None,
        threads: int | None = None,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        self.dtype = np.dtype(dtype)
        layers = len(self.sizes) - 1
        named = [(a, 0.01) if isinstance(a, str) else a for a in activations]
        self.biases = (True,) * layers if biases is None else tuple(biases)
        if layers < 1 or min(self.sizes) < 1 or len(named) != layers - 1 or len(self.biases) != layers:
            raise ArgumentError(f"sizes: expected n + 2 positive widths for n activations, received {self.sizes} for {len(named)}")
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ArgumentTypeError(f"dtype: expected float32 or float64, received {self.dtype}")
        for name, leak in named:
            if name not in pointwise.CODES or not leak >= 0:
                raise ArgumentError(f"activations: expected names of {list(pointwise.CODES)}, slopes >= 0, received {(name, leak)}")
        if loss not in panel_losses.CODES:
            raise ArgumentError(f"loss: expected one of {list(panel_losses.CODES)}, received {loss!r}")
        self.codes = [pointwise.CODES[name] for name, _ in named] + [pointwise.IDENTITY]
        self.leaks = [float(leak) for _, leak in named] + [0.0]
        self.loss_code = panel_losses.CODES[loss]
        self.threads = min(team.processors() if threads is None else threads, plan.MEMBERS)
        self.size = sum(i * o + o * b for i, o, b in zip(self.sizes, self.sizes[1:], self.biases, strict=False))
        self.width = panel_width(self.dtype.itemsize)
        self._no_labels, self._no_targets = np.empty(0, dtype=np.int64), np.empty((0, self.sizes[-1]), dtype=self.dtype)
        self._known: tuple[Array | None, ...] = (None, None, None)
        self._shape: tuple[int, ...] = (0, 0)
        self._weights: Array | None = None
        self._generation = 0
        self._reserve(1)
        self._lock = threading.Lock()

    def _reserve(self, panels: int) -> None:
        """Lay out the workspace for batches of up to so many panels, and write down where everything is."""
        threads, width, outputs = self.threads, self.width, self.sizes[-1]
        table = np.zeros(plan.FIRST_LAYER + plan.FIELDS * len(self.codes), dtype=np.int64)
        self._known = (None, None, None)
        end = 0

        def take(count: int) -> int:
            nonlocal end
            start, end = end, end + -(-count // width) * width
            return start

        parameters, block_size = 0, 0
        for number, (inputs, out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            field = table[plan.FIRST_LAYER + plan.FIELDS * number :][: plan.FIELDS]
            padded = -(-inputs // width) * width
            rows = max(TILE, min(BLOCK_ROWS, BLOCK_NUMBERS // padded // TILE * TILE))
            field[plan.INPUTS], field[plan.OUTPUTS], field[plan.CODE], field[plan.ROWS] = inputs, out, self.codes[number], rows
            field[plan.WEIGHT], field[plan.BIAS] = parameters, parameters + inputs * out if self.biases[number] else -1
            parameters += inputs * out + out * self.biases[number]
            field[plan.INPUT], field[plan.FLIPPED] = take(panels * inputs * width), take(panels * padded * width)
            field[plan.DELTA] = take(panels * out * width)
            field[plan.SLOPE] = take(panels * out * width) if self.codes[number] > pointwise.LEAKY_RELU else 0
            block_size = max(block_size, rows * (padded + 1))
        block_size = -(-block_size // 64) * 64
        pack_size = STRETCH * BLOCK
        table[plan.LAYERS], table[plan.LOSS] = len(self.codes), self.loss_code
        table[plan.PACK], table[plan.PACK_SIZE] = take(threads * pack_size), pack_size
        table[plan.GRADIENT], table[plan.GRADIENT_SIZE] = take(threads * block_size), block_size
        scratch = (outputs + 4) * width
        table[plan.LOSSES], table[plan.SCRATCH], table[plan.SCRATCH_SIZE] = len(self.leaks), len(self.leaks) + panels, scratch
        self._table = table
        self._doubles = np.zeros(len(self.leaks) + panels + threads * scratch)
        self._doubles[: len(self.leaks)] = self.leaks
        aligned = np.zeros(end + width * width + width, dtype=self.dtype)  # flipping reads up to a square beyond
        skip = -aligned.ctypes.data % (width * self.dtype.itemsize) // self.dtype.itemsize
        self._work = aligned[skip:]
        table[plan.DOUBLES], table[plan.WORK] = self._doubles.ctypes.data, self._work.ctypes.data
        self._capacity, self._code = panels, self.loss_code

    def loss_and_gradient(
        self, parameters: Array, x: Array, target: Array, row_weights: Array | None = None, *, out: Array
    ) -> float:
        """The loss; its gradient goes to `out`. A loss that is not finite leaves `out` as it was."""
        return self._run(parameters, out, out, x, target, row_weights, False, 0.0, 0.0, 0.0, 0.0, 1, 0.0)

    def adam_step(
        self, parameters: Array, mean: Array, mean_square: Array, x: Array, target: Array, row_weights: Array | None = None, *,
        learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, step: int, weight_decay: float = 0.0,
    ) -> float:  # fmt: skip
        """Loss, gradient and update number `step` (the first is 1), in place; the loss is that before the update."""
        return self._run(
            parameters, mean, mean_square, x, target, row_weights, True, learning_rate, b1, b2, eps, step, weight_decay
        )  # fmt: skip

    def _run(
        self, p: Array, m: Array, v: Array, x: Array, target: Array, row_weights: Array | None, update: bool,
        learning_rate: float, b1: float, b2: float, eps: float, step: int, decay: float,
    ) -> float:  # fmt: skip
        with self._lock:  # one workspace: one step at a time
            if x.dtype is not self.dtype or not x.flags.c_contiguous:
                x = np.ascontiguousarray(x, dtype=self.dtype)
            if x.shape != self._shape:
                self._prepare(x.shape)
            if p is not self._known[0] or m is not self._known[1] or v is not self._known[2]:
                self._accept(p, m, v)
            if target.dtype is INT64 and target.shape == self._shape[:1] and self._code == LABELS and target.flags.c_contiguous:
                labels, targets = target, self._no_targets
            else:
                labels, targets = self._targets(target)
            if row_weights is not None or self._weights is not self._uniform:
                self._weigh(row_weights)
            self._generation += 1
            if self._members > 1:
                for member, helper in enumerate(team.helpers(self._members - 1), start=1):
                    shared = (self._generation, self._table, x, labels, targets, update, learning_rate, b1, b2, eps, step, decay)
                    helper.give(self._step, member, *shared)
            loss: float = self._step(
                0, self._generation, self._table, x, labels, targets, update, learning_rate, b1, b2, eps, step, decay
            )  # fmt: skip
            if loss != loss and self._table[plan.BAD_LABEL] >= 0:
                row = int(self._table[plan.BAD_LABEL])
                raise LabelError(f"target: expected labels from 0 to {self.sizes[-1] - 1}, received {labels[row]} in row {row}")
            return loss

    def _accept(self, p: Array, m: Array, v: Array) -> None:
        """Check the long vectors; the same ones come again with every step and are then known."""
        for vector in (p, m, v):
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
        self._known = (p, m, v)
        self._table[[plan.FIRST, plan.SECOND, plan.THIRD]] = [vector.ctypes.data for vector in self._known]

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """What depends on the number of rows alone."""
        if len(shape) != 2 or shape[1] != self.sizes[0] or shape[0] == 0:
            raise ShapeError(f"x: expected shape (rows, {self.sizes[0]}) with at least one row, received {shape}")
        examples, panels = shape[0], -(-shape[0] // self.width)
        if panels > self._capacity:
            self._reserve(panels)
        self._shape, self._uniform = shape, np.full(examples, 1.0 / examples)
        self._members = min(self.threads, int(6.0 * examples * self.size / WORTH_A_THREAD) + 1)
        self._table[plan.TEAM] = self._members
        self._table[plan.CHUNK] = panels if self._members == 1 else max(1, min(4, panels // (2 * self._members)))
        self._step = compiled_step(self.dtype)

    def _targets(self, target: Array) -> tuple[Array, Array]:
        """Labels and targets as the step takes them, with an empty array for what is not there; the table is told which."""
        code = self.loss_code
        if code == LABELS and target.ndim == 1:
            if target.dtype.kind not in "iu":
                raise ArgumentTypeError(f"target: expected integer labels, received {target.dtype}")
            if target.shape != self._shape[:1]:
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
        elif row_weights.shape != self._shape[:1]:
            raise ShapeError(f"row_weights: expected shape {self._shape[:1]}, received {row_weights.shape}")
        else:
            self._weights = np.ascontiguousarray(row_weights, dtype=np.float64)
        self._table[plan.WEIGHTS] = self._weights.ctypes.data


@cache
def compiled_step(dtype: np.dtype[Any]) -> Any:
    """`mlp_step.step` for one dtype, with its types fixed, so that arrays that may not be written to are taken too."""
    return entry(_signature(types.float32 if dtype == np.float32 else types.float64))(plan.step)
