"""What is said about a training run: one rule, one symptom, one line. A new rule is a function and a place in RULES.

Rules of `Vitals` look at the network at the end of an epoch, each once a run; rules of `Examples` at the data before the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from backproof.arrays import Array
from backproof.doctor.vitals import LayerVitals, Vitals


class Remark(NamedTuple):
    """What is wrong, and what to try.

    >>> print(Remark("saturated", "layer 2 (Tanh) is saturated", "try a smaller learning rate"))
    layer 2 (Tanh) is saturated; try a smaller learning rate
    """

    name: str
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.text}; {self.advice}"


class Examples(NamedTuple):
    """The data as they enter, in random order: x (N, features) and labels (N,) as whole numbers, for classes 0 to `classes` - 1."""

    x: Array
    labels: Array
    classes: int


Rule = Callable[[Vitals], Remark | None]
DataRule = Callable[[Examples], Remark | None]

HALF = 0.5
DEAD = 0.4  # share of dead units: some are usual with rectifiers
VANISHED = 1e-4  # of the gradient of the last weights, what reaches the first ones
SMALL, LARGE = 1e-6, 0.1  # of the weights, what a step changes; about 1e-3 is usual
FEW_STEPS = 50  # before so many, sizes of steps say nothing
RISE = 1.05  # the held-out loss over its smallest
PATIENCE = 5  # epochs
IMBALANCE = 20.0  # examples of the largest class for one of the smallest
LEAK = 0.995  # of the examples, how many stand beside their class in the order of one feature
SCREENED = 512  # examples


def _at(layer: LayerVitals) -> str:
    return f"layer {layer.index} ({layer.name})"


def saturated(vitals: Vitals) -> Remark | None:
    """Most of a hidden layer's outputs are at an end of their range, where the slope is almost 0."""
    worst = max(vitals.layers[:-1], key=lambda layer: -1.0 if math.isnan(layer.saturated) else layer.saturated, default=None)
    if worst is None or not worst.saturated > HALF:
        return None
    return Remark(
        "saturated",
        f"{_at(worst)}: {worst.saturated:.0%} of its outputs are saturated, and pass almost no gradient back",
        "try standardised inputs, smaller initial weights, a lower learning rate",
    )


def dead(vitals: Vitals) -> Remark | None:
    """Units that give the same for every example learn nothing."""
    worst = max(vitals.layers[:-1], key=lambda layer: -1.0 if math.isnan(layer.dead) else layer.dead, default=None)
    if worst is None or not worst.dead > DEAD:
        return None
    return Remark(
        "dead",
        f"{_at(worst)}: {worst.dead:.0%} of its units give the same for every example",
        "try a lower learning rate, LeakyReLU, He's initial weights",
    )


def vanishing(vitals: Vitals) -> Remark | None:
    """Little of the gradient reaches the first weights (Hochreiter 1991; Glorot & Bengio 2010)."""
    if len(vitals.trained) < 2:
        return None
    first, last = vitals.trained[0], vitals.trained[-1]
    if not last.gradient > 0.0 or not first.gradient < VANISHED * last.gradient:
        return None
    return Remark(
        "vanishing",
        f"{_at(first)}: its gradient is {first.gradient / last.gradient:.0e} of that of {_at(last)}",
        "try ReLU or residual layers instead of sigmoids, fewer layers",
    )


def exploding(vitals: Vitals) -> Remark | None:
    """The gradient has grown a thousandfold since the first epoch."""
    norms = vitals.gradient_norms
    if len(norms) < 2 or not norms[0] > 0.0 or not norms[-1] > 1e3 * norms[0]:
        return None
    return Remark(
        "exploding",
        f"the gradient is {norms[-1] / norms[0]:.0e} times as long as after the first epoch",
        "try a lower learning rate, clip_by_norm",
    )


def large_steps(vitals: Vitals) -> Remark | None:
    """A step changes the weights by a tenth of their size or more."""
    if vitals.step < FEW_STEPS:
        return None
    worst = max(vitals.trained, key=lambda layer: _share(layer), default=None)
    if worst is None or not _share(worst) > LARGE:
        return None
    return Remark(
        "large steps",
        f"{_at(worst)}: a step changes its weights by {_share(worst):.0%} of their size (about 0.1% is usual)",
        "try a lower learning rate",
    )


