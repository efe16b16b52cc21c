"""Learning rates as functions of the step (0, 1, 2, ...).

A schedule is a module's function with its first arguments filled in, and not a closure: so it can be pickled, and travels with an
estimator to another process.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from backproof.layers.base import require_count, require_number

Schedule: TypeAlias = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same learning rate at every step. Raises `ArgumentError` for a negative one.

    >>> constant(0.1)(1000)
    0.1
    """
    require_number("constant", "value", value, low=0.0)
    return partial(_constant, value)


def step_decay(value: float, every: int, factor: float = 0.1) -> Schedule:
    """`value`, multiplied by `factor` after each `every` steps. Raises `ArgumentError` for numbers below 0, or `every` below 1.

    >>> [round(step_decay(1.0, 2)(step), 3) for step in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    require_number("step_decay", "value", value, low=0.0)
    require_count("step_decay", "every", every)
    require_number("step_decay", "factor", factor, low=0.0)
    return partial(_step_decay, value, every, factor)


def cosine(value: float, steps: int, final: float = 0.0) -> Schedule:
    """From `value` down to `final` in `steps` steps along half a cosine, then constant (Loshchilov & Hutter, ICLR 2017, eq. 5).

    Raises `ArgumentError` for a negative value, or fewer than one step.

    >>> [round(cosine(1.0, 4)(step), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    require_number("cosine", "value", value, low=0.0)
    require_count("cosine", "steps", steps)
    return partial(_cosine, value, steps, final)


def warm_up(schedule: float | Schedule, steps: int) -> Schedule:
    """Linear growth over the first `steps` steps up to what `schedule` (counted from 0 thereafter) begins with.

    Source: Goyal et al., arXiv 1706.02677, section 2.2. Raises `ArgumentError` for fewer than one step, or a negative rate.

    >>> [round(warm_up(1.0, 4)(step), 3) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    require_count("warm_up", "steps", steps)
    return partial(_warm_up, as_schedule(schedule), steps)


def delayed(schedule: float | Schedule, begins: int) -> Schedule:
    """`schedule`, counted from the step `begins`: for training that goes on after so many steps, under a schedule of its own.

    >>> delayed(cosine(1.0, 4), 10)(12)
    0.5
    """
    return partial(_delayed, as_schedule(schedule), begins)


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """A number as a constant schedule; a schedule as it is."""
    if callable(learning_rate):
        return learning_rate
    require_number("optimizer", "learning_rate", learning_rate, low=0.0)
    return constant(learning_rate)


def _constant(value: float, step: int) -> float:
    return value


def _step_decay(value: float, every: int, factor: float, step: int) -> float:
    return value * factor ** (step // every)


def _cosine(value: float, steps: int, final: float, step: int) -> float:
    return final + (value - final) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2


def _warm_up(after: Schedule, steps: int, step: int) -> float:
    return after(0) * (step + 1) / steps if step < steps else after(step - steps)


def _delayed(schedule: Schedule, begins: int, step: int) -> float:
    return schedule(step - begins)
