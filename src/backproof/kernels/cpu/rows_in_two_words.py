"""in_turn.py for single precision: exponentials in two words, overlapped_words.py.

Rows that do not fit (fitting.py), or whose others are next to nothing beside the largest (word_sums.py), go by in_turn.py: with
them those that follow and do not fit either.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import address, by_type, compiled, get, pointer, put
from backproof.kernels.cpu.exponential import log1p
from backproof.kernels.cpu.fitting import extremes, fits, may_fit
from backproof.kernels.cpu.in_turn import KEPT, gradient_rows, value_rows
from backproof.kernels.cpu.kept_words import TOGETHER, TWICE, first_whole, next_place, one_kept, upper, write_row
from backproof.kernels.cpu.lanes import LINE, at, every, first_lane
from backproof.kernels.cpu.limits import LOG_SOFTMAX, SOFTMAX
from backproof.kernels.cpu.long_rows import write_logs
from backproof.kernels.cpu.overlapped_words import three_rows, write_again
from backproof.kernels.cpu.panels import offset_of
from backproof.kernels.cpu.quotient import label_slope
from backproof.kernels.cpu.streams import ask_for_ends
from backproof.kernels.cpu.two_words import two_words_for

RUN = 1 << 15  # numbers that are looked at for being misfits, and still in the second cache when they are worked on

WARY = 4  # rows that the third sum is made for beforehand, after one that needs it: looking for it again takes three times as long


@compiled()
def value_rows_in_two_words(
    like: Any, kind: int, x: Any, inner: int, xo: int, xi: int, out: Any, out_inner: int, oo: int, oi: int,
    weights: Any, weighted: bool, n: int, first: int, last: int, past: bool, work: Any,
) -> None:  # fmt: skip
    """in_turn.value_rows."""
    if n > KEPT:
        value_rows(like, kind, x, inner, xo, xi, out, out_inner, oo, oi, weights, weighted, n, first, last, past, work)
        return
    logs_past, past = past, past and TOGETHER and kind == SOFTMAX  # where any place of a row can be loaded
    twice = TOGETHER and n >= TWICE and (past or kind != SOFTMAX)
    bottom = pointer(address(work) + LINE, like)
    before = upper(like, bottom, n)
    target_before, top, least, share = out, 0.0, 0.0, 0.0
    known = waiting = False
    wary = 0
    r = first
    while r < last:
        row = at(x, offset_of(r, inner, xo, xi))
        target = at(out, offset_of(r, out_inner, oo, oi))
        begin = first_whole(like, row, n, target, kind == SOFTMAX, past)
        e, in_place = at(bottom, -begin), False
        if not twice:
            e, in_place = next_place(like, row, n, begin, bottom, before, waiting, target_before)
        weight = get(weights, r) if weighted else 1.0
        if not known:
            top, least = extremes(like, row, n)
        known = fit = weight != 0.0 and may_fit(top, least, weight, n)
        others, largest, here, lowest = 0.0, 0.0, top, least
        if fit:
            following = at(x, offset_of(min(r + 1, last - 1), inner, xo, xi))
            if logs_past:  # or past, which is never true without
                ask_for_ends(n, target)
            fine, again, next_top, next_least = wary > 0, True, 0.0, 0.0
            while again:  # once, unless exponentials that are not kept need a third sum
                others, largest, next_top, next_least, fit, needed = three_rows(
                    like, n, row, begin, top, least, e, fine, kind != SOFTMAX,
                    following, before, share, target_before, waiting, in_place, past, twice,
                )  # fmt: skip
                again, fine = twice and needed and not fine, True
            top, least = next_top, next_least
            wary = WARY if needed else max(wary - 1, 0)
        elif waiting:
            write_row(like, before, n, share, target_before, past)
        waiting = False
        if not fit:
            start, r, known = r, r + 1, False
            while r < min(last, start + 1 + RUN // n) and not fits(like, at(x, offset_of(r, inner, xo, xi)), n):
                r += 1
            value_rows(like, kind, x, inner, xo, xi, out, out_inner, oo, oi, weights, weighted, n, start, r, logs_past, work)
            continue
        if kind == SOFTMAX and twice:
            write_again(like, row, n, here, lowest, weight / (others + largest), target)
        elif kind == SOFTMAX:
            share, waiting, target_before = weight / (others + largest), True, target
            before = e
        elif kind == LOG_SOFTMAX:
            write_logs(like, row, n, here, others / largest, target, logs_past)
        else:
            put(target, 0, here + first_lane(log1p(like, every(like, others / largest))))
        r += 1
    if waiting:
        write_row(like, before, n, share, target_before, past)


@compiled()
def gradient_rows_in_two_words(
    like: Any, x: Any, xi: int, out: Any, oi: int, write: bool, labels: Any, weights: Any, weighted: bool, weights_step: int,
    ignored: int, losses: Any, n: int, count: int, past: bool, work: Any,
) -> None:  # fmt: skip
    """in_turn.gradient_rows."""
    if n > KEPT:
        gradient_rows(
            like, x, xi, out, oi, write, labels, weights, weighted, weights_step, ignored, losses, n, count, past, work
        )  # fmt: skip
        return
    past = past and TOGETHER  # where any place of a row can be loaded
    bottom = pointer(address(work) + LINE, like)
    before = upper(like, bottom, n)
    target_before, top, least, share, slope, label_before = out, 0.0, 0.0, 0.0, 0.0, 0
    known = waiting = False
    wary = 0
    r = 0
    while r < count:
        row, label = at(x, r * xi), get(labels, r)
        target = at(out, r * oi)
        begin = first_whole(like, row, n, target, write, past)
        e, in_place = next_place(like, row, n, begin, bottom, before, waiting, target_before)
        weight = get(weights, r * weights_step) if weighted else 1.0
        if label != ignored and not known:
            top, least = extremes(like, row, n)
        known = fit = label != ignored and may_fit(top, least, weight, n)
        others, largest, here = 0.0, 0.0, top
        if fit:
            following = at(x, min(r + 1, count - 1) * xi)
            if past:
                ask_for_ends(n, target)
            others, largest, top, least, fit, needed = three_rows(
                like, n, row, begin, top, least, e, wary > 0, True,
                following, before, share, target_before, waiting, in_place, past, False,
            )  # fmt: skip
            wary = WARY if needed else max(wary - 1, 0)
        elif waiting:
            write_row(like, before, n, share, target_before, past)
        if waiting and label_before >= 0:
            put(target_before, label_before, slope)
        waiting = False
        if not fit:
            start, r, known = r, r + 1, False
            while r < min(count, start + 1 + RUN // n) and (get(labels, r) == ignored or not fits(like, at(x, r * xi), n)):
                r += 1
            gradient_rows(
                like, at(x, start * xi), xi, at(out, start * oi), oi, write, at(labels, start), at(weights, start * weights_step),
                weighted, weights_step, ignored, at(losses, start), n, r - start, past, work,
            )  # fmt: skip
            continue
        z = np.float64(get(row, label))
        put(losses, r, first_lane(log1p(like, every(like, others / largest))) - (z - here))
        if write:
            share, waiting, target_before = weight / (others + largest), True, target
            slope = label_slope(others, one_kept(like, e, label, n), z - here, weight, share, 0.0)
            label_before = label if weight != 0.0 else -1  # with no weight there is no slope, -0 neither
            before = e
        r += 1
    if waiting:
        write_row(like, before, n, share, target_before, past)
        if label_before >= 0:
            put(target_before, label_before, slope)


value_rows_of = by_type(lambda like: value_rows_in_two_words if two_words_for(like) else value_rows)
gradient_rows_of = by_type(lambda like: gradient_rows_in_two_words if two_words_for(like) else gradient_rows)
