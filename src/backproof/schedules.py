"""Learning rates as functions of the step (0, 1, 2, ...)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from backproof.layers.base import require_count, require_number

Schedule: TypeAlias = Callable[[int], float]


def constant(value: float) -> Schedule:
    """The same learning rate at every step."""
    require_number("constant", "value", value, low=0.0)
    return lambda step: value


def step_decay(value: float, every: int, factor: float = 0.1) -> Schedule:
    """`value`, multiplied by `factor` after each `every` steps.

    >>> [round(step_decay(1.0, 2)(step), 3) for step in range(5)]
    [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    require_number("step_decay", "value", value, low=0.0)
    require_count("step_decay", "every", every)
    require_number("step_decay", "factor", factor, low=0.0)
    return lambda step: value * factor ** (step // every)


def cosine(value: float, steps: int, final: float = 0.0) -> Schedule:
    """From `value` down to `final` in `steps` steps along half a cosine, then constant (Loshchilov & Hutter, ICLR 2017, eq. 5).

    >>> [round(cosine(1.0, 4)(step), 3) for step in (0, 2, 4, 9)]
    [1.0, 0.5, 0.0, 0.0]
    """
    require_number("cosine", "value", value, low=0.0)
    require_count("cosine", "steps", steps)
    return lambda step: final + (value - final) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2


def warm_up(schedule: float | Schedule, steps: int) -> Schedule:
    """Linear growth over the first `steps` steps up to what `schedule` (counted from 0 thereafter) begins with.

    >>> [round(warm_up(1.0, 4)(step), 3) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    require_count("warm_up", "steps", steps)
    after = as_schedule(schedule)
    return lambda step: after(0) * (step + 1) / steps if step < steps else after(step - steps)


def as_schedule(learning_rate: float | Schedule) -> Schedule:
    """A number as a constant schedule; a schedule as it is."""
    if callable(learning_rate):
        return learning_rate
    require_number("optimizer", "learning_rate", learning_rate, low=0.0)
    return constant(learning_rate)