def small_steps(vitals: Vitals) -> Remark | None:
    """No layer's weights move, and the loss does not fall."""
    if vitals.step < FEW_STEPS or len(vitals.train_losses) < 2 or not vitals.trained:
        return None
    largest = max(_share(layer) for layer in vitals.trained)
    falling = vitals.train_losses[-1] < 0.999 * vitals.train_losses[0]
    if not largest < SMALL or falling:
        return None
    return Remark(
        "small steps",
        f"the loss does not fall, and a step changes no layer's weights by more than {largest:.0e} of their size (1e-3 is usual)",
        "try a higher learning rate",
    )


def _share(layer: LayerVitals) -> float:
    return layer.update / layer.weight if layer.weight > 0 and not math.isnan(layer.update) else 0.0


def overfitting(vitals: Vitals) -> Remark | None:
    """The held-out loss has passed its smallest value while the training loss still falls."""
    held, trained = vitals.validation_losses, vitals.train_losses
    if len(held) <= PATIENCE:
        return None
    best = int(np.argmin(held))
    since = len(held) - 1 - best
    if since < PATIENCE or not held[-1] > RISE * held[best] or not trained[-1] < trained[best]:
        return None
    return Remark(
        "overfitting",
        f"the held-out loss rises since epoch {best + 1} ({held[best]:.3g} then, {held[-1]:.3g} now) while the training loss falls",
        "try early stopping, dropout, l2, label smoothing, more data",
    )


def no_better(vitals: Vitals) -> Remark | None:
    """After some epochs the loss is still that of biases alone, which know no more than how frequent each class is."""
    if len(vitals.train_losses) < PATIENCE or vitals.step < FEW_STEPS or not min(vitals.train_losses) > 0.98 * vitals.baseline:
        return None
    return Remark(
        "no better than the biases",
        f"the loss, {vitals.train_losses[-1]:.3g}, is no better than guessing by the classes' frequencies ({vitals.baseline:.3g})",
        "look whether inputs and labels belong together; try another learning rate, fewer layers, less regularisation",
    )


def baseline(labels: Array, classes: int, smoothing: float = 0.0) -> float:
    """The least cross-entropy of a classifier that sees no features: the entropy, in nats, of the mean (smoothed) target."""
    shares = (1 - smoothing) * np.bincount(labels, minlength=classes) / len(labels) + smoothing / classes
    shares = shares[shares > 0]
    return float(-(shares @ np.log(shares)))


def imbalance(examples: Examples) -> Remark | None:
    """Rare classes count little in a mean over examples."""
    counts = np.bincount(examples.labels, minlength=examples.classes)
    present = counts[counts > 0]
    if present.size < 2 or not present.max() > IMBALANCE * present.min():
        return None
    return Remark(
        "imbalance",
        f"the largest class has {present.max() / present.min():.0f} times as many examples as the smallest; accuracy says little",
        'try class_weight="balanced", and watch macro-F1',
    )


def leak(examples: Examples) -> Remark | None:
    """One feature alone tells the classes apart: often the label in disguise.

    In the order of such a feature the label changes where a class ends, and hardly ever else. Some hundred examples show which
    feature it may be, all of them whether it is.
    """
    x, labels = examples.x, examples.labels
    counts = np.bincount(labels)
    if len(labels) < 50 or counts.max() > 0.9 * len(labels):
        return None
    feature = int(_changes(x[:SCREENED], labels[:SCREENED]).argmin())
    needless = int(_changes(x[:, [feature]], labels)[0]) - (np.count_nonzero(counts) - 1)
    share = 1 - needless / (2 * len(labels))  # an example among those of another class makes two
    if not share > LEAK:
        return None
    return Remark(
        "leak",
        f"feature {feature} alone tells the classes apart ({share:.1%} of the examples, in its order, stand with their class)",
        "look whether it is the label in disguise",
    )


def _changes(x: Array, labels: Array) -> Array:
    """How often the label changes in the order of each feature. Examples of one value stay in the order in which they come."""
    in_order = labels[np.argsort(x, axis=0, kind="stable")]
    return np.asarray(np.count_nonzero(in_order[1:] != in_order[:-1], axis=0))


RULES: tuple[Rule, ...] = (exploding, saturated, dead, vanishing, large_steps, small_steps, no_better, overfitting)
DATA_RULES: tuple[DataRule, ...] = (imbalance, leak)
