"""logsumexp where z_k and log1p(s) nearly cancel: the rows of log-probabilities, whose sum is 1 but for the last places.

Of a result far smaller than its two parts, double precision leaves few digits or none. Such rows are computed again as

    near + log(1 + delta),   delta = sum over i of exp(z_i - near) - 1

near being the result so far. The exponentials are those of words.py, right to 2^-121 of their sum, which is kept in three words.
The result is rounded correctly if all numbers within the error round to the same; if not (one cancelled row in thousands), decimal
arithmetic with ever more digits decides (Ziv, ACM TOMS 17, 1991).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np

from backproof.arrays import Array
from backproof.kernels import words
from backproof.kernels.exact import quiet

AT_ONCE = 1 << 17  # numbers: rows for two threads, words that the caches hold
DIGITS = 50
ROOM = {8: 0.5, 4: 2.0**-10}  # ULP beside the rounding of the result, by the bytes of a number
NOTHING = -2000  # exponentials of less change no double

Refine = Callable[[Array, Array], tuple[Array, Array]]


def _exponentials(y: Array, y_low: Array) -> tuple[Array, list[Array], Array, Array]:
    """The terms of exp(y + y_low): the power of two, the others, and where the power is 1 (m = 0); r."""
    gone = ~(y > words.LEAST)
    y, y_low = np.where(gone, 0.0, y), np.where(gone, 0.0, y_low)
    m = words.step(y)
    r = words.remainder(y, y_low, m)
    j = m.astype(np.int64) & (words.STEPS - 1)
    scale = np.where(gone, 0.0, np.ldexp(1.0, ((m - j) / words.STEPS).astype(np.int64)))
    power, *others = words.terms(*r, *words.POWERS[:, j])
    return power * scale, [term * scale for term in others], (m == 0) & ~gone, r[0]


def joined(near: Array, top: Array, s: Array, s_low: Array) -> Array:
    """top + log(1 + s), rounded once, from that sum as it comes (`near`): near + ((1 + s) exp(top - near) - 1)."""
    power, others, _, _ = _exponentials(*words.two_sum(top, -near))
    e, e_low, _ = words.added(power, 0.0 * power, 0.0, others[0])
    for term in others[1:]:
        e_low = e_low + term
    whole, rest = words.two_sum(1.0, s)
    product, low = words.times(whole, rest + s_low, e, e_low)
    with_one, error = words.two_sum(product, -1.0)
    return np.where(np.isfinite(near), near + (with_one + (error + low)), near)


def refined(rows: Array, near: Array) -> tuple[Array, Array]:
    """Rows (N, C), double precision, and their logsumexp nearly: the right ones, and whether each is certain to be."""
    y, y_low = words.two_sum(rows, -near[:, None])
    power, others, one, r = _exponentials(y, y_low)
    high, low, lowest = np.where(one, 0.0, power), np.zeros_like(y), np.zeros_like(y)
    for term in others:
        high, low, lowest = words.added(high, low, lowest, term)
    weight = np.where(one, np.abs(r) * 2 * words.STEPS, power).sum(axis=1)
    while high.shape[1] > 1:
        half = high.shape[1] // 2
        first = high[:, :half], low[:, :half], lowest[:, :half]
        for w in (high, low, lowest):
            first = words.added(first[0], first[1], first[2], w[:, half : 2 * half])
        high, low, lowest = (np.concatenate([f, w[:, 2 * half :]], axis=1) for f, w in zip(first, (high, low, lowest), strict=True))
    sums = words.added(high[:, 0], low[:, 0], lowest[:, 0], one.sum(axis=1) - 1.0)
    value, low = words.corrected(near, *sums)
    return value + low, words.certain(value, low, weight)


def exactly(row: Array) -> float:
    """logsumexp of a row of at least two finite numbers, rounded once."""
    numbers = [Decimal(float(z)) for z in row if z > NOTHING]
    digits = DIGITS
    while True:
        with localcontext(prec=digits):
            value = sum(z.exp() for z in numbers).ln()  # type: ignore[union-attr]
            error = Decimal(len(numbers) + 2).scaleb(1 - digits)
            below, above = float(value - error), float(value + error)
        if below == above:
            return above
        digits *= 2


@quiet
def settle(out: Array, z: Array, axis: int, error: float, refine: Refine = refined) -> None:
    """Computes those of out = logsumexp(z) again that may be wrong by more than 1 ULP, in single precision 0.501.

    error: that of s, relative, and so of log1p(s), in units of s / (1 + s).
    """
    room = ROOM[out.dtype.itemsize]
    limit = 2 * error / (room * float(np.finfo(out.dtype).eps))
    everything = np.moveaxis(z, axis, -1)
    if out.ndim == 0:
        out, everything = out.reshape(1), everything[None]
    doubtful = np.nonzero(np.abs(out) < limit)
    at_once = max(1, AT_ONCE // everything.shape[-1])
    for start in range(0, doubtful[0].size, at_once):
        at = tuple(index[start : start + at_once] for index in doubtful)
        rows, near = everything[at].astype(np.float64), out[at]
        share = np.abs(np.expm1(rows.max(axis=-1) - near))
        wrong = error * share > room * np.spacing(np.abs(near)).astype(np.float64)
        if wrong.any():
            value, certain = refine(rows[wrong], near[wrong].astype(np.float64))
            for i in np.nonzero(~certain)[0]:
                value[i] = exactly(rows[wrong][i])
            near[wrong] = value
            out[at] = near
