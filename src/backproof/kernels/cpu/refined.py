"""cancelled.refined, compiled: the same operations, number by number."""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import register_jitable

from backproof.arrays import Array
from backproof.kernels import team, words
from backproof.kernels.compiled import entry
from backproof.kernels.cpu import calls

for _function in (words.two_sum, words.two_product, words.times, words.plus, words.step, words.remainder, words.terms,
                  words.added, words.corrected, words.certain):  # fmt: skip
    register_jitable(_function)  # without the flag `contract`: two_product lives of roundings

POWERS = words.POWERS


@cache
def _compiled() -> Any:
    vector, rows = types.float64[::1], types.float64[:, ::1]
    signature = types.none(rows, vector, vector, types.boolean[::1], types.int64, types.int64)
    return entry(signature, "logsumexp of rows that cancel")(_rows)


def _rows(z: Array, near: Array, value: Array, certain: Array, first: int, last: int) -> None:
    for row in range(first, last):
        ones, weight = -1.0, 0.0
        high, low, lowest = 0.0, 0.0, 0.0
        for i in range(z.shape[1]):
            y, y_low = words.two_sum(z[row, i], -near[row])
            if y > words.LEAST:
                m = words.step(y)
                r, r_low, r_lowest = words.remainder(y, y_low, m)
                j = int(m) & (words.STEPS - 1)
                scale = math.ldexp(1.0, (int(m) - j) // words.STEPS)
                found = words.terms(r, r_low, r_lowest, POWERS[0, j], POWERS[1, j], POWERS[2, j])
                if m == 0.0:
                    ones += 1.0
                    weight += abs(r) * (2 * words.STEPS)
                else:
                    high, low, lowest = words.added(high, low, lowest, scale * found[0])
                    weight += scale
                for k in range(1, len(found)):
                    high, low, lowest = words.added(high, low, lowest, scale * found[k])
        high, low, lowest = words.added(high, low, lowest, ones)
        high, low = words.corrected(near[row], high, low, lowest)
        value[row] = high + low
        certain[row] = words.certain(high, low, weight)


def refined(rows: Array, near: Array) -> tuple[Array, Array]:
    value, certain = np.empty_like(near), np.empty(near.shape, dtype=np.bool_)
    rows, near, function = np.ascontiguousarray(rows, np.float64), np.ascontiguousarray(near, np.float64), _compiled()

    members = calls.threads()
    cuts = calls.stretches(rows.shape[0], rows.size, members)
    parts = len(cuts) - 1
    team.share(lambda i: function(rows, near, value, certain, cuts[i], cuts[i + 1]), parts, min(members, parts))
    return value, certain
