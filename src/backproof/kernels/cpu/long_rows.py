"""One row of logits that lie next to each other and fill at least a vector: sweeps over it, from the first to the last.

    top_of         the two largest logits
    write_scaled   softmax, or the gradient of cross-entropy but for the label
    write_logs     log-softmax

The sum of its exponentials comes between: overlapped.py. A sweep ends with the row's last vector, which overlaps the one before:
what both hold counts once, and where the output takes the place of the input, the last vector is read before anything is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.exact_sum import BLOCK
from backproof.kernels.cpu.exponential import exponentials, log1p
from backproof.kernels.cpu.lanes import (
    LINE,
    every,
    every_narrow,
    first_lane,
    is_double,
    itemsize,
    lanes_of,
    larger,
    last_lanes,
    smaller,
    store_lanes,
    store_past,
    two_largest,
)
from backproof.kernels.cpu.quotient import scaled
from backproof.kernels.cpu.registers import every_half, load_half, load_lanes, same_in
from backproof.kernels.cpu.single_row import narrow
from backproof.kernels.cpu.streams import first_line, whole_lines
from backproof.kernels.rows import load, load_wide, store, total, where_equal, wide

INFINITY = np.inf


@compiled()
def top_of(like: Any, x: Any, n: int) -> tuple[float, float, int, float]:
    """The largest logit, the next largest, where the block begins that holds the largest, and nan if not all are finite."""
    width = lanes_of(like)
    top, second, place, strange = -INFINITY, -INFINITY, 0, 0.0
    lowest, zero = every_narrow(like, -INFINITY), every_narrow(like, 0.0)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        one, two, lost, lost_too = lowest, lowest, zero, zero
        i = start
        while i + 2 * width <= stop:
            row, next_row = load(x, i), load(x, i + width)
            two = larger(smaller(row, one), two)
            one = larger(row, one)
            two = larger(smaller(next_row, one), two)
            one = larger(next_row, one)
            lost += row * 0.0
            lost_too += next_row * 0.0
            i += 2 * width
        while i < stop:
            row = load(x, min(i, n - width))
            lost += row * 0.0
            row = last_lanes(row, min(stop - i, width), lowest)
            two = larger(smaller(row, one), two)
            one = larger(row, one)
            i += width
        a, b = two_largest(one, two)
        strange += np.float64(total(lost + lost_too))
        if a > top:
            top, second, place = np.float64(a), max(top, np.float64(b)), start
        else:
            second = max(second, np.float64(a))
    return top, second, place, strange


@compiled()
def write_scaled(
    like: Any, x: Any, n: int, top: float, share: float, rest: float, e: Any, kept: bool, out: Any, past: bool
) -> None:  # fmt: skip
    """exp(x - top) times (share + rest) to `out`, which may be x; `past`: past the caches."""
    width = lanes_of(like)
    tops, shares, rests = every(like, top), every(like, share), every(like, rest)
    if kept:  # the last vector first: what overlaps is then written once more
        store(out, n - width, scaled(like, load_wide(e, n - width, x), shares, rests))
        begin = 0
        if past:
            store(out, 0, scaled(like, load_wide(e, 0, x), shares, rests))
            begin = first_line(like, out)
            for i in range(begin, n - width + 1, width):
                store_past(out, i, scaled(like, load_wide(e, i, x), shares, rests))
        else:
            for i in range(0, n - width + 1, width):
                store(out, i, scaled(like, load_wide(e, i, x), shares, rests))
    else:
        last = scaled(like, exponentials(like, wide(load(x, n - width)), tops), shares, rests)
        for i in range(0, n - width + 1, width):
            store(out, i, scaled(like, exponentials(like, wide(load(x, i)), tops), shares, rests))
        store(out, n - width, last)


@compiled()
def logs(like: Any, x: Any, tops: Any, log_sum: Any) -> Any:
    """(x - top) - log1p(s); in double precision with what rounding takes from x - top."""
    d = x - tops
    if not is_double(like):
        return d - log_sum
    back = d - x
    c = (x - (d - back)) - (tops + back)
    zero = tops - tops
    return (d - log_sum) + where_equal(d - d, zero, c, zero)  # x = -inf has no c


@compiled()
def write_logs(like: Any, x: Any, n: int, top: float, s: float, out: Any, past: bool) -> None:
    """log-softmax to `out`, which may be x; `past`: past the caches, where half a row fills a line of them."""
    width = lanes_of(like)
    tops, log_sum = every(like, top), log1p(like, every(like, s))
    if past and width * itemsize(like) == 2 * LINE:
        write_logs_past(like, x, n, top, first_lane(log_sum), out)
        return
    last = logs(like, wide(load(x, n - width)), tops, log_sum)
    for i in range(0, n - width + 1, width):
        store(out, i, logs(like, wide(load(x, i)), tops, log_sum))
    store(out, n - width, last)


@compiled()
def write_logs_past(like: Any, x: Any, n: int, top: float, log_sum: float, out: Any) -> None:
    """A line at a time; of the lines that the row fills in part nothing else is touched: one that has just gone past the caches
    would have to come back."""
    lanes = lanes_of(like) // 2
    nothing = wide(every_half(like, 0.0))
    tops, log_sums = same_in(nothing, top), same_in(nothing, log_sum)
    begin, final = whole_lines(like, out, n, lanes)
    end = final + lanes
    row = wide(load_lanes(x, begin - lanes, lanes - begin, lanes))
    store_lanes(out, begin - lanes, narrow(like, logs(like, row, tops, log_sums)), lanes - begin, lanes)
    for i in range(begin, end, lanes):
        store_past(out, i, logs(like, wide(load_half(x, i)), tops, log_sums))
    row = wide(load_lanes(x, end, 0, n - end))
    store_lanes(out, end, narrow(like, logs(like, row, tops, log_sums)), 0, n - end)
