"""A gradient compared with numerical differentiation at a sample of its entries and along random directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ShapeError
from backproof.arrays import Array
from backproof.gradcheck.numerics import derivative


class Compared(NamedTuple):
    """Vectors of one length: g and n at the compared entries, then along the directions, with the error bars of n.

    places : of the entries in the vector; -1 for a direction.
    """

    places: Array
    claimed: Array
    numerical: Array
    bars: Array


@dataclass(frozen=True)
class Agreement:
    """How a gradient g compares with numerical derivatives n of the same function.

    relative_difference is |g - n| / (|g| + |n|) over what was compared; `wrong` are the indices of compared entries whose
    difference exceeds ten error bars (and rounding): by more than the numerical derivative can be off.
    compared : what was compared, entries first, then directions.

    >>> agreement = Agreement(1e-12, entries=100, directions=8, size=5000, wrong=(), directions_wrong=0)
    >>> print(agreement.ok, agreement)
    True agrees, relative difference 1.0e-12 over 100 of 5,000 parameters and 8 random directions
    """

    relative_difference: float
    entries: int
    directions: int
    size: int
    wrong: tuple[int, ...]
    directions_wrong: int
    compared: Compared | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether nothing that was compared is wrong."""
        return not self.wrong and not self.directions_wrong

    def as_json(self) -> dict[str, Any]:
        """The figures, without the numbers behind them."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "compared"}

    def __str__(self) -> str:
        verdict = "agrees" if self.ok else f"DISAGREES at {len(self.wrong)} entries and {self.directions_wrong} directions"
        return (
            f"{verdict}, relative difference {self.relative_difference:.1e} "
            f"over {self.entries:,} of {self.size:,} parameters and {self.directions} random directions"
        )


def compare_gradient(
    function: Callable[[Array], float],
    gradient: Array,
    theta: Array,
    *,
    entries: int = 200,
    directions: int = 8,
    rng: np.random.Generator | None = None,
    step: float = 1e-3,
    rtol: float = 1e-7,
) -> Agreement:
    """Compare `gradient`, claimed to be that of `function` at `theta` (float64, (P,)), with `derivative`.

    All entries are taken if there are at most `entries`, else a random sample; the Gaussian directions involve every entry.
    `step` is the first, largest step of the numerical derivative.
    `rtol` is the part of a value that rounding within `gradient` itself may explain.

    Raises `ShapeError` for vectors of two lengths.

    >>> import numpy as np
    >>> theta = np.array([1.0, 2.0])
    >>> compare_gradient(lambda p: float(p @ p), 2 * theta, theta).ok, compare_gradient(lambda p: float(p @ p), theta, theta).wrong
    (True, (0, 1))
    """
    if theta.ndim != 1 or gradient.shape != theta.shape:
        raise ShapeError(f"compare_gradient: expected vectors of one length, received shapes {theta.shape} and {gradient.shape}")
    rng = np.random.default_rng(0) if rng is None else rng
    theta, gradient = theta.astype(np.float64), gradient.astype(np.float64)
    size = theta.size
    chosen = np.arange(size) if size <= entries else np.sort(rng.choice(size, entries, replace=False))
    numerical, bars = np.empty(len(chosen)), np.empty(len(chosen))
    for k, i in enumerate(chosen):
        unit = np.zeros(size)
        unit[i] = 1.0
        numerical[k], bars[k] = _along(function, theta, unit, step * max(1.0, abs(theta[i])), abs(theta[i]))
    scale = float(np.abs(gradient).max(initial=0.0))
    allowed = 10 * bars + rtol * np.maximum(np.abs(numerical), np.abs(gradient[chosen])) + 1e-14 * scale
    wrong = chosen[~(np.abs(gradient[chosen] - numerical) <= allowed)]
    claimed: list[float] = gradient[chosen].tolist()
    found: list[float] = numerical.tolist()
    along: list[float] = []
    directions_wrong = 0
    for _ in range(directions):
        unit = rng.normal(size=size)
        unit /= np.linalg.norm(unit)
        value, bar = _along(function, theta, unit, step, float(np.abs(theta).max(initial=0.0)))
        product = float(gradient @ unit)
        directions_wrong += not abs(product - value) <= 10 * bar + rtol * max(abs(value), abs(product)) + 1e-14 * scale
        claimed.append(product)
        found.append(value)
        along.append(bar)
    difference = float(np.linalg.norm(np.subtract(claimed, found)))
    total = float(np.linalg.norm(claimed) + np.linalg.norm(found))
    nothing = total <= 10 * (np.linalg.norm(bars) + directions * bars.max(initial=0.0))  # both are zero, to within the error bars
    places = np.concatenate([chosen, np.full(directions, -1)])
    compared = Compared(places, np.array(claimed), np.array(found), np.concatenate([bars, along]))
    relative = 0.0 if nothing else difference / total
    return Agreement(relative, len(chosen), directions, size, tuple(map(int, wrong)), directions_wrong, compared)


def _along(function: Callable[[Array], float], theta: Array, direction: Array, step: float, at: float) -> tuple[float, float]:
    value, error = derivative(lambda h: function(theta + h * direction), step, at=at)
    return float(value), float(error)
