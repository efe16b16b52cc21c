"""What rounding does to a difference: the noise of a function, measured; and slopes from four evaluations that know it.

Everything here is about functions on a line, of which only values can be had. `noise` finds how much those values jitter, `rounding`
what the jitter does to a difference quotient, `quick` makes many columns of a Jacobian at once and says which it could not settle.
"""

from __future__ import annotations

from math import comb
from typing import Protocol

import numpy as np

from backproof.arrays import Array

EPS64 = 2.0**-52
SAFETY = 4.0  # a bar of four standard deviations, or of four units in the last place: what 99.9 % asks for, and some for underestimates


class Line(Protocol):
    """m outputs along a line through the point: steps (k,) of any sign -> the steps taken (k,), the outputs there (k, m).

    The steps taken differ from those asked for where the input has few digits (x + h rounded, minus x); nan or inf in the outputs is
    where the line has left the domain. Every step is one evaluation of the function.
    """

    def __call__(self, steps: Array, /) -> tuple[Array, Array]: ...


def power_of_two(size: float) -> float:
    """The largest power of two that is not above `size`: steps that are, times a power of two, lose nothing in x + h."""
    return float(2.0 ** np.floor(np.log2(size))) if 0 < size < np.inf else 1.0


def rounding(scale: Array, noise: Array, epsilon: Array | float, slope: Array | float, moved: float) -> Array:
    """How far a value of the function may be off, of the size `scale`, all broadcast against each other.

    4 eps |f| for a result that is right to a few units in the last place, 4 standard deviations of the noise that was measured, and
    what rounding of the point does, 4 eps |x f'|; `moved` is the size of x, or 0 where the steps taken are known exactly. In float16
    numbers below 2^-14 lie 2^-24 apart whatever their size.
    """
    small = np.where(np.abs(np.log2(np.asarray(epsilon)) + 10) <= 1, 2.0**-24, 0.0)
    return np.asarray(SAFETY * (epsilon * (scale + moved * np.abs(slope)) + noise + small))


def noise(line: Line, center: Array, size: float = 1.0, *, epsilon: Array | float = EPS64) -> Array:
    """Standard deviation (m,) of the noise in the outputs near the point, 0 where the values show none.

    Hamming's difference table (Moré & Wild, Estimating computational noise, SIAM J. Sci. Comput. 33, 2011): over equally spaced points
    the k-th difference of what is smooth vanishes like spacing^k, that of independent noise of variance s^2 has variance
    (2k)!/(k!)^2 s^2. Seven points, the centre among them, so six evaluations, at each of two spacings. The fine one sees jitter. A
    cast to fewer digits inside the function shows as stairs there, flat nearly everywhere, and as jitter only at the coarse spacing
    2^-16 size (2^-7 for a function that is known to work in float32). So jitter there counts where the fine spacing is flat, and only
    then: an oscillation that aliases at the coarse spacing is smooth at the fine one. Stairs wider than the coarse spacing are
    taken for what the function means (round), narrower ones for rounding.

    >>> values = lambda h: (h, np.float32(np.sin(1 + h)).astype(float)[:, None])
    >>> 1e-8 < noise(values, np.float32(np.sin([1.0])).astype(float))[0] < 1e-7
    np.True_
    """
    lowest = float(np.min(epsilon))
    step = power_of_two(size)
    fine = max(2.0**-40, 8 * lowest)
    coarse = 2.0**-16 if lowest < 2.0**-40 else 2.0**-7
    spacings = [fine * step] + ([coarse * step] if coarse > 2 * fine else [])
    if step < 2.0**-10 and lowest < 2.0**-40:  # the size may be no hint at all: the noise of cos at 1e-9 is seen from further away
        spacings.append(2.0**-16)
    k = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    with np.errstate(all="ignore"):
        _, values = line(np.concatenate([k * h for h in spacings]))
        tables = [np.insert(block, 3, center, axis=0) for block in np.split(values, len(spacings))]
        deviations = [_hamming(table) for table in tables]
        found = deviations[0].max(axis=0)
        stairs = (np.diff(tables[0], axis=0) == 0).sum(axis=0) >= 3
        for table, deviation in zip(tables[1:], deviations[1:], strict=True):
            # jitter has one size in differences of every order, a trend has not; and it is small beside the function
            alike = deviation.max(axis=0) < 6 * deviation.min(axis=0)
            rough = alike & stairs & (deviation.max(axis=0) < 2.0**-8 * np.abs(table).max(axis=0))
            found = np.maximum(found, np.where(rough, deviation.max(axis=0), 0.0))
        # what jumps by as much as the function is large is no noise: a point next to a discontinuity
        found = np.where(found < 2.0**-6 * np.abs(tables[0]).max(axis=0), found, 0.0)
    return np.asarray(found)


