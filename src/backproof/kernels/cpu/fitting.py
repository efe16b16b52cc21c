"""Which rows two words hold: what may be known before their exponentials, and what only these tell.

A row that does not fit has a largest logit of FARTHEST or more, logits too far below it (but not so far that they count nothing:
MASKED), nan, or a weight that would make subnormal numbers of low words. It depends on the row alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.lanes import lanes_of, larger, largest_lane, smaller, smallest_lane
from backproof.kernels.cpu.registers import every_half, load_half
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.two_words import FARTHEST, farthest, misfits, reduced_words, shift_for
from backproof.kernels.rows import where_greater

MASKED = 105.0  # so far below the largest, a probability rounds to 0: e^-105 < 2^-150, half the least number there is
TOO_FAR = 49.7  # a step less than 2^-72 of the largest: without nan and what is masked, such rows fit
LIGHTEST = 2.0**-40  # times n: a weight with which no result is so small that its low word's product has too few digits


@compiled(late=True)
def reduced(x: Any, tops: Any, bound: Any, nothing: Any, shift: Any, masked: bool) -> tuple[Any, Any, Any, Any]:
    """`reduced_words`; if `masked`, 2^n is 0 for what lies below the bound."""
    if not masked:
        return reduced_words(x, shift)
    r, rest, power, shifted = reduced_words(where_greater(bound, x, tops, x), shift)
    return r, rest, where_greater(bound, x, nothing, power), shifted


@compiled(late=True)
def weight_fits(weight: float, masked: bool, n: int) -> bool:
    """Whether no result has a low word that is too small; of what is masked, whether it stays nothing."""
    return abs(weight) >= n * LIGHTEST and (abs(weight) <= 1.0 or not masked)


@compiled()
def may_fit(top: float, least: float, weight: float, n: int) -> bool:
    """Whether the row may fit, by what is known of it before its exponentials. A weight of 0 minds nothing."""
    masked = least < narrowed(top - MASKED)
    if not abs(top) < FARTHEST or (least < top - TOO_FAR and not masked):
        return False
    return weight == 0.0 or weight_fits(weight, masked, n)


@compiled(late=True)
def ends(high: Any, low: Any) -> tuple[float, float]:
    """The largest lane of the one, the smallest of the other."""
    return np.float64(largest_lane(high)), np.float64(smallest_lane(low))


@compiled()
def extremes(like: Any, x: Any, n: int) -> tuple[float, float]:
    """The largest and the smallest logit, without regard to nan."""
    lanes = lanes_of(like) // 2
    high = low = load_half(x, n - lanes)
    for i in range(0, n - lanes + 1, lanes):
        high = larger(load_half(x, i), high)
        low = smaller(load_half(x, i), low)
    return ends(high, low)


@compiled()
def fits(like: Any, x: Any, n: int) -> bool:
    """Whether three_rows would find that the row fits, whatever its weight."""
    top, least = extremes(like, x, n)
    if not may_fit(top, least, 0.0, n):
        return False
    lanes = lanes_of(like) // 2
    tops, bound, nothing = every_half(like, top), every_half(like, top - MASKED), every_half(like, 0.0)
    shift, reach = shift_for(tops), nothing
    for i in range(0, n - lanes + 1, lanes):
        reach = farthest(reach, reduced(load_half(x, i), tops, bound, nothing, shift, True)[3])
    reach = farthest(reach, reduced(load_half(x, n - lanes), tops, bound, nothing, shift, True)[3])
    return misfits(reach, True) == 0
