"""The main job: data in, a trained and checked classifier out. What `backproof train` does, without a terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backproof import optimisers
from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.calibration import Reliability, joined, reliability
from backproof.choices import LEARNING_RATES, hidden_layer, optimizer, schedule
from backproof.data import Coding, Dataset, Moments, Streamed, fit
from backproof.doctor import Doctor
from backproof.gradcheck import Agreement, compare_gradient
from backproof.kernels import blas
from backproof.layers import Layer, Linear, Softmax, Standardize
from backproof.losses import CrossEntropy
from backproof.metrics import log_loss
from backproof.mistakes import Mistakes
from backproof.network import Network
from backproof.progress import Record
from backproof.saving import Checkpoints
from backproof.training import train

DROPOUT = 0.3
"""After each hidden layer, unless told otherwise; L-BFGS, whose loss must not change between evaluations, has none."""
EPOCHS, MOST_EPOCHS, STEPS = 60, 500, 2000
"""Unless told otherwise: 60 epochs, for small data as many as make 2000 steps, 500 at most; L-BFGS gets 500 iterations."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the outcome, apart from the data. None: what suits the optimiser."""

    hidden: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    dropout: float | None = None
    label_smoothing: float = 0.05
    l2: float = 0.0
    optimizer: str = "adam"
    lr: float | None = None
    schedule: str = "cosine"
    clip_norm: float | None = None
    epochs: int | None = None
    batch_size: int = 32
    test_fraction: float = 0.25
    dtype: str = "float32"
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """How a classifier does on examples it has not seen. Arrays have one entry a class; confusion[i, j] counts i taken for j.

    loss : as trained, smoothing included. log_loss : cross-entropy with the labels themselves. calibration_error : the expected one
    (`backproof.calibration`); nan where logits are not finite. diagram : the reliability diagram that it comes from.
    """

    accuracy: float
    loss: float
    log_loss: float
    macro_f1: float
    calibration_error: float
    precision: Array
    recall: Array
    f1: Array
    support: Array
    confusion: Array
    diagram: Reliability | None = None
    mistakes: Mistakes = field(default_factory=Mistakes)

    def as_json(self) -> dict[str, Any]:
        """The figures, without the examples."""
        named = [f.name for f in dataclasses.fields(self) if f.name not in ("diagram", "mistakes")]
        values = {name: getattr(self, name) for name in named}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}


