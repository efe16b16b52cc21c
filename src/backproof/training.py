"""Training as a generator of records: the caller sees every epoch, and stops by leaving the loop."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, as_floats, require_finite, to_numpy
from backproof.examples import Batch, Data, Prepared, batches_of, count, evaluate, fingerprint
from backproof.layers.base import require_count
from backproof.metrics import Metric, default_metrics
from backproof.network import Network
from backproof.optimisers import FullBatch, Optimizer, State, adam, require_optimizer
from backproof.plan import obstacle
from backproof.progress import EarlyStopping, Progress, Record
from backproof.resuming import keep_checkpoints
from backproof.saving.checkpoints import Checkpoints
from backproof.source import Source
from backproof.step import TrainingStep

_WORTH_COMPILING = 1.0  # seconds by the layers


def train(
    network: Network,
    x: object,
    t: object = None,
    *,
    validation: Sequence[object] | Source | None = None,
    sample_weight: object = None,
    optimizer: Optimizer | FullBatch | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    seed: int | np.random.Generator | None = None,
    metrics: Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    compiled: bool | None = None,
    optimizer_state: State | None = None,
    checkpoint: Checkpoints | str | os.PathLike[str] | None = None,
) -> Generator[Record]:
    """Train `network` on x (N, *features) and t, or on a source of batches, yielding a `Record` after each epoch.

    The network is initialised from `seed` if it has no parameters yet; the order of the examples and dropout are drawn from the
    same seed: same seed, same machine, same weights. `optimizer` is Adam by default; `lbfgs()` takes all examples at once, one
    iteration an epoch. `validation` is (x, t), (x, t, sample_weight) or a source. `metrics` maps names to functions of (logits,
    targets); they are reported as "validation_NAME", or "train_NAME" where there is no validation set.

    `compiled=True` takes the compiled step of a plain network (see `TrainingStep`), False the layers. By default it is taken if
    there is one and training by the layers would last about a second or more: a matter of the sizes alone, not of what is compiled
    already, so that a result never depends on that.

    `optimizer_state`, from `optimizer.init(network.parameters)`, is continued and updated in place: training in several calls then
    takes the steps of one.

    A `Source` in place of x and t (`backproof.data.ArraySource` of arrays mapped from files, or anything with `len` and
    `batches(size, rng)`) is never whole in memory; without a validation set it has no metrics.

    `checkpoint`, a folder or `Checkpoints(folder, ...)`, keeps the state of the training there, so that another process can go on
    with it: with `Checkpoints(folder, resume=True)` the records of before come first, then those of the epochs that remain, and
    the weights at the end are those of a training that was never interrupted, bit for bit, on the same machine.

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
    begun = None if seed is None else dict(rng.bit_generator.state)
    given: Data
    if isinstance(x, Source):
        _require_alone(t, sample_weight, optimizer)
        given = Prepared(network, x, rng)
    else:
        inputs, targets = _examples(x, t, "x", "t")
        weights = _weights(sample_weight, len(inputs), "sample_weight")
        if not network.is_initialised:
            network.initialise(inputs, rng)
        inputs = network.prepared(inputs)  # cast and standardised once, not in every batch
        require_finite(inputs, f"x as {network.dtype}")
        given = inputs, targets, weights
    held_out = None if validation is None else _held_out(validation, network, rng)
    network = network.behind_standardising()
    metrics = default_metrics(network.objective) if metrics is None else metrics
    progress, step = Progress(), None
    if isinstance(optimizer, FullBatch):
        from backproof.fullbatch import iterations

        if checkpoint is not None:
            raise ArgumentError("checkpoint: expected an optimizer that goes by steps; SciPy's L-BFGS keeps its state to itself")
        assert isinstance(given, tuple)
        passes = iterations(network, *given, optimizer, epochs)
    else:
        examples = count(given)
        if compiled is None:
            compiled = obstacle(network) is None and _estimate(network, examples, batch_size, epochs) > _WORTH_COMPILING
        step = TrainingStep(network, optimizer, rng, compiled=compiled, state=optimizer_state)
        if checkpoint is not None:
            data = fingerprint(given), None if held_out is None else fingerprint(held_out)
            terms = {"data": data, "network": network, "seed": begun, "optimizer": optimizer, "batch_size": batch_size}
            terms |= {"early_stopping": early_stopping, "compiled": compiled}
            keep = checkpoint if isinstance(checkpoint, Checkpoints) else Checkpoints(checkpoint)
            keep_checkpoints(keep, progress, network, step, rng, terms, most=(epochs, examples))
        left = range(len(progress.records), epochs)
        passes = (_epoch(step, batches_of(given, batch_size, rng), examples, rng, progress) for _ in left)
    watch = _Watch(network, given, held_out, metrics, step, progress.seconds)
    return _records(passes, watch, progress, early_stopping)


