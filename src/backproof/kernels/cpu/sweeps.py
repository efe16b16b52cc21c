"""What Python calls: a stretch of rows of any strides, each in the way its length and strides ask for.

    next to each other, SHORT classes or more  one after the other where they stand: in_turn.py
    up to PANEL classes                        the panels of panels.py; fewer than FULL also where they stand next to each other,
                                               if there are enough to fill one
    more, with strides                         copied to a row of their own, some at a time, and back

All three give the same bits. Row number r begins at r // inner * outer_step + r % inner * inner_step, in numbers, not bytes. `work`
is this thread's own: exponentials, panels, copies.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from backproof.kernels.compiled import compiled, pointer
from backproof.kernels.cpu.copies import gather, scatter
from backproof.kernels.cpu.in_turn import KEPT
from backproof.kernels.cpu.kept_words import words_room
from backproof.kernels.cpu.lanes import LINE, at, itemsize, lanes_of
from backproof.kernels.cpu.limits import LOGSUMEXP
from backproof.kernels.cpu.panels import FOUND
from backproof.kernels.cpu.panels_in_two_words import gradients_panel_of, values_panel_of
from backproof.kernels.cpu.rows_in_two_words import gradient_rows_of, value_rows_of

PANEL = 256  # classes of a row that fit a panel in the first cache
SHORT = 32  # classes below which rows that stand next to each other are as well in a panel
FULL = 112  # classes below which they are in a panel that they fill
ONE_RUN = 1 << 62  # rows, none of which begins a new run
COPY = 1 << 16  # numbers that are copied at a time


def kept_room(n: int, lanes: int) -> int:
    """Doubles of work for the exponentials of two rows, in double precision or in two words."""
    return max(2 * (n + 2 * lanes), words_room(n, lanes)) if n <= KEPT else 4 * lanes


_kept_room = compiled()(kept_room)


@lru_cache(maxsize=256)
def work_size(n: int, lanes: int) -> int:
    """Doubles of work for rows of n classes."""
    kept = kept_room(n, lanes)
    panel = min(n, PANEL) * lanes
    return max(kept, panel) + FOUND * lanes + max(2 * panel, copied_rows(n, lanes) * n)


def copied_rows(n: int, lanes: int) -> int:
    return max(1, min(lanes, COPY // max(n, 1)))


_copied_rows = compiled()(copied_rows)


@compiled(late=True)
def fills_a_line(like: Any) -> bool:
    """Whether a row of numbers reaches over what may come before a result's first whole line: past the caches it must."""
    return lanes_of(like) * itemsize(like) >= LINE


@compiled()
def in_panels(n: int, width: int, beside: bool, count: int) -> int:
    """How many of the rows go into panels."""
    if n > PANEL:
        return 0
    if n < width or n < SHORT or not beside:
        return count
    return count // width * width if n < FULL else 0


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
    kept = _kept_room(n, width)
    found = at(e, max(kept, panel_size))
    buffer = pointer(work + 8 * (max(kept, panel_size) + FOUND * width), like)
    beside = xc == 1 and (oc == 1 or kind == LOGSUMEXP)
    start = first + in_panels(n, width, beside, last - first)
    for r in range(first, start, width):
        count = min(width, last - r)
        values_panel_of(
            like, kind, x, r, count, inner, xo, xi, xc, n, out, oo, oi, oc, weights, weighted, buffer, e, found
        )  # fmt: skip
    many = max(last - start, 1) if beside else _copied_rows(n, width)
    for r in range(start, last, many):
        count = min(many, last - r)
        if not beside:
            gather(like, x, r, count, inner, xo, xi, xc, n, buffer)
        value_rows_of(
            like, kind, x if beside else buffer, inner if beside else ONE_RUN, xo, xi if beside else n,
            out if beside else at(out, r) if kind == LOGSUMEXP else buffer, inner if beside and kind != LOGSUMEXP else ONE_RUN,
            oo, 1 if kind == LOGSUMEXP else oi if beside else n, weights if beside else at(weights, r), weighted, n,
            start if beside else 0, last if beside else count, past and beside and fills_a_line(like), e,
        )  # fmt: skip
        if not beside and kind != LOGSUMEXP:
            scatter(like, buffer, out, r, count, inner, oo, oi, oc, n)


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
    kept = _kept_room(n, width)
    found = at(e, max(kept, panel_size))
    buffer = pointer(work + 8 * (max(kept, panel_size) + FOUND * width), like)
    write, weighted = out_address != 0, weights_address != 0
    beside = xc == 1 and (oc == 1 or not write)
    start = first + in_panels(n, width, beside, last - first)
    for r in range(first, start, width):
        gradients_panel_of(
            like, x, r, min(width, last - r), xi, xc, n, out, oi, oc, write, labels, weights, weighted, weights_step,
            ignored, losses, buffer, e, found,
        )  # fmt: skip
    many = max(last - start, 1) if beside else _copied_rows(n, width)
    for r in range(start, last, many):
        count = min(many, last - r)
        if not beside:
            gather(like, x, r, count, ONE_RUN, 0, xi, xc, n, buffer)
        gradient_rows_of(
            like, at(x, r * xi) if beside else buffer, xi if beside else n, at(out, r * oi) if beside else buffer,
            oi if beside else n, write, at(labels, r), at(weights, r * weights_step), weighted, weights_step, ignored,
            at(losses, r), n, count, past and fills_a_line(like), e,
        )  # fmt: skip
        if write and not beside:
            scatter(like, buffer, out, r, count, ONE_RUN, 0, oi, oc, n)
