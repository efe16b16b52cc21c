"""From an estimator's parameters to the network, its loss, its optimiser and the weights of the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.choices import LEARNING_RATES, LOSSES, hidden_layer, optimizer, schedule
from backproof.estimators.legal import as_sequence
from backproof.estimators.targets import Coding
from backproof.layers import Layer, Linear
from backproof.losses import BinaryCrossEntropy, CrossEntropy, Loss
from backproof.optimisers import FullBatch, Optimizer, lbfgs
from backproof.schedules import delayed


def layers_of(hidden: object, activation: str | Layer, dropout: float, coding: Coding) -> list[Layer]:
    """The hidden layers, sizes with activation and dropout behind them and Layers as they are, and the coding's output layer."""
    stack: list[Layer] = []
    for part in as_sequence(hidden):
        stack += [part] if isinstance(part, Layer) else hidden_layer(int(part), activation, dropout)
    return [*stack, Linear(coding.outputs), coding.output_layer()]


def loss_of(owner: str, loss: str | Loss, coding: Coding, label_smoothing: float = 0.0, factors: Array | None = None) -> Loss:
    """The loss for a classifier's targets, with smoothed labels and factors by class where they belong to the loss."""
    link = "sigmoid" if coding.kind == "indicators" else "softmax"
    if isinstance(loss, str) and loss != "auto":
        loss = LOSSES[loss]()
    made = loss if isinstance(loss, Loss) else BinaryCrossEntropy() if link == "sigmoid" else CrossEntropy()
    if made.link not in (link, "identity"):
        fits = "binary-cross-entropy" if link == "sigmoid" else "cross-entropy"
        raise ArgumentError(f"{owner}: expected a loss for y that is {coding.kind}, such as {fits!r}, received {made!r}")
    options: dict[str, Any] = {}
    if label_smoothing and coding.kind != "indicators":  # there it is done to the targets
        options["label_smoothing"] = label_smoothing
    if factors is not None and coding.kind != "labels":  # there they are weights of the examples
        options["class_weight"] = factors
    for name in options:
        if not hasattr(made, name) or getattr(made, name) not in (None, 0.0):
            raise ArgumentError(
                f"{owner}: expected no {name} beside the loss {made!r}, received {getattr(made, name, options[name])!r}"
            )
    return dataclasses.replace(made, **options)


def smoothed(t: Array, coding: Coding, label_smoothing: float) -> Array:
    """Indicators drawn towards one half: each label is a distribution over on and off (Szegedy et al., CVPR 2016)."""
    return (1 - label_smoothing) * t + label_smoothing / 2 if label_smoothing and coding.kind == "indicators" else t


def class_factors(owner: str, class_weight: Any, coding: Coding, t: Array, weights: Array | None) -> Array | None:
    """`class_weight` as one factor a class. "balanced": inversely as the weight that the class has in the data, 1 on average."""
    if class_weight is None:
        return None
    classes = coding.classes.tolist()
    if isinstance(class_weight, Mapping):
        unknown = [name for name in class_weight if name not in classes]
        if unknown:
            raise ArgumentError(f"{owner}: expected class_weight by the classes {classes}, received {unknown[0]!r}")
        factors = np.array([class_weight.get(name, 1.0) for name in classes], dtype=np.float64)
        if not (np.isfinite(factors) & (factors >= 0)).all():
            raise ArgumentError(f"{owner}: expected class_weight to be finite and not negative, received {class_weight!r}")
        return factors
    if coding.kind == "indicators":
        raise ArgumentError(f"{owner}: expected class_weight by label for a matrix of labels, received {class_weight!r}")
    present = np.eye(coding.outputs)[t] if coding.kind == "labels" else t
    mass: Array = np.ones(len(t)) @ present if weights is None else weights @ present
    balanced: Array = np.divide(mass.sum(), np.count_nonzero(mass) * mass, out=np.zeros_like(mass), where=mass > 0)
    return balanced


def weights_of(owner: str, factors: Array | None, coding: Coding, t: Array, weights: Array | None) -> Array | None:
    """The weights of the examples with the factors of their labels in them."""
    if factors is None or coding.kind != "labels":
        return weights
    found = factors[t] if weights is None else weights * factors[t]
    if not found.any():
        raise ArgumentError(f"{owner}: expected an example whose weight is not zero, received zero for each by class_weight")
    return found


def optimizer_of(owner: str, parameters: Mapping[str, Any], steps: int, begun: int) -> Optimizer | FullBatch:
    """The optimiser that the parameters name; a schedule that is named lasts `steps` steps from the step `begun` on."""
    chosen, rate, plan = (parameters[name] for name in ("optimizer", "learning_rate", "schedule"))
    if not isinstance(chosen, str) or chosen == "lbfgs":
        if rate is not None or plan != "constant":
            kept = "no learning_rate and no schedule with lbfgs" if chosen == "lbfgs" else "both in an optimizer that is no name"
            raise ArgumentError(f"{owner}: expected {kept}, received learning_rate={rate!r}, schedule={plan!r}")
        return lbfgs() if isinstance(chosen, str) else chosen
    if callable(plan):
        if rate is not None:
            raise ArgumentError(f"{owner}: expected learning_rate=None beside a schedule that is a function, received {rate!r}")
        return optimizer(chosen, plan)
    rate = LEARNING_RATES[chosen] if rate is None else float(rate)
    return optimizer(chosen, rate if plan == "constant" else delayed(schedule(plan, rate, steps), begun))


def generator_of(random_state: Any) -> np.random.Generator:
    """The generator for a `random_state` as scikit-learn has them; a Generator is taken as it is."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_random_state(random_state).randint(0, 2**32, size=4, dtype=np.uint32))
