"""What the tables of wrong and right gradients have in common: a case, the forwards many of them share, seeded draws.

These cases were written from the contract alone, without a look at the check. Each module has a list CASES; `gather` joins them.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Case:
    """One target, its inputs, and what the first finding must say.

    name: "operation: what is wrong". input: the position of the input that is wrong, where only one is. factor: yours / true.
    also: causes that are just as right an answer for this black box. source: the thread of a real one.
    A right gradient has the cause "".
    """

    name: str
    cause: str
    target: Any
    inputs: tuple[Any, ...]
    backward: Callable[..., Any] | None = None
    input: int | None = None
    factor: float | None = None
    source: str = ""
    also: tuple[str, ...] = ()

    @property
    def operation(self) -> str:
        return self.name.partition(":")[0]

    @property
    def wanted(self) -> tuple[str, ...]:
        return (self.cause, *self.also)

    def fresh(self) -> tuple[Any, tuple[Any, ...], Callable[..., Any] | None]:
        """(target, inputs, backward) which nobody has called or written to yet."""
        return copy.deepcopy(self.target), tuple(copied(x) for x in self.inputs), self.backward


def copied(x: Any) -> Any:
    """A copy with the same memory layout: a view of a copy where it is a view."""
    if not isinstance(x, np.ndarray):
        return x.detach().clone() if hasattr(x, "detach") else copy.deepcopy(x)
    if not isinstance(x.base, np.ndarray) or x.size == 0:
        return x.copy()
    whole = x.base.copy(order="C")
    if whole.strides != x.base.strides:
        return x.copy()
    start = x.__array_interface__["data"][0] - x.base.__array_interface__["data"][0]
    return np.ndarray(x.shape, x.dtype, buffer=whole, offset=start, strides=x.strides)


def gather(package: str) -> list[Case]:
    """The cases of all modules of a package, in order."""
    modules = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [case for m in modules for case in getattr(importlib.import_module(f"{package}.{m.name}"), "CASES", [])]


def draw(seed: int, *shape: int, scale: float = 1.0, shift: float = 0.0, dtype: Any = np.float64) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) * scale + shift).astype(dtype)


def uniform(seed: int, *shape: int, low: float = 0.2, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, size=shape)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(z, axis=-1):
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def logsumexp(z, axis=-1, keepdims=False):
    top = z.max(axis=axis, keepdims=True)
    out = top + np.log(np.exp(z - top).sum(axis=axis, keepdims=True))
    return out if keepdims else np.squeeze(out, axis=axis)


def log_softmax(z, axis=-1):
    return z - logsumexp(z, axis, keepdims=True)


def total(x, axis=-1):
    return x.sum(axis=axis, keepdims=True)


def mean(x, axis=-1):
    return x.mean(axis=axis, keepdims=True)


def standardise(x, axis=-1, eps=1e-5):
    """(x - mean) / sqrt(variance + eps): layer norm over the last axis, batch norm over the first, without gamma and beta."""
    return (x - mean(x, axis)) / np.sqrt(x.var(axis=axis, keepdims=True) + eps)


def deviation(x, axis=-1, eps=1e-5):
    return np.sqrt(x.var(axis=axis, keepdims=True) + eps)


def root_mean_square(x, axis=-1, eps=1e-6):
    return np.sqrt(mean(x * x, axis) + eps)


def length(x, axis=-1):
    return np.sqrt(total(x * x, axis))


def one_hot(labels, classes):
    return np.eye(classes)[labels]
