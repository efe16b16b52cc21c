"""What Python calls: a stretch of rows of any strides, each in the way its length and strides ask for.

    next to each other, a vector or more       the sweeps of long_rows.py, where the row stands
    up to PANEL classes                        the panels of panels.py
    more, with strides                         copied to a row of their own, some at a time, and back

All three give the same bits. Row number r begins at r // inner * outer_step + r % inner * inner_step, in numbers, not bytes. `work`
is this thread's own: exponentials, panels, copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.exponential import exponentials, log1p
from backproof.kernels.cpu.lanes import at, every, is_double, lanes_of, pointer
from backproof.kernels.cpu.limits import LOGSUMEXP, SOFTMAX, is_limit, limit_gradient, limit_row
from backproof.kernels.cpu.logarithm import rounded_sum
from backproof.kernels.cpu.long_rows import kept_at, sum_others, top_of, write_logs, write_scaled
from backproof.kernels.cpu.panels import FOUND, offset_of, panel_of_gradients, panel_of_values
from backproof.kernels.cpu.quotient import label_slope, share_of_row
from backproof.kernels.rows import total

PANEL = 256  # classes of a row that fit a panel in the first cache
SHORT = 32  # classes below which rows that stand side by side are as well in a panel
KEPT = 1 << 19  # exponentials that are kept for the second sweep; of longer rows they are computed twice
NEAR = 1 << 13  # classes up to which a row's output finds room in the second cache beside all else
COPY = 1 << 16  # numbers that are copied at a time


def work_size(n: int, lanes: int) -> int:
    """Doubles of work for rows of n classes."""
    kept = n + 2 * lanes if n <= KEPT else 2 * lanes
    panel = min(n, PANEL) * lanes
    return max(kept, panel) + FOUND * lanes + max(2 * panel, copied_rows(n, lanes) * n)


@compiled()
def _copied_rows(n: int, lanes: int) -> int:
    return max(1, min(lanes, COPY // n))


def copied_rows(n: int, lanes: int) -> int:
    return max(1, min(lanes, COPY // max(n, 1)))


@compiled()
def value_row(like: Any, kind: int, x: Any, n: int, out: Any, weight: float, e: Any, ahead: int, past: bool) -> None:
    top, second, place, strange = top_of(like, x, n)
    if is_limit(x, 1, n, top, strange):
        limit_row(kind, x, 1, n, out, 1, weight)
        return
    keep = kind == SOFTMAX and n <= KEPT
    s, s_low = sum_others(like, x, n, top, second, place, e, keep, ahead, out if keep and not past and n <= NEAR else x)
    if kind == SOFTMAX:
        share, rest = share_of_row(like, weight, s)
        write_scaled(like, x, n, top, share, rest, e, keep, out, past)
    elif kind == LOGSUMEXP:
        if is_double(like):
            put(out, 0, rounded_sum(top, s, s_low))
        else:
            put(out, 0, top + total(log1p(every(like, s))) / lanes_of(like))
    else:
        write_logs(like, x, n, top, s, out)


@compiled()
def gather(
    like: Any, x: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int, to: Any
) -> None:
    begins = offset_of(first, inner, outer_step, inner_step)
    if first % inner + count <= inner:
        for i in range(n):
            for r in range(count):
                put(to, r * n + i, get(x, begins + r * inner_step + i * step))
    else:
        for r in range(count):
            begin = offset_of(first + r, inner, outer_step, inner_step)
            for i in range(n):
                put(to, r * n + i, get(x, begin + i * step))


@compiled()
def scatter(
    like: Any, made: Any, out: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int
) -> None:
    begins = offset_of(first, inner, outer_step, inner_step)
    if first % inner + count <= inner:
        for i in range(n):
            for r in range(count):
                put(out, begins + r * inner_step + i * step, get(made, r * n + i))
    else:
        for r in range(count):
            begin = offset_of(first + r, inner, outer_step, inner_step)
            for i in range(n):
                put(out, begin + i * step, get(made, r * n + i))


def values(
    like: Any, kind: int, x_address: int, xo: int, xi: int, xc: int, out_address: int, oo: int, oi: int, oc: int,
    weights_address: int, inner: int, n: int, first: int, last: int, past: bool, work: int,
) -> None:  # fmt: skip
    """Softmax, log-softmax (out: like x) or logsumexp (out: one number a row, in order) of the rows first to last - 1.

    The address of one weight a row for its softmax, in order; 0: all are 1.
    """
    width = lanes_of(like)
    x, out, e = pointer(x_address, like), pointer(out_address, like), pointer(work, 1.0)
    weights, weighted = pointer(weights_address, 1.0), weights_address != 0
    panel_size = min(n, PANEL) * width
    kept = n + 2 * width if n <= KEPT else 2 * width
    found = at(e, max(kept, panel_size))
    buffer = pointer(work + 8 * (max(kept, panel_size) + FOUND * width), like)
    beside = xc == 1 and (oc == 1 or kind == LOGSUMEXP)
    if n <= PANEL and not (beside and n >= width and n >= SHORT):
        for r in range(first, last, width):
            count = min(width, last - r)
            panel_of_values(
                like, kind, x, r, count, inner, xo, xi, xc, n, out, oo, oi, oc, weights, weighted, buffer, e, found
            )  # fmt: skip
        return
    many = 1 if beside else _copied_rows(n, width)
    for r in range(first, last, many):
        count = min(many, last - r)
        if not beside:
            gather(like, x, r, count, inner, xo, xi, xc, n, buffer)
        begin, to = offset_of(r, inner, xo, xi), r if kind == LOGSUMEXP else offset_of(r, inner, oo, oi)
        ahead = offset_of(r + 1, inner, xo, xi) - begin if beside and r + 1 < last else 0
        for i in range(count):  # one call for both: what is called twice is compiled twice
            row = at(x, begin) if beside else at(buffer, i * n)
            target = at(out, to + i) if beside or kind == LOGSUMEXP else row
            value_row(like, kind, row, n, target, get(weights, r + i) if weighted else 1.0, e, ahead, past)
        if not beside and kind != LOGSUMEXP:
            scatter(like, buffer, out, r, count, inner, oo, oi, oc, n)


@compiled()
def gradient_row(
    like: Any, x: Any, n: int, out: Any, write: bool, label: int, weight: float, e: Any, ahead: int, past: bool
) -> float:
    """The loss of a row; weight times its gradient to out."""
    top, second, place, strange = top_of(like, x, n)
    if is_limit(x, 1, n, top, strange):
        return limit_gradient(x, 1, n, label, weight, out, 1, write)
    keep = write and n <= KEPT
    d = np.float64(get(x, label)) - top
    s, _ = sum_others(like, x, n, top, second, place, e, keep, ahead, out if keep and not past and n <= NEAR else x)
    if write:
        if keep:
            at_label = get(e, kept_at(like, e, n, label))
        else:
            at_label = total(exponentials(like, every(like, np.float64(get(x, label))), every(like, top))) / lanes_of(like)
        share, rest = share_of_row(like, weight, s)
        write_scaled(like, x, n, top, share, rest, e, keep, out, past)
        put(out, label, label_slope(s, at_label, d, weight, share, rest))
    return total(log1p(every(like, s))) / lanes_of(like) - d


def gradients(
    like: Any, x_address: int, xi: int, xc: int, out_address: int, oi: int, oc: int, labels_address: int,
    weights_address: int, weights_step: int, ignored: int, losses_address: int, n: int, first: int, last: int, past: bool,
    work: int,
) -> None:  # fmt: skip
    """Cross-entropy with labels; an address of 0: no gradient wanted, or all weights 1."""
    width = lanes_of(like)
    x, out, e = pointer(x_address, like), pointer(out_address, like), pointer(work, 1.0)
    labels, weights, losses = pointer(labels_address, 1), pointer(weights_address, 1.0), pointer(losses_address, 1.0)
    panel_size = min(n, PANEL) * width
    kept = n + 2 * width if n <= KEPT else 2 * width
    found = at(e, max(kept, panel_size))
    buffer = pointer(work + 8 * (max(kept, panel_size) + FOUND * width), like)
    write, weighted = out_address != 0, weights_address != 0
    beside = xc == 1 and (oc == 1 or not write)
    if n <= PANEL and not (n >= width and beside and n >= SHORT):
        for r in range(first, last, width):
            panel_of_gradients(
                like, x, r, min(width, last - r), xi, xc, n, out, oi, oc, write, labels, weights, weighted, weights_step,
                ignored, losses, buffer, e, found,
            )  # fmt: skip
        return
    r, many = first, 1 if beside else _copied_rows(n, width)
    while r < last:
        count = min(many, last - r)
        if not beside:
            gather(like, x, r, count, 1 << 62, 0, xi, xc, n, buffer)
        for i in range(r, r + count):
            row = at(x, i * xi) if beside else at(buffer, (i - r) * n)
            to = at(out, i * oi) if beside else row
            label, weight = get(labels, i), get(weights, i * weights_step) if weighted else 1.0
            loss = 0.0
            if label != ignored:
                loss = gradient_row(like, row, n, to, write, label, weight, e, xi if beside and i + 1 < last else 0, past)
            put(losses, i, loss)
            if write and (label == ignored or weight == 0.0):
                for c in range(n):
                    put(to, c, 0.0)
        if write and not beside:
            scatter(like, buffer, out, r, count, 1 << 62, 0, oi, oc, n)
        r += count
