"""What each parameter of an estimator may be, declared in a table, and the one error that says otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from backproof._errors import ArgumentError
from backproof.choices import ACTIVATIONS, LEARNING_RATES, SCHEDULES
from backproof.layers import Layer
from backproof.losses import Loss
from backproof.optimisers import FullBatch, Optimizer


@dataclass(frozen=True)
class Legal:
    """A set of legal values, in words and as a test; `a | b` is their union.

    >>> rule = number(0.0, below=1.0) | one_of("auto")
    >>> rule.expected, rule.holds(0.5), rule.holds(1.0)
    ("a number at least 0 and below 1 or 'auto'", True, False)
    """

    expected: str
    holds: Callable[[Any], bool]

    def __or__(self, other: Legal) -> Legal:
        return Legal(f"{self.expected} or {other.expected}", lambda value: self.holds(value) or other.holds(value))


def number(low: float, below: float = math.inf, *, above: bool = False) -> Legal:
    """A finite number from `low` (or above it) and below `below`."""
    bound = f"{'above' if above else 'at least'} {low:g}" + (f" and below {below:g}" if below < math.inf else "")
    return Legal(f"a number {bound}", lambda v: _is_real(v) and (low < v if above else low <= v) and v < below)


def count(low: int = 1) -> Legal:
    return Legal(f"a whole number from {low}", lambda v: _is_real(v) and isinstance(v, Integral) and int(v) >= low)


def one_of(*names: str) -> Legal:
    return Legal(" or ".join(map(repr, names)), lambda v: isinstance(v, str) and v in names)


def instance(expected: str, *kinds: type) -> Legal:
    return Legal(expected, lambda v: isinstance(v, kinds))


NONE = Legal("None", lambda v: v is None)
FLAG = Legal("True or False", lambda v: isinstance(v, bool | np.bool_))
FUNCTION = Legal("a function", callable)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_hidden(value: object) -> bool:
    """Sizes and Layers in any mixture, or a single one of either."""
    parts = value if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else [value]
    return all(isinstance(part, Layer) or count().holds(part) for part in parts)


COMMON: dict[str, Legal] = {
    "hidden": Legal("whole numbers from 1 (sizes) and Layers", _is_hidden),
    "activation": one_of(*ACTIVATIONS) | instance("a Layer such as backproof.LeakyReLU(0.1)", Layer),
    "optimizer": one_of(*LEARNING_RATES) | instance("an optimizer such as backproof.adam(1e-3)", Optimizer, FullBatch),
    "learning_rate": NONE | number(0.0, above=True),
    "schedule": one_of(*SCHEDULES) | Legal("a function of the step", callable),
    "l2": number(0.0),
    "dropout": number(0.0, below=1.0),
    "epochs": count(),
    "batch_size": count(),
    "early_stopping": FLAG,
    "scoring": NONE | Legal("a scorer's name or 'loss'", lambda v: isinstance(v, str)) | FUNCTION,
    "validation_fraction": NONE | number(0.0, below=1.0, above=True),
    "n_iter_no_change": count(),
    "tol": number(0.0),
    "warm_start": FLAG,
    "compiled": NONE | FLAG,
    "random_state": NONE | count(0) | instance("a random generator", np.random.RandomState, np.random.Generator),
    "verbose": FLAG | count(0),
}

CLASSIFIER = COMMON | {
    "loss": one_of("auto", "cross-entropy", "kl-divergence", "binary-cross-entropy", "squared-error", "huber")
    | instance("a Loss such as backproof.CrossEntropy()", Loss),
    "label_smoothing": number(0.0, below=1.0),
    "class_weight": NONE | one_of("balanced") | instance("a dictionary of weights by class", Mapping),
    "targets": one_of("labels", "probabilities"),
}

REGRESSOR = COMMON | {
    "loss": one_of("squared-error", "huber") | instance("a Loss such as backproof.Huber(0.5)", Loss),
}


def require_legal(owner: str, parameters: Mapping[str, Any], table: Mapping[str, Legal]) -> None:
    """Raise `ArgumentError`, naming the parameter, what was expected and what was received, at the first that is not legal."""
    for name, rule in table.items():
        value = parameters[name]
        if not rule.holds(value):
            raise ArgumentError(f"{owner}: expected {name} to be {rule.expected}, received {value!r}")


def as_sequence(hidden: object) -> Iterable[Any]:
    """`hidden` as a sequence: a single size or Layer is one of one."""
    return hidden if isinstance(hidden, Sequence | np.ndarray) else [hidden]
