"""The registry of right and wrong gradients (tests/broken, tests/right) that the check is tested with.

A case is a factory: each build has fresh state. It returns (target, inputs) or (target, inputs, backward).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

CASES: list[Case] = []


@dataclass(frozen=True)
class Case:
    """kind: "broken", "note" or "right". want: causes that are right as the first finding, the best first (several only where
    a black
    box cannot tell them apart). input: acceptable positions of the input, None if it is not judged. factor: yours / true."""

    name: str
    build: Callable[[], tuple[Any, ...]]
    kind: str
    want: tuple[str, ...]
    input: tuple[int, ...] | None
    factor: float | None
    operation: str

    def make(self) -> tuple[Any, tuple[Any, ...], Any]:
        made = self.build()
        return made[0], tuple(made[1]), made[2] if len(made) > 2 else None


def R(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_jax() -> tuple[Any, Any]:
    """(jax, jax.numpy), or the test is skipped."""
    jax = pytest.importorskip("jax")
    return jax, jax.numpy


def _register(kind: str, want: tuple[str, ...], input: Any = None, factor: float | None = None) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        positions = None if input is None else input if isinstance(input, tuple) else (input,)
        CASES.append(Case(function.__name__, function, kind, want, positions, factor, function.__name__.partition("_")[2]))
        return function

    return decorate


def broken(*want: str, input: Any = None, factor: float | None = None) -> Callable[[Any], Any]:
    return _register("broken", want, input, factor)


def note(*want: str) -> Callable[[Any], Any]:
    """Not a bug: `ok` stays True, and the note is among the findings ("" = no note is as right)."""
    return _register("note", want)


right = _register("right", ())
