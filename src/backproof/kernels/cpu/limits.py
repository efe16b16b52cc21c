"""Rows that are not finite: the limits, number by number. A mask (-inf) among finite logits is not one of them.

nan anywhere      nan everywhere, in this row
-inf throughout   probability 0, log-probability and logsumexp -inf
+inf              probability shared among the +inf, and -inf the logarithm elsewhere; logsumexp +inf
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get, put

SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = range(3)
NAN, INFINITY = np.nan, np.inf


@compiled()
def infinite_entries(x: Any, step: int, n: int) -> int:
    """How many logits are +inf; -1 with a nan among them."""
    found = 0
    for i in range(n):
        z = get(x, i * step)
        if z != z:
            return -1
        if z == INFINITY:
            found += 1
    return found


@compiled()
def is_limit(x: Any, step: int, n: int, top: float, strange: float) -> bool:
    """Whether a row that is not finite throughout is one for this file."""
    return strange != strange and (not np.isfinite(top) or infinite_entries(x, step, n) < 0)


@compiled()
def limit_row(kind: int, x: Any, step: int, n: int, out: Any, out_step: int, weight: float) -> None:
    """The row's softmax times weight or log-softmax, or logsumexp to out[0]."""
    many = infinite_entries(x, step, n)
    if kind == LOGSUMEXP:
        put(out, 0, NAN if many < 0 else INFINITY if many > 0 else -INFINITY)
    else:
        log, log_share = kind == LOG_SOFTMAX, -np.log(np.float64(max(many, 1)))
        for i in range(n):
            here = get(x, i * step) == INFINITY
            if many < 0:
                put(out, i * out_step, NAN)
            elif log:
                put(out, i * out_step, log_share if here else -INFINITY)
            else:
                put(out, i * out_step, (1.0 / many if here else 0.0) * weight)


@compiled()
def limit_gradient(x: Any, step: int, n: int, label: int, weight: float, out: Any, out_step: int, write: bool) -> float:
    """Cross-entropy with a label: the loss, and weight times the gradient h - t; 0 where all classes are masked."""
    many = infinite_entries(x, step, n)
    if many < 0:
        loss = NAN
    elif many == 0:
        loss = INFINITY
    else:
        loss = np.log(np.float64(many)) if get(x, label * step) == INFINITY else INFINITY
    if write:
        for i in range(n):
            here = get(x, i * step) == INFINITY
            if many < 0:
                g = NAN
            elif many == 0:
                g = 0.0
            elif i == label:
                g = -weight * (many - 1) / many if here else -weight
            else:
                g = weight / many if here else 0.0
            put(out, i * out_step, g)
    return loss