def _hamming(table: Array) -> Array:
    """Estimates (3, m) of the standard deviation of the noise from the differences of orders 4, 5 and 6 of a table (7, m)."""
    rows = [np.sqrt((np.diff(table, n=k, axis=0) ** 2).mean(axis=0) / comb(2 * k, k)) for k in (4, 5, 6)]
    return np.nan_to_num(np.array(rows), nan=0.0, posinf=0.0)


def step_for(size: float, epsilon: float = EPS64) -> float:
    """The larger step of `quick`, for an input of this size: a power of two times a power of two below `size`.

    After one extrapolation of steps h and h/2 the truncation left is h^4 |f5| / 480, and rounding of 4 eps |f| (5/3) / (h/2) is about
    13 eps |f| / h in the worst case, a tenth of that as a rule. With |f5| ~ |f| / size^5 the sum of both is least near
    h = (120 eps)^(1/5) size: 2^-9 in float64, 2^-3 in float32. Half of it leaves room for functions that turn faster than their
    argument's size tells.

    >>> step_for(3.0), step_for(1.0, 2.0**-23)
    (0.00390625, 0.0625)
    """
    exponent = np.floor(np.log2(120 * epsilon) / 5)
    return float(power_of_two(size) * min(2.0**exponent, 0.25))


def quick(
    realised: Array, up: Array, down: Array, center: Array, noise: Array, *,
    size: Array | float = 1.0, epsilon: Array | float = EPS64, exact: bool = False,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Derivatives of k columns of m outputs from four evaluations each: at steps h and h/2, up and down.

    realised (2, 2, k): the steps taken, first axis h and h/2, second axis up and down (down's are negative); up, down (2, k, m): the
    outputs there, centre (m,) those at the point, noise (m,) as `noise` found it, or 0. size: number or (k,), the sizes of the inputs;
    exact: the steps taken are free of rounding (a single coordinate). Returns value, error, second, each (k, m): where `second` is
    True, a kink, an edge, or something faster than the step may be within, and the column should go to `slope`.

    The value is D = (4 D(h/2) - D(h)) / 3. What it leaves is h^4 f5/480, while the two differences show h^2 f3/8: the next term of the
    series is smaller by a factor that the same data shows twice, as |D(h) - D(h/2)| / |D|, that is h^2 f3/f1, and in the second
    differences, h^2 f4/f2. The larger of both, and not less than (h/size)^2, is taken, times 4.

    >>> h = step_for(1.0) / np.array([1.0, 2.0])
    >>> steps = np.stack([h, -h], axis=1)[:, :, None]
    >>> x = 0.5 + steps
    >>> value, error, second = quick(steps, np.exp(x[:, 0])[..., None], np.exp(x[:, 1])[..., None], np.exp([0.5]), np.zeros(1))
    >>> bool(abs(value - np.exp(0.5)) < error) and bool(error < 1e-11), bool(second)
    (True, False)
    """
    sizes = np.broadcast_to(np.asarray(size, dtype=np.float64), realised.shape[-1:])[:, None]
    with np.errstate(all="ignore"):
        a, b = realised[:, 0, :, None], -realised[:, 1, :, None]
        forward, backward = (up - center) / a, (center - down) / b
        # the three-point formula; where a = b the centre drops out, and its own rounding with it
        slopes = (up - down) / (a + b) + (b - a) / (a + b) * (forward - backward)
        bends = forward - backward  # h f'' + h^3 f4 / 12
        nodes = a * b
        value = (nodes[0] * slopes[1] - nodes[1] * slopes[0]) / (nodes[0] - nodes[1])
        scale = np.maximum(np.maximum(np.abs(up), np.abs(down)).max(axis=0), np.abs(center))
        off = rounding(scale, noise, epsilon, value, 0.0 if exact else 1.0 * sizes)
        floor = 2 * off / (a + b)
        change = np.abs(slopes[1] - slopes[0])
        turn = np.abs(bends[0] - bends[1] * (a + b)[0] / (a + b)[1])
        seen = np.maximum(change, turn)
        share = (a[0] / sizes) ** 2
        noisy = 4 * (floor[0] + floor[1])
        contraction = np.maximum(change / np.abs(value), np.where(turn > noisy, turn / np.abs(bends[0]), 0.0))
        contraction = np.clip(np.nan_to_num(contraction, nan=0.0, posinf=1.0), share, 1.0)
        error = 4 * seen * contraction + 1.6 * floor[1]
        # at a kink the bends do not halve with the step, within the steps they do anything; smooth ones differ by h^2 f4 / (16 f'')
        limit = np.clip(64 * share, 2.0**-8, 0.25)
        second = (turn > limit * np.abs(bends[0]) + noisy) | ((change > 0.1 * np.abs(value)) & (change > noisy))
        second |= ~np.isfinite(error) | ~np.isfinite(value)
    known = np.isfinite(error) & np.isfinite(value)
    return np.where(known, value, 0.0), np.where(known, error, np.inf), second
