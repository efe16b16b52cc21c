"""Training as a generator of records: the caller sees every epoch, and stops by leaving the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, as_floats, require_finite, to_numpy
from backproof.kernels import blas
from backproof.layers.base import require_count, require_number
from backproof.metrics import Metric, default_metrics
from backproof.network import Network
from backproof.optimisers import FullBatch, Optimizer, State, adam, require_optimizer
from backproof.plan import obstacle
from backproof.sparse import SparseRows, is_sparse
from backproof.step import TrainingStep

_ROWS_AT_ONCE = 8192
_WORTH_COMPILING = 1.0  # seconds by the layers


@dataclass(frozen=True)
class Record:
    """One epoch of training.

    train_loss is the mean over the epoch's batches as they were trained on (dropout included, penalty included);
    validation_loss (without the penalty) and the metrics are taken at the epoch's end. gradient_norm is that of the epoch's
    last step. seconds counts from the start of the first epoch; what must be compiled is compiled before.
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = 0.0
    seconds: float = 0.0

    def score(self, name: str) -> float:
        """The number called `name`: "train_loss", "validation_loss" or a metric."""
        value = self.metrics.get(name, getattr(self, name, None) if name in ("train_loss", "validation_loss") else None)
        if value is None:
            known = ["train_loss", *(["validation_loss"] if self.validation_loss is not None else []), *self.metrics]
            raise ArgumentError(f"early_stopping: expected score to be one of {known}, received {name!r}")
        return value


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` epochs in which `score` did not get better by more than `min_change`; the best weights are put back.

    `score` is "validation_loss", "train_loss" (that of the epoch's batches, before its last step) or a metric such as
    "validation_accuracy". `mode` says whether "min" or "max" is best; by default "min" where the name ends in "loss" or "error".
    """

    score: str = "validation_loss"
    patience: int = 10
    min_change: float = 0.0
    mode: str | None = None

    def __post_init__(self) -> None:
        require_count("EarlyStopping", "patience", self.patience)
        require_number("EarlyStopping", "min_change", self.min_change, low=0.0)
        if self.mode not in (None, "min", "max"):
            raise ArgumentError(f"EarlyStopping: expected mode to be 'min' or 'max', received {self.mode!r}")

    def better(self, new: float, old: float) -> bool:
        """Whether `new` is better than `old`; anything is better than nan."""
        if math.isnan(old):
            return not math.isnan(new)
        smaller = self.mode == "min" or (self.mode is None and self.score.endswith(("loss", "error")))
        return new < old - self.min_change if smaller else new > old + self.min_change


def train(
    network: Network,
    x: object,
    t: object,
    *,
    validation: Sequence[object] | None = None,
    sample_weight: object = None,
    optimizer: Optimizer | FullBatch | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    seed: int | np.random.Generator | None = None,
    metrics: Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    compiled: bool | None = None,
    optimizer_state: State | None = None,
) -> Generator[Record]:
    """Train `network` on x (N, *features) and t, yielding a `Record` after each epoch. A sparse x is made dense batch by batch.

    The network is initialised from `seed` if it has no parameters yet; the order of the examples and dropout are drawn from the
    same seed: same seed, same machine, same weights. `optimizer` is Adam by default; `lbfgs()` takes all examples at once, one
    iteration an epoch. `validation` is (x, t) or (x, t, sample_weight). `metrics` maps names to functions of (logits, targets);
    they are reported as "validation_NAME", or "train_NAME" where there is no validation set.

    `compiled=True` takes the compiled step of a plain network (see `TrainingStep`), False the layers. By default it is taken if
    there is one and training by the layers would last about a second or more: a matter of the sizes alone, not of what is compiled
    already, so that a result never depends on that.

    `optimizer_state`, from `optimizer.init(network.parameters)`, is continued and updated in place: training in several calls then
    takes the steps of one.

    Raises `DivergenceError`, naming the first layer that is not finite, when a loss or gradient becomes nan or infinite; the
    weights are then the last ones with a finite loss. With `early_stopping` the best weights are put back at the end, also when
    the caller leaves the loop (a generator that is still held somewhere ends with its `close()`).

    >>> import numpy as np
    >>> from backproof import CrossEntropy, Linear, Network, Softmax, adam
    >>> x, t = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    >>> network = Network([Linear(2), Softmax()], CrossEntropy())
    >>> for record in train(network, x, t, optimizer=adam(0.1), epochs=50, seed=0):
    ...     pass
    >>> record.epoch, record.metrics["train_accuracy"]
    (50, 1.0)
    """
    require_count("train", "epochs", epochs)
    require_count("train", "batch_size", batch_size)
    if not isinstance(optimizer, FullBatch):
        require_optimizer(optimizer := optimizer or adam(), "train")
    if early_stopping is not None and not isinstance(early_stopping, EarlyStopping):
        raise ArgumentTypeError(f"train: expected early_stopping to be an EarlyStopping(...), received {early_stopping!r}")
    inputs, targets = _examples(x, t, "x", "t")
    held_out = None if validation is None else _held_out(validation)
    weights = _weights(sample_weight, inputs.shape[0], "sample_weight")
    rng = np.random.default_rng(seed)
    if not network.is_initialised:
        network.initialise(inputs[:1].toarray() if is_sparse(inputs) else inputs, rng)
    inputs = _prepared(network, inputs)
    held_out = None if held_out is None else (_prepared(network, held_out[0]), *held_out[1:])
    network = network.behind_standardising()
    step = None
    if isinstance(optimizer, FullBatch):
        from backproof.fullbatch import iterations

        passes = iterations(network, inputs[:], targets, weights, optimizer, epochs)
    else:
        if compiled is None:
            compiled = worth_compiling(network, len(inputs), batch_size, epochs)
        step = TrainingStep(network, optimizer, rng, compiled=compiled, state=optimizer_state)
        passes = (_epoch(step, inputs, targets, weights, batch_size, rng) for _ in range(epochs))
    metrics = default_metrics(network.objective) if metrics is None else metrics
    watch = _Watch(network, (inputs, targets), held_out, metrics, step)
    records = (watch.record(epoch, *result) for epoch, result in enumerate(passes, 1))
    return _stopping(network, records, early_stopping)


def worth_compiling(network: Network, examples: int, batch_size: int, epochs: int, seconds: float = _WORTH_COMPILING) -> bool:
    """Whether there is a compiled step and training by the layers would last longer than `seconds`, roughly.

    Reckoned with a fixed cost a layer and step, and six operations a parameter and example: from the sizes alone.
    """
    steps = epochs * -(-examples // batch_size)
    estimate = steps * 8e-5 * (len(network.layers) + 1) + 6.0 * epochs * examples * network.parameters.size / 5e10
    return estimate > seconds and obstacle(network) is None


def _held_out(validation: object) -> tuple[Any, Array, Array | None]:
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise ArgumentTypeError(
            f"train: expected validation to be (x, t) or (x, t, sample_weight), received {type(validation).__name__}"
        )
    x, t = _examples(validation[0], validation[1], "validation x", "validation t")
    return x, t, _weights(validation[2] if len(validation) == 3 else None, x.shape[0], "validation sample_weight")


def _weights(sample_weight: object, examples: int, name: str) -> Array | None:
    if sample_weight is None:
        return None
    weights = as_floats(sample_weight, name, np.float64)
    if weights.shape[:1] != (examples,):
        raise ShapeError(f"{name}: expected {examples} entries, received shape {weights.shape}")
    return weights


def _examples(x: object, t: object, x_name: str, t_name: str) -> tuple[Any, Array]:
    inputs, targets = x.tocsr() if is_sparse(x) else as_floats(x, x_name), to_numpy(t, t_name)
    if inputs.ndim < 2:
        raise ShapeError(f"{x_name}: expected shape (N, features) or more axes, received {inputs.shape}")
    n = inputs.shape[0]
    if n == 0:
        raise ShapeError(f"{x_name}: expected at least one example, received shape {inputs.shape}")
    if targets.shape[:1] != (n,):
        raise ShapeError(f"{t_name}: expected {n} targets, one an example, received shape {targets.shape}")
    if not is_sparse(inputs):
        require_finite(inputs, x_name)
    return inputs, targets


def _prepared(network: Network, inputs: Any) -> Array | SparseRows:
    """The examples as the layers take them: cast and standardised once, not in every batch, unless they are sparse."""
    if is_sparse(inputs):
        return SparseRows(inputs, network)
    prepared = network.prepared(inputs)
    require_finite(prepared, f"x as {network.dtype}")
    return prepared


def _epoch(
    step: TrainingStep, x: Array | SparseRows, t: Array, weights: Array | None, batch_size: int, rng: np.random.Generator
) -> tuple[int, float, float]:
    """One pass over the examples in random order: steps made so far, mean of the loss, norm of the last gradient."""
    n, loss = len(x), 0.0
    order = rng.permutation(n)
    for start in range(0, n, batch_size):
        rows = order[start : start + batch_size]
        last = start + batch_size >= n
        value = step(x[rows], t[rows], None if weights is None else weights[rows], norm=last)
        loss += value * len(rows)
    step.require_finite_parameters(x[:1], t[:1])
    return step.count, loss / n, step.gradient_norm


class _Watch:
    """Makes the records: evaluates at an epoch's end and keeps the time."""

    def __init__(
        self,
        network: Network,
        training: tuple[Array | SparseRows, Array],
        held_out: tuple[Array | SparseRows, Array, Array | None] | None,
        metrics: Mapping[str, Metric],
        step: TrainingStep | None,
    ) -> None:
        self.network, self.held_out, self.metrics = network, held_out, metrics
        self.watched, self.prefix = ((*training, None), "train") if held_out is None else (held_out, "validation")
        self.step = step  # what to go back with when the numbers have run away
        self.started = time.perf_counter()

    def record(self, epoch: int, step: int, train_loss: float, gradient_norm: float) -> Record:
        x, t, weights = self.watched
        values: dict[str, float] = {}
        validation_loss = None
        if self.metrics or self.held_out is not None:
            with np.errstate(all="ignore"), blas.few(2.0 * min(len(x), _ROWS_AT_ONCE) * self.network.parameters.size):
                z = np.concatenate([self.network.logits(x[i : i + _ROWS_AT_ONCE]) for i in range(0, len(x), _ROWS_AT_ONCE)])
            values = {f"{self.prefix}_{name}": metric(z, t) for name, metric in self.metrics.items()}
            loss = self.network.objective.reduced(z, t, weights)[0]
            if not math.isfinite(loss) and self.step is not None:
                self.step.diverged(x[:], t)
            validation_loss = None if self.held_out is None else loss
        seconds = time.perf_counter() - self.started
        return Record(epoch, step, train_loss, validation_loss, values, gradient_norm, seconds)


def _stopping(network: Network, records: Iterator[Record], rule: EarlyStopping | None) -> Generator[Record]:
    """Pass the records on; with a rule, stop by it and put the best weights back whatever ends the loop."""
    if rule is None:
        yield from records
        return
    best: tuple[float, Array] | None = None
    waited = 0
    try:
        for record in records:
            score = record.score(rule.score)
            if best is None or rule.better(score, best[0]):
                best, waited = (score, network.parameters.copy()), 0
            else:
                waited += 1
            yield record
            if waited >= rule.patience:
                return
    finally:
        if best is not None:
            network.parameters = best[1]
