"""Many short rows: as many as a vector has lanes, side by side, one row a lane. Three classes fill the vectors like three thousand.

A panel is a copy [class, lane] of these rows, whatever their strides. Lanes without a row hold zeros. Results are made in a second
panel behind it and copied out. What is found for each row stands in `found`: FOUND rows of doubles, one number a lane.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.exact_sum import added_by_largest, sum_of
from backproof.kernels.cpu.exponential import LOWEST, exponentials, log1p
from backproof.kernels.cpu.integers import add_bits, bits, fixed_points, settled
from backproof.kernels.cpu.lanes import at, every, every_narrow, is_double, lanes_of, larger, smaller
from backproof.kernels.cpu.limits import LOGSUMEXP, SOFTMAX, is_limit, limit_gradient, limit_row
from backproof.kernels.cpu.logarithm import rounded_sum
from backproof.kernels.cpu.long_rows import logs
from backproof.kernels.cpu.quotient import label_slope, scaled, shares
from backproof.kernels.cpu.short_blocks import IN_REGISTERS, fill_block, pour_block
from backproof.kernels.rows import load, load_wide, store, transpose, where_greater, wide

TOP, OTHERS, LOW, LOG, STRANGE, WEIGHT, LABEL, SECOND, COUNT, FINE, REST, KEPT = range(12)
FOUND = 12


@compiled()
def offset_of(row: int, inner: int, outer_step: int, inner_step: int) -> int:
    """Where row number `row` begins; rows are counted through `inner` of them at inner_step, then on by outer_step."""
    if row < inner:  # mostly there is one run, and a division takes long
        return row * inner_step
    return row // inner * outer_step + row % inner * inner_step


@compiled()
def fill(
    like: Any, x: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int, panel: Any
) -> None:
    width = lanes_of(like)
    begins, run = offset_of(first, inner, outer_step, inner_step), first % inner + count <= inner
    if count == width and inner_step == 1 and run:
        for c in range(n):
            store(panel, c * width, load(x, begins + c * step))
        return
    half = width // 2
    if count == width and step == 1 and run and n >= half:  # square blocks, the last one overlapping the one before
        for c in range(0, n, half):
            block = min(c, n - half)
            for lane in range(0, width, half):
                transpose(x, begins + lane * inner_step + block, inner_step, panel, block * width + lane, width)
        return
    if IN_REGISTERS and count == width and step == 1 and run:
        for lane in range(0, width, half):
            fill_block(x, begins + lane * inner_step, inner_step, panel, lane, width, n)
        return
    for lane in range(count):
        begin = begins + lane * inner_step if run else offset_of(first + lane, inner, outer_step, inner_step)
        for c in range(n):
            put(panel, c * width + lane, get(x, begin + c * step))
    for lane in range(count, width):
        for c in range(n):
            put(panel, c * width + lane, 0.0)


@compiled()
def pour(
    like: Any, panel: Any, out: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int
) -> None:
    width = lanes_of(like)
    begins, run = offset_of(first, inner, outer_step, inner_step), first % inner + count <= inner
    if count == width and inner_step == 1 and run:
        for c in range(n):
            store(out, begins + c * step, load(panel, c * width))
        return
    half = width // 2
    if count == width and step == 1 and run and n >= half:
        for c in range(0, n, half):
            block = min(c, n - half)
            for lane in range(0, width, half):
                transpose(panel, block * width + lane, width, out, begins + lane * inner_step + block, inner_step)
        return
    if IN_REGISTERS and count == width and step == 1 and run:
        for lane in range(0, width, half):
            pour_block(panel, lane, width, out, begins + lane * inner_step, inner_step, n)
        return
    for lane in range(count):
        begin = begins + lane * inner_step if run else offset_of(first + lane, inner, outer_step, inner_step)
        for c in range(n):
            put(out, begin + c * step, get(panel, c * width + lane))


@compiled()
def study(like: Any, panel: Any, n: int, e: Any, found: Any, log: bool) -> None:
    """The exponentials to e, the largest logits, s and log1p(s) to `found`; formulas and bits are those of long_rows.py."""
    width = lanes_of(like)
    one = two = every_narrow(like, -np.inf)
    lost = every_narrow(like, 0.0)
    for c in range(n):
        row = load(panel, c * width)
        two = larger(smaller(row, one), two)
        one = larger(row, one)
        lost += row * 0.0
    tops, seconds = wide(one), wide(two)
    high, low = fixed_points(exponentials(like, seconds, tops))
    count, fine = every(like, 0.0), every(like, 0.0)
    for c in range(n):
        row = exponentials(like, wide(load(panel, c * width)), tops)
        store(e, c * width, row)
        raised = row + high
        count = add_bits(count, raised)
        if is_double(like):
            fine = add_bits(fine, (row - (raised - high)) + low)
    others = settled(count, high, n)
    if is_double(like):
        store(found, COUNT * width, count)
        store(found, FINE * width, fine)
        store(found, SECOND * width, high)
        store(found, LOG * width, low)
        for lane in range(width):
            h, f = get(found, SECOND * width + lane), get(found, LOG * width + lane)
            extra, fine_extra = added_by_largest(h, f)
            units = bits(get(found, COUNT * width + lane)) - n * bits(h) - extra
            fines = bits(get(found, FINE * width + lane)) - n * bits(f) - fine_extra
            s, s_low = sum_of(like, h, f, units >> 32, units & 0xFFFFFFFF, fines >> 32, fines & 0xFFFFFFFF)
            put(found, OTHERS * width + lane, s)
            put(found, LOW * width + lane, s_low)
        others = load_wide(found, OTHERS * width, panel)
    else:
        others = where_greater(every(like, LOWEST), seconds - tops, every(like, 0.0), others)
    store(found, TOP * width, tops)
    store(found, OTHERS * width, others)
    if log:
        store(found, LOG * width, log1p(like, others))
    store(found, STRANGE * width, wide(lost))


@compiled()
def panel_of_values(
    like: Any, kind: int, x: Any, first: int, count: int, inner: int, xo: int, xi: int, xc: int, n: int,
    out: Any, oo: int, oi: int, oc: int, weights: Any, weighted: bool, panel: Any, e: Any, found: Any,
) -> None:  # fmt: skip
    """Softmax (times the row's weight), log-softmax or logsumexp of `count` rows."""
    width = lanes_of(like)
    made = at(panel, n * width)
    fill(like, x, first, count, inner, xo, xi, xc, n, panel)
    study(like, panel, n, e, found, kind != SOFTMAX)
    if kind == LOGSUMEXP:
        for lane in range(count):
            top = get(found, TOP * width + lane)
            if is_double(like):
                put(out, first + lane, rounded_sum(top, get(found, OTHERS * width + lane), get(found, LOW * width + lane)))
            else:
                put(out, first + lane, top + get(found, LOG * width + lane))
    elif kind == SOFTMAX:
        given = every(like, 1.0)
        if weighted:
            for lane in range(width):
                put(found, WEIGHT * width + lane, get(weights, first + lane) if lane < count else 0.0)
            given = load_wide(found, WEIGHT * width, panel)
        share, rest = shares(like, given, load_wide(found, OTHERS * width, panel))
        for c in range(n):
            store(made, c * width, scaled(like, load_wide(e, c * width, panel), share, rest))
        pour(like, made, out, first, count, inner, oo, oi, oc, n)
    else:
        tops, log_sum = load_wide(found, TOP * width, panel), load_wide(found, LOG * width, panel)
        for c in range(n):
            store(made, c * width, logs(like, wide(load(panel, c * width)), tops, log_sum))
        pour(like, made, out, first, count, inner, oo, oi, oc, n)
    for lane in range(count):
        if is_limit(at(panel, lane), width, n, get(found, TOP * width + lane), get(found, STRANGE * width + lane)):
            begin = first + lane if kind == LOGSUMEXP else offset_of(first + lane, inner, oo, oi)
            limit_row(kind, at(panel, lane), width, n, at(out, begin), oc, get(weights, first + lane) if weighted else 1.0)


@compiled()
def panel_of_gradients(
    like: Any, x: Any, first: int, count: int, xi: int, xc: int, n: int, out: Any, oi: int, oc: int, write: bool,
    labels: Any, weights: Any, weighted: bool, weights_step: int, ignored: int, losses: Any, panel: Any, e: Any, found: Any,
) -> None:  # fmt: skip
    """Cross-entropy of `count` rows with labels, and weight times its gradient h - t. `ignored` labels make rows of zeros."""
    width = lanes_of(like)
    made = at(panel, n * width)
    fill(like, x, first, count, 1 << 62, 0, xi, xc, n, panel)
    study(like, panel, n, e, found, True)
    special = 0.0  # stays 0 where every row is finite and counts
    for lane in range(width):
        put(found, WEIGHT * width + lane, 0.0)
    for lane in range(count):
        y = get(labels, first + lane)
        if y == ignored:
            put(losses, first + lane, 0.0)
            special = 1.0
        else:
            weight = get(weights, (first + lane) * weights_step) if weighted else 1.0
            d = np.float64(get(panel, y * width + lane)) - get(found, TOP * width + lane)
            put(losses, first + lane, get(found, LOG * width + lane) - d)
            put(found, WEIGHT * width + lane, weight)
            if weight == 0.0:
                special = 1.0
        special += get(found, STRANGE * width + lane)
    if write:
        share, rest = shares(like, load_wide(found, WEIGHT * width, panel), load_wide(found, OTHERS * width, panel))
        store(found, LABEL * width, share)
        store(found, REST * width, rest)
        for c in range(n):
            store(made, c * width, scaled(like, load_wide(e, c * width, panel), share, rest))
        for lane in range(count):
            y = get(labels, first + lane)
            if y != ignored:
                d = np.float64(get(panel, y * width + lane)) - get(found, TOP * width + lane)
                s, at_label = get(found, OTHERS * width + lane), get(e, y * width + lane)
                weight, one, two = (
                    get(found, WEIGHT * width + lane),
                    get(found, LABEL * width + lane),
                    get(found, REST * width + lane),
                )
                put(made, y * width + lane, label_slope(s, at_label, d, get(found, WEIGHT * width + lane), one, two))
        pour(like, made, out, first, count, 1 << 62, 0, oi, oc, n)
    if special == 0.0:
        return
    for lane in range(count):
        y, weight = get(labels, first + lane), get(found, WEIGHT * width + lane)
        strange = is_limit(at(panel, lane), width, n, get(found, TOP * width + lane), get(found, STRANGE * width + lane))
        row = at(out, (first + lane) * oi)
        if strange and y != ignored:
            put(losses, first + lane, limit_gradient(at(panel, lane), width, n, y, weight, row, oc, write))
        if write and weight == 0.0:
            for c in range(n):
                put(row, c * oc, 0.0)