def _estimate(network: Network, examples: int, batch_size: int, epochs: int) -> float:
    """Seconds that training by the layers takes, roughly: a fixed cost a layer, and six operations a parameter and example."""
    steps = epochs * -(-examples // batch_size)
    return steps * 8e-5 * (len(network.layers) + 1) + 6.0 * epochs * examples * network.parameters.size / 5e10


def _held_out(validation: object, network: Network, rng: np.random.Generator) -> Data:
    if isinstance(validation, Source):
        return Prepared(network, validation, rng)
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise ArgumentTypeError(
            f"train: expected validation to be (x, t), (x, t, sample_weight) or a source, received {type(validation).__name__}"
        )
    x, t = _examples(validation[0], validation[1], "validation x", "validation t")
    weights = _weights(validation[2] if len(validation) == 3 else None, len(x), "validation sample_weight")
    return network.prepared(x), t, weights


def _weights(sample_weight: object, examples: int, name: str) -> Array | None:
    if sample_weight is None:
        return None
    weights = as_floats(sample_weight, name, np.float64)
    if weights.shape[:1] != (examples,):
        raise ShapeError(f"{name}: expected {examples} entries, received shape {weights.shape}")
    return weights


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


def _epoch(
    step: TrainingStep, batches: Iterator[Batch], examples: int, rng: np.random.Generator, progress: Progress
) -> tuple[int, float, float]:
    """A step for each batch that is left of an epoch: steps made so far, mean of the loss, norm of the last gradient."""
    for x, t, weights in progress.left(batches, rng):
        last = progress.row + len(x) >= examples
        progress.after_step(step.count + 1, step(x, t, weights, norm=last), len(x), last)
    step.require_finite_parameters(x, t)
    return step.count, progress.loss / examples, step.gradient_norm


def _unweighted(data: Data) -> Data:
    """What is reported of the examples that are trained on counts each of them once."""
    return (*data[:2], None) if isinstance(data, tuple) else data


class _Watch:
    """Makes the records: evaluates at an epoch's end and keeps the time."""

    def __init__(
        self,
        network: Network,
        training: Data,
        held_out: Data | None,
        metrics: Mapping[str, Metric],
        step: TrainingStep | None,
        seconds: float,
    ) -> None:
        self.network, self.held_out, self.metrics = network, held_out, metrics
        self.watched, self.prefix = (_unweighted(training), "train") if held_out is None else (held_out, "validation")
        self.step = step  # what to go back with when the numbers have run away
        self.started = time.perf_counter() - seconds

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


def _records(
    passes: Iterator[tuple[int, float, float]], watch: _Watch, progress: Progress, rule: EarlyStopping | None
) -> Generator[Record]:
    """The records there are, then one a pass; with a rule, stop by it and put the best weights back, whatever ends the loop."""
    try:
        yield from list(progress.records)
        while not progress.is_over(rule):
            result = next(passes, None)
            if result is None:
                return
            record = watch.record(len(progress.records) + 1, *result)
            progress.after_epoch(record, rule, watch.network.parameters)
            yield record
    finally:
        if progress.best is not None:
            watch.network.parameters = progress.best[1]
