"""Rows that lie next to each other and fill at least a vector, one after the other, each overlapped with the next: overlapped.py.

Of a row in hand the exponentials are found; the one before waits for its result to be written (`waiting`), and the next one's
largest logits are known when its turn comes (`known`). Rows that are not finite, and rows too long for their exponentials to be
kept, break the chain.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.exponential import exponentials, log1p
from backproof.kernels.cpu.lanes import at, every, first_lane, is_double, lanes_of, product
from backproof.kernels.cpu.limits import LOG_SOFTMAX, SOFTMAX, is_limit, limit_gradient, limit_row
from backproof.kernels.cpu.logarithm import rounded_sum
from backproof.kernels.cpu.long_rows import top_of, write_logs, write_scaled
from backproof.kernels.cpu.overlapped import three_rows
from backproof.kernels.cpu.panels import offset_of
from backproof.kernels.cpu.quotient import label_slope, share_of_row
from backproof.kernels.cpu.single_row import narrowed

KEPT = 1 << 19  # exponentials that are kept for the second sweep; of longer rows they are computed twice


@compiled()
def value_rows(
    like: Any, kind: int, x: Any, inner: int, xo: int, xi: int, out: Any, out_inner: int, oo: int, oi: int,
    weights: Any, weighted: bool, n: int, first: int, last: int, past: bool, work: Any,
) -> None:  # fmt: skip
    keep = kind == SOFTMAX and n <= KEPT
    e, before, row_before, target_before = work, at(work, n + 2 * lanes_of(like) if keep else 0), x, out
    top, second, place, strange, top_before, share, rest = 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0
    known = waiting = False
    for r in range(first, last + 1):
        row = at(x, offset_of(min(r, last - 1), inner, xo, xi))
        limit = False
        if r < last:
            if not known:
                top, second, place, strange = top_of(like, row, n)
            limit = is_limit(row, 1, n, top, strange)
        if waiting and (limit or r == last or not keep):
            write_scaled(like, row_before, n, top_before, share, rest, before, keep, target_before, past)
            waiting = False
        if r == last:
            return
        target = at(out, offset_of(r, out_inner, oo, oi))
        weight = get(weights, r) if weighted else 1.0
        known = False
        if limit:
            limit_row(kind, row, 1, n, target, 1, weight)
            continue
        following = at(x, offset_of(min(r + 1, last - 1), inner, xo, xi))
        here = top
        s, s_low, top, second, place, strange = three_rows(
            like, n, row, top, second, place, e, keep, following, before, share, rest, target_before, waiting, past
        )  # fmt: skip
        known = True
        if kind == SOFTMAX:
            share, rest = share_of_row(like, weight, s)
            waiting, row_before, top_before, target_before = True, row, here, target
            e, before = before, e
        elif kind == LOG_SOFTMAX:
            write_logs(like, row, n, here, s, target, past)
        elif is_double(like):
            put(target, 0, rounded_sum(here, s, s_low))
        else:
            put(target, 0, here + first_lane(log1p(like, every(like, s))))


@compiled()
def gradient_rows(
    like: Any, x: Any, xi: int, out: Any, oi: int, write: bool, labels: Any, weights: Any, weighted: bool, weights_step: int,
    ignored: int, losses: Any, n: int, count: int, past: bool, work: Any,
) -> None:  # fmt: skip
    """Cross-entropy with labels: the losses of rows 0 to count - 1, and weight times their gradients to out."""
    keep = write and n <= KEPT
    e, before, row_before, target_before = work, at(work, n + 2 * lanes_of(like) if keep else 0), x, out
    top, second, place, strange, top_before, share, rest, slope, label_before = 0.0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0
    known = waiting = False
    for r in range(count + 1):
        row = at(x, min(r, count - 1) * xi)
        limit = nothing = False
        if r < count:
            nothing = get(labels, r) == ignored
            if not (known or nothing):
                top, second, place, strange = top_of(like, row, n)
            limit = not nothing and is_limit(row, 1, n, top, strange)
        if waiting and (limit or nothing or r == count or not keep):
            write_scaled(like, row_before, n, top_before, share, rest, before, keep, target_before, past)
            if label_before >= 0:
                put(target_before, label_before, slope)
            waiting = False
        if r == count:
            return
        target, label = at(out, r * oi), get(labels, r)
        weight = get(weights, r * weights_step) if weighted else 1.0
        known = False
        if limit:
            put(losses, r, limit_gradient(row, 1, n, label, weight, target, 1, write))
        elif nothing:
            put(losses, r, 0.0)
        else:
            following = at(x, min(r + 1, count - 1) * xi)
            z, here = np.float64(get(row, label)), top
            s, _, top, second, place, strange = three_rows(
                like, n, row, top, second, place, e, keep, following, before, share, rest, target_before, waiting, past
            )  # fmt: skip
            known = True
            if waiting and label_before >= 0:
                put(target_before, label_before, slope)
            waiting = False
            put(losses, r, first_lane(log1p(like, every(like, s))) - (z - here))
            if write and weight != 0.0:
                share, rest = share_of_row(like, weight, s)
                at_label = get(e, label) if keep else first_lane(exponentials(like, every(like, z), every(like, here)))
                slope, label_before = label_slope(s, at_label, z - here, weight, share, rest), label
                if keep and not is_double(like):  # to be written with the others, if that gives the same
                    made = slope / share
                    if narrowed(product(made, share)) == narrowed(slope):
                        put(e, label, made)
                        label_before = -1
                waiting, row_before, top_before, target_before = True, row, here, target
                e, before = before, e
        if write and (nothing or weight == 0.0):
            for c in range(n):
                put(target, c, 0.0)
