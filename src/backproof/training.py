"""Training as a generator of records: the caller sees every epoch, and stops by leaving the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, as_floats, require_finite, to_numpy
from backproof.examples import Data, Prepared, batches_of, count, evaluate
from backproof.layers.base import require_count, require_number
from backproof.metrics import Metric, default_metrics
from backproof.network import Network
from backproof.optimisers import FullBatch, Optimizer, adam, require_optimizer
from backproof.plan import obstacle
from backproof.source import Source
from backproof.step import TrainingStep

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
    t: object = None,
    *,
    validation: tuple[object, object] | Source | None = None,
    sample_weight: object = None,
    optimizer: Optimizer | FullBatch | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    seed: int | np.random.Generator | None = None,
    metrics: Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    compiled: bool | None = None,
) -> Iterator[Record]:
    """Train `network` on x (N, *features) and t, or on a source of batches, yielding a `Record` after each epoch.

    The network is initialised from `seed` if it has no parameters yet; the order of the examples and dropout are drawn from the
    same seed: same seed, same machine, same weights. `optimizer` is Adam by default; `lbfgs()` takes all examples at once, one
    iteration an epoch. `validation` is a pair (x, t), or a source. `metrics` maps names to functions of (logits, targets); they are
    reported as "validation_NAME", or "train_NAME" where there is no validation set. `compiled=True` takes the compiled step of a
    plain network (see `TrainingStep`), False the layers. By default it is taken if there is one and training by the layers would
    last about a second or more: a matter of the sizes alone, not of what is compiled already, so that a result never depends on
    that.

    A `Source` in place of x and t (`backproof.data.ArraySource` of arrays mapped from files, or anything with `len` and
    `batches(size, rng)`) is never whole in memory; without a validation set it has no metrics.

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
    rng = np.random.default_rng(seed)
    given: Data
    if isinstance(x, Source):
        _require_alone(t, sample_weight, optimizer)
        given, weights = Prepared(network, x, rng), None
    else:
        inputs, targets = _examples(x, t, "x", "t")
        weights = None if sample_weight is None else as_floats(sample_weight, "sample_weight", np.float64)
        if weights is not None and weights.shape[:1] != inputs.shape[:1]:
            raise ShapeError(f"sample_weight: expected {len(inputs)} entries, received shape {weights.shape}")
        if not network.is_initialised:
            network.initialise(inputs, rng)
        inputs = network.prepared(inputs)  # cast and standardised once, not in every batch
        require_finite(inputs, f"x as {network.dtype}")
        given = inputs, targets
    held_out: Data | None = None
    if isinstance(validation, Source):
        held_out = Prepared(network, validation, rng)
    elif validation is not None:
        held_x, held_t = _examples(*_pair(validation), "validation x", "validation t")
        held_out = network.prepared(held_x), held_t
    network = network.behind_standardising()
    step = None
    if isinstance(optimizer, FullBatch):
        from backproof.fullbatch import iterations

        assert isinstance(given, tuple)
        passes = iterations(network, *given, weights, optimizer, epochs)
    else:
        examples = count(given)
        if compiled is None:
            compiled = obstacle(network) is None and _estimate(network, examples, batch_size, epochs) > _WORTH_COMPILING
        step = TrainingStep(network, optimizer, rng, compiled=compiled)
        passes = (_epoch(step, batches_of(given, weights, batch_size, rng), examples) for _ in range(epochs))
    metrics = default_metrics(network.objective) if metrics is None else metrics
    watch = _Watch(network, given, held_out, metrics, step)
    records = (watch.record(epoch, *result) for epoch, result in enumerate(passes, 1))
    return _stopping(network, records, early_stopping)


def _estimate(network: Network, examples: int, batch_size: int, epochs: int) -> float:
    """Seconds that training by the layers takes, roughly: a fixed cost a layer, and six operations a parameter and example."""
    steps = epochs * -(-examples // batch_size)
    return steps * 8e-5 * (len(network.layers) + 1) + 6.0 * epochs * examples * network.parameters.size / 5e10


def _pair(validation: object) -> tuple[object, object]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise ArgumentTypeError(f"train: expected validation to be a pair (x, t), received {type(validation).__name__}")
    return validation[0], validation[1]


def _examples(x: object, t: object, x_name: str, t_name: str) -> tuple[Array, Array]:
    inputs, targets = as_floats(x, x_name), to_numpy(t, t_name)
    if inputs.ndim < 2:
        raise ShapeError(f"{x_name}: expected shape (N, features) or more axes, received {inputs.shape}")
    if len(inputs) == 0:
        raise ShapeError(f"{x_name}: expected at least one example, received shape {inputs.shape}")
    if targets.shape[:1] != inputs.shape[:1]:
        raise ShapeError(f"{t_name}: expected {len(inputs)} targets, one an example, received shape {targets.shape}")
    require_finite(inputs, x_name)
    return inputs, targets


def _require_alone(t: object, sample_weight: object, optimizer: object) -> None:
    if isinstance(optimizer, FullBatch):
        raise ArgumentError("lbfgs: expected examples in memory, received a source of batches")
    for name, value in (("t", t), ("sample_weight", sample_weight)):
        if value is not None:
            raise ArgumentError(f"train: expected no {name} beside a source, which gives batches of x and t")


def _epoch(step: TrainingStep, batches: Iterable[tuple[Array, Array, Array | None]], examples: int) -> tuple[int, float, float]:
    """A step for each batch: steps made so far, mean of the loss, norm of the last gradient."""
    loss, seen = 0.0, 0
    for x, t, weights in batches:
        seen += len(x)
        loss += step(x, t, weights, norm=seen >= examples) * len(x)
    step.require_finite_parameters(x, t)
    return step.count, loss / examples, step.gradient_norm


class _Watch:
    """Makes the records: evaluates at an epoch's end and keeps the time."""

    def __init__(
        self,
        network: Network,
        training: Data,
        held_out: Data | None,
        metrics: Mapping[str, Metric],
        step: TrainingStep | None,
    ) -> None:
        self.network, self.held_out, self.metrics = network, held_out, metrics
        self.step = step  # what to go back with when the numbers have run away
        self.watched, self.prefix = (training, "train") if held_out is None else (held_out, "validation")
        self.started = time.perf_counter()

    def record(self, epoch: int, step: int, train_loss: float, gradient_norm: float) -> Record:
        values: dict[str, float] = {}
        validation_loss = None
        if self.held_out is not None or (self.metrics and isinstance(self.watched, tuple)):
            diverged = None if self.step is None else self.step.diverged
            loss, found = evaluate(self.network, self.watched, self.metrics, diverged)
            values = {f"{self.prefix}_{name}": value for name, value in found.items()}
            validation_loss = None if self.held_out is None else loss
        seconds = time.perf_counter() - self.started
        return Record(epoch, step, train_loss, validation_loss, values, gradient_norm, seconds)


def _stopping(network: Network, records: Iterator[Record], rule: EarlyStopping | None) -> Iterator[Record]:
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
