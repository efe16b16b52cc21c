"""Adam (Kingma & Ba, ICLR 2015) in one pass, with decoupled decay (AdamW; Loshchilov & Hutter, ICLR 2019).

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
    p <- p - lr ( (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps) + decay p )

Both bias corrections are one number each a step; each parameter costs a square root and a division. On a vector that outgrows the
cache the pass is bound by memory: it reads four arrays and writes three, once.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numba import types

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, entry, get, put, rounded, start_of
from backproof.kernels.subnormals import flush_subnormals, restore_control


@compiled()
def adam_run(
    p: Array, p0: int, m: Array, v: Array, g: Array, g0: int, count: int, rate: float, b1: float, b2: float, eps: float,
    root: float, decay: float,
) -> None:  # fmt: skip
    """`count` parameters from p0, their gradients from g0. `rate`, `root`: see corrections; `decay` is lr times decay."""
    rate_, b1_, c1_, b2_, c2_ = rounded(p, rate), rounded(p, b1), rounded(p, 1.0 - b1), rounded(p, b2), rounded(p, 1.0 - b2)
    eps_, root_, keep_ = rounded(p, eps), rounded(p, root), rounded(p, 1.0 - decay)
    for i in range(count):
        j = p0 + i
        gradient = get(g, g0 + i)
        first = b1_ * get(m, j) + c1_ * gradient
        second = b2_ * get(v, j) + c2_ * (gradient * gradient)
        put(m, j, first)
        put(v, j, second)
        put(p, j, keep_ * get(p, j) - rate_ * first / (math.sqrt(second) * root_ + eps_))


@compiled()
def corrections(lr: float, b1: float, b2: float, step: int) -> tuple[float, float]:
    """lr / (1 - b1^t) and 1 / sqrt(1 - b2^t)."""
    return lr / (1.0 - b1**step), 1.0 / math.sqrt(1.0 - b2**step)


def _adam(
    parameters: Array, gradient: Array, mean: Array, mean_square: Array, learning_rate: float, b1: float, b2: float, eps: float,
    step: int, weight_decay: float,
) -> None:  # fmt: skip
    rate, root = corrections(learning_rate, b1, b2, step)
    p, m, v, g = start_of(parameters), start_of(mean), start_of(mean_square), start_of(gradient)
    control = flush_subnormals()
    adam_run(p, 0, m, v, g, 0, parameters.size, rate, b1, b2, eps, root, learning_rate * weight_decay)
    restore_control(control)


@cache
def adam_(dtype: np.dtype[Any]) -> Any:
    """Step number `step` (the first is 1) on all parameters, in place, for contiguous vectors of one dtype; arguments by place."""
    vector, i, d = types.Array(types.float32 if dtype == np.float32 else types.float64, 1, "C"), types.int64, types.float64
    return entry(types.none(vector, vector, vector, vector, d, d, d, d, i, d), f"Adam for {dtype}")(_adam)