class Job:
    """Split `data`, build the network that `settings` describe; then `check`, `run` and `evaluate`."""

    def __init__(self, data: Dataset | Streamed, settings: Settings) -> None:
        self.data = data
        train_set, test_set = data.split(settings.test_fraction, settings.seed)
        self.coding, moments = fit(train_set)
        self.train_set, self.test_set = train_set.coded(self.coding), test_set.coded(self.coding)
        self.settings = settings = _resolved(settings, len(self.train_set))
        self.optimizer, self.doctor = self._optimizer(), Doctor()
        self.network = self._network(_standardize(self.coding, moments))
        self._rng = np.random.default_rng(settings.seed)
        self.network.initialise_shape((self.coding.inputs,), self._rng)

    @property
    def epochs(self) -> int:
        """How many passes over the data there will be (L-BFGS: at most)."""
        assert self.settings.epochs is not None
        return self.settings.epochs

    def _network(self, standardize: Standardize) -> Network:
        s = self.settings
        stack: list[Layer] = [standardize]
        for width in s.hidden:
            stack += hidden_layer(width, s.activation, s.dropout or 0.0)
        stack += [Linear(len(self.data.classes)), Softmax()]
        named: dict[str, Any] = {"classes": list(self.data.classes), "data": self.data.name} | self.coding.as_json()
        return Network(stack, CrossEntropy(label_smoothing=s.label_smoothing), l2=s.l2, dtype=s.dtype, metadata=named)

    def check(self) -> Agreement:
        """The gradient of this very network (dropout and penalty included) on its first examples, against numerical derivatives.

        Both are evaluated in float64, whatever the network is trained in; dropout draws the same mask every time. The point is a
        little beside the initial one: biases begin at exactly 0, and a rectifier that gets only zeros from the layer before would
        sit exactly on its kink, where there is no derivative to compare with.
        """
        twin = Network(self.network.chain, self.network.objective, l2=self.network.l2, dtype="float64")
        beside = np.random.default_rng(self.settings.seed).normal(scale=0.05, size=self.network.parameters.size)
        twin.initialise_shape(self.network.in_shape, 0).parameters = self.network.parameters + beside
        x, t = next((x[:32], t[:32]) for x, t in self.train_set.pieces() if len(x))

        def mask() -> np.random.Generator:
            return np.random.default_rng(self.settings.seed)

        with blas.few(2.0 * len(x) * twin.parameters.size):
            _, gradient = twin.loss_and_gradient(x, t, train=True, rng=mask())
            return compare_gradient(
                lambda theta: twin.loss(x, t, parameters=theta, train=True, rng=mask()), gradient, twin.parameters, entries=100
            )

    def run(self, checkpoint: Checkpoints | None = None) -> Iterator[Record]:
        """Train, a record an epoch, watching the held-out examples (they decide nothing)."""
        s, data = self.settings, _examples(self.train_set)
        return train(
            self.network,
            *(data if isinstance(data, tuple) else (data,)),
            validation=_examples(self.test_set),
            optimizer=self.optimizer,
            epochs=self.epochs,
            batch_size=s.batch_size,
            seed=self._rng,
            checkpoint=checkpoint,
            doctor=self.doctor,
        )

    def _optimizer(self) -> optimisers.Optimizer | optimisers.FullBatch:
        s = self.settings
        if s.optimizer == "lbfgs":
            if s.lr is not None or s.clip_norm is not None:
                raise ArgumentError("lbfgs: expected no learning rate and no clipping (it searches along each line itself)")
            if s.dropout:
                raise ArgumentError(f"lbfgs: expected no dropout (its loss is the same at every evaluation), received {s.dropout}")
            return optimisers.lbfgs()
        steps = self.epochs * -(-len(self.train_set) // s.batch_size)
        assert s.lr is not None
        made = optimizer(s.optimizer, schedule(s.schedule, s.lr, steps))
        return made if s.clip_norm is None else optimisers.chain(optimisers.clip_by_norm(s.clip_norm), made)

    def evaluate(self) -> Evaluation:
        """Accuracy, loss (cross-entropy as trained), per-class figures and confusion matrix on the held-out examples."""
        confusion = np.zeros((len(self.data.classes),) * 2, dtype=np.int64)
        loss = plain = 0.0
        diagram: Reliability | None = None
        mistakes = Mistakes()
        for x, t in self.test_set.pieces():
            if not len(t):
                continue
            with np.errstate(all="ignore"):  # a run that diverged may leave large weights; its history says so
                z = self.network.logits(x)
                loss += self.network.objective.reduced(z, t)[0] * len(t)
                plain += log_loss(z, t) * len(t)
            mistakes.add(x, z, t)
            np.add.at(confusion, (t, z.argmax(axis=1)), 1)
            if np.isfinite(z).all():
                part = reliability(z, t)
                diagram = part if diagram is None else joined(diagram, part)
        right, support, found = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        precision, recall, f1 = _ratio(right, found), _ratio(right, support), _ratio(2 * right, found + support)
        n = int(support.sum())
        error = diagram.expected_error if diagram is not None and diagram.examples.sum() == n else math.nan
        whole = (float(right.sum() / n), loss / n, plain / n, float(f1.mean()), error)
        return Evaluation(*whole, precision, recall, f1, support, confusion, diagram, mistakes)


def _examples(data: Dataset | Streamed) -> tuple[Array, Array] | Streamed:
    """As `train` takes them: (x, t), or a source of batches."""
    return (data.x, data.labels) if isinstance(data, Dataset) else data


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, 0 where there is nothing."""
    return part / np.maximum(whole, 1)


def _standardize(coding: Coding, moments: Moments) -> Standardize:
    """Numbers are standardised; the inputs of a category are 0 or 1 and stay so, or a rare one would become very large."""
    numbers = np.array([name not in coding.categories for name in coding.features])
    mean, scale = np.zeros(coding.inputs), np.ones(coding.inputs)
    if numbers.any():
        fitted = Standardize.of(moments.mean[numbers], np.sqrt(moments.variance[numbers]), moments.range[numbers])
        mean[coding.is_number], scale[coding.is_number] = fitted.mean, fitted.scale
    return Standardize(mean, scale)


def _resolved(settings: Settings, examples: int) -> Settings:
    """`settings` with what suits optimiser and data in place of None."""
    whole = settings.optimizer == "lbfgs"
    dropout, epochs, lr = settings.dropout, settings.epochs, settings.lr
    if lr is None and not whole:
        lr = LEARNING_RATES[settings.optimizer]
    if dropout is None:
        dropout = 0.0 if whole else DROPOUT
    if epochs is None:
        needed = -(-STEPS // -(-examples // settings.batch_size))
        epochs = MOST_EPOCHS if whole else min(max(EPOCHS, needed), MOST_EPOCHS)
    return dataclasses.replace(settings, dropout=dropout, epochs=epochs, lr=lr)
