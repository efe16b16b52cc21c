"""Where a training stands: the records so far, the best weights so far, how far the running epoch is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.examples import Batch
from backproof.layers.base import require_count, require_number


@dataclass(frozen=True)
class Record:
    """One epoch of training.

    train_loss is the mean over the epoch's batches as they were trained on (dropout included, penalty included);
    validation_loss (without the penalty) and the metrics are taken at the epoch's end. gradient_norm is that of the epoch's
    last step. seconds counts from the start of the first epoch; what must be compiled is compiled before. remarks: what a doctor
    has found wrong by then, each thing once.

    >>> Record(epoch=1, step=32, train_loss=0.7, validation_loss=0.6, metrics={"validation_accuracy": 0.9}).score("validation_loss")
    0.6
    """

    epoch: int
    step: int
    train_loss: float
    validation_loss: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = 0.0
    seconds: float = 0.0
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "remarks", tuple(self.remarks))  # from a file they come as a list

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

    Raises `ArgumentError` for a patience below 1, a negative min_change, or another mode. Source: Prechelt, Early stopping - but
    when?, in Neural Networks: Tricks of the Trade (1998).

    >>> EarlyStopping(patience=5).better(0.5, 0.6), EarlyStopping("validation_accuracy").better(0.5, 0.6)
    (True, False)
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


class Progress:
    """Where a training stands, in whole epochs (`records`) and within the running one.

    row, loss : examples of the running epoch that were trained on, and the sum of their losses.
    drawn : the generator's state before the order of that epoch was drawn.
    best, waited : of early stopping, the best score and its weights, and the epochs since.
    seconds : spent before this process.
    keep : called with the number of steps, and of whole epochs at the end of one.
    """

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.row, self.loss = 0, 0.0
        self.drawn: Any = None
        self.best: tuple[float, Array] | None = None
        self.waited, self.seconds = 0, 0.0
        self.keep: Callable[[int, int | None], None] | None = None

    def left(self, batches: Iterator[Batch], rng: np.random.Generator) -> Iterator[Batch]:
        """What is left of the `batches` of a whole epoch, whose order is drawn from `rng` when the first is asked for.

        In the midst of an epoch it is drawn again from the state it was drawn from, and the generator put back.
        """
        bits = rng.bit_generator
        now = bits.state
        if self.row == 0:
            self.drawn = now
            return batches
        bits.state, passed = self.drawn, 0
        while passed < self.row:
            passed += len(next(batches)[0])
        bits.state = now
        return batches

    def after_step(self, count: int, loss: float, examples: int, last: bool) -> None:
        """Step number `count` was made; what is kept after an epoch's `last` step has its record, too."""
        self.row += examples
        self.loss += loss * examples
        if self.keep is not None and not last:
            self.keep(count, None)

    def after_epoch(self, record: Record, rule: EarlyStopping | None, parameters: Array) -> None:
        self.records.append(record)
        self.row, self.loss = 0, 0.0
        if rule is not None:
            score = record.score(rule.score)
            if self.best is None or rule.better(score, self.best[0]):
                self.best, self.waited = (score, parameters.copy()), 0
            else:
                self.waited += 1
        if self.keep is not None:
            self.keep(record.step, record.epoch)

    def is_over(self, rule: EarlyStopping | None) -> bool:
        """Whether early stopping ends the training here."""
        return rule is not None and self.waited >= rule.patience
