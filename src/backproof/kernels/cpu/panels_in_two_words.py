"""panels.py for single precision: exponentials in two words, with the bits of rows_in_two_words.py.

Lanes that do not fit go by panels.py, all of them together, which leaves the results of the others where they are kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import address, by_type, compiled, get, pointer, put
from backproof.kernels.cpu.exponential import log1p
from backproof.kernels.cpu.fitting import MASKED, TOO_FAR, reduced, weight_fits
from backproof.kernels.cpu.integers import add_bits, fixed_points
from backproof.kernels.cpu.lanes import at, every, every_narrow, lanes_of, larger, smaller
from backproof.kernels.cpu.limits import LOGSUMEXP, SOFTMAX
from backproof.kernels.cpu.long_rows import logs
from backproof.kernels.cpu.panels import KEPT, fill, offset_of, panel_of_gradients, panel_of_values, pour
from backproof.kernels.cpu.quotient import label_slope
from backproof.kernels.cpu.registers import lanes_greater
from backproof.kernels.cpu.single_row import narrow
from backproof.kernels.cpu.two_words import (
    FARTHEST,
    farthest,
    in_two_words,
    misfits,
    powers_in_words,
    shift_for,
    times_share,
    two_words_for,
)
from backproof.kernels.cpu.word_sums import FIRST, SECOND, SURE, SURE_AGAIN, SURE_BY_TWO, THIRD, add_words, added, difference, units
from backproof.kernels.rows import load, load_wide, magnitude, store, where_equal, where_greater, wide

TOP, OTHERS, LOG, WHOLE, WEIGHT, SHARE = range(6)


@compiled(late=True)
def exponentials_of(panel: Any, n: int, e: Any, width: int, tops: Any, bound: Any, shift: Any, nothing: Any, masked: bool) -> Any:
    """The exponentials to e, a row of high words and a row of low ones; how far they reach. `masked`: a constant."""
    r, rest, power, shifted = reduced(load(panel, 0), tops, bound, nothing, shift, masked)
    reach = farthest(nothing, shifted)
    for c in range(n):
        high, low = powers_in_words(r, rest, power)
        r, rest, power, shifted = reduced(load(panel, min(c + 1, n - 1) * width), tops, bound, nothing, shift, masked)
        reach = farthest(reach, shifted)
        store(e, 2 * c * width, high)
        store(e, (2 * c + 1) * width, low)
    return reach


@compiled(late=True)
def sums_of(n: int, e: Any, width: int, constants: Any, nothing: Any, fine: bool) -> Any:
    """The three sums; `fine` is a constant to the compiler."""
    sums = (nothing, nothing, nothing)
    for c in range(n):
        sums = add_words(sums, constants, load(e, 2 * c * width), load(e, (2 * c + 1) * width), fine)
    return sums


@compiled()
def others_alone(n: int, e: Any, width: int, largest: Any, bound: Any, nothing: Any) -> Any:
    """overlapped_words.others_alone lane by lane."""
    high, _ = fixed_points(bound)
    count = nothing
    for c in range(n):
        row = wide(load(e, 2 * c * width)) + wide(load(e, (2 * c + 1) * width))
        count = add_bits(count, where_equal(row, largest, nothing, row) + high)
    return difference(units(count, high, n), nothing) * (high * 2.0**-52)


@compiled()
def study(like: Any, panel: Any, n: int, e: Any, found: Any, fine: bool) -> tuple[Any, Any]:
    """What is found for each lane; the lanes that do not fit, and those that are masked, as the bits of numbers."""
    width = lanes_of(like)
    top = low_end = load(panel, 0)
    nothing, none = every_narrow(like, 0.0), every(like, 0.0)
    for c in range(1, n):
        row = load(panel, c * width)
        top, low_end = larger(row, top), smaller(row, low_end)
    shift, bound = shift_for(top), narrow(like, wide(top) - MASKED)
    masked = np.int64(lanes_greater(bound, low_end))
    if masked != 0:
        reach = exponentials_of(panel, n, e, width, top, bound, shift, nothing, True)
    else:
        reach = exponentials_of(panel, n, e, width, top, bound, shift, nothing, False)
    constants = (every_narrow(like, FIRST), every_narrow(like, SECOND), every_narrow(like, THIRD))
    sums = sums_of(n, e, width, constants, nothing, True) if fine else sums_of(n, e, width, constants, nothing, False)
    high, low, _ = in_two_words(top, shift)
    one = add_words((nothing, nothing, nothing), constants, high, low, fine)
    ones = difference(units(sums[0], constants[0], n), units(one[0], constants[0], 1))
    seconds = difference(units(sums[1], constants[1], n), units(one[1], constants[1], 1))
    largest = wide(high) + wide(low)
    wrong = misfits(reach, True) | ~np.int64(lanes_greater(every_narrow(like, FARTHEST), magnitude(top)))
    wrong |= np.int64(lanes_greater(wide(top) - TOO_FAR, wide(low_end))) & ~masked
    others = added(ones, seconds, none)
    if fine:
        thirds = difference(units(sums[2], constants[2], n), units(one[2], constants[2], 1))
        others = where_greater(largest * (n * SURE_BY_TWO), others, added(ones, seconds, thirds), others)
        sure = largest * (n * SURE)
        if lanes_greater(sure, others) != 0:
            least = largest * (n * SURE_AGAIN)
            others = where_greater(sure, others, others_alone(n, e, width, largest, larger(others, least), none), others)
            wrong |= np.int64(lanes_greater(least, others))
        store(found, OTHERS * width, others)
        store(found, LOG * width, log1p(like, others / largest))
    store(found, TOP * width, wide(top))
    store(found, WHOLE * width, others + largest)
    return wrong, masked


@compiled(late=True)
def write_panel(like: Any, n: int, e: Any, found: Any, made: Any) -> None:
    """Each lane's exponentials times its share: its weight / (their sum), which is left in `found`."""
    width = lanes_of(like)
    share = load_wide(found, WEIGHT * width, made) / load_wide(found, WHOLE * width, made)
    store(found, SHARE * width, share)
    shares = narrow(like, share)
    rests = narrow(like, share - wide(shares))
    for c in range(n):
        store(made, c * width, times_share(load(e, 2 * c * width), load(e, (2 * c + 1) * width), shares, rests))


@compiled()
def panel_of_values_in_two_words(
    like: Any, kind: int, x: Any, first: int, count: int, inner: int, xo: int, xi: int, xc: int, n: int,
    out: Any, oo: int, oi: int, oc: int, weights: Any, weighted: bool, panel: Any, work: Any, found: Any,
) -> None:  # fmt: skip
    """panels.panel_of_values."""
    width = lanes_of(like)
    made, e = at(panel, 2 * n * width), pointer(address(work), like)
    fill(like, x, first, count, inner, xo, xi, xc, n, panel)
    wrong, masked = study(like, panel, n, e, found, kind != SOFTMAX)
    if kind == LOGSUMEXP:
        for lane in range(count):
            put(made, lane, get(found, TOP * width + lane) + get(found, LOG * width + lane))
    elif kind == SOFTMAX:
        for lane in range(width):
            weight = get(weights, first + lane) if weighted and lane < count else 1.0
            put(found, WEIGHT * width + lane, weight)
            if not weight_fits(weight, masked >> lane & 1 != 0, n):
                wrong |= 1 << lane
        write_panel(like, n, e, found, made)
    else:
        tops, log_sum = load_wide(found, TOP * width, panel), load_wide(found, LOG * width, panel)
        for c in range(n):
            store(made, c * width, logs(like, wide(load(panel, c * width)), tops, log_sum))
    wrong &= (1 << count) - 1
    if wrong != 0:
        panel_of_values(like, kind, x, first, count, inner, xo, xi, xc, n, out, oo, oi, oc, weights, weighted, panel, work, found)
    if kind == LOGSUMEXP:
        for lane in range(count):
            if wrong >> lane & 1 == 0:
                put(out, first + lane, get(made, lane))
    elif wrong == 0:
        pour(like, made, out, first, count, inner, oo, oi, oc, n)
    else:
        pour_some(made, out, wrong, first, count, inner, oo, oi, oc, n, width)


@compiled()
def pour_some(
    made: Any, out: Any, wrong: int, first: int, count: int, inner: int, oo: int, oi: int, oc: int, n: int, width: int
) -> None:
    for lane in range(count):
        if wrong >> lane & 1 == 0:
            begin = offset_of(first + lane, inner, oo, oi)
            for c in range(n):
                put(out, begin + c * oc, get(made, c * width + lane))


@compiled()
def panel_of_gradients_in_two_words(
    like: Any, x: Any, first: int, count: int, xi: int, xc: int, n: int, out: Any, oi: int, oc: int, write: bool,
    labels: Any, weights: Any, weighted: bool, weights_step: int, ignored: int, losses: Any, panel: Any, work: Any, found: Any,
) -> None:  # fmt: skip
    """panels.panel_of_gradients."""
    width = lanes_of(like)
    made, e = at(panel, 2 * n * width), pointer(address(work), like)
    fill(like, x, first, count, 1 << 62, 0, xi, xc, n, panel)
    wrong, masked = study(like, panel, n, e, found, True)
    for lane in range(count, width):
        put(found, WEIGHT * width + lane, 0.0)
    for lane in range(count):
        y = get(labels, first + lane)
        weight = get(weights, (first + lane) * weights_step) if weighted else 1.0
        if y == ignored:
            put(found, KEPT * width + lane, 0.0)
            put(found, WEIGHT * width + lane, 0.0)
        else:
            d = np.float64(get(panel, y * width + lane)) - get(found, TOP * width + lane)
            put(found, KEPT * width + lane, get(found, LOG * width + lane) - d)
            put(found, WEIGHT * width + lane, weight)
            if weight != 0.0 and not weight_fits(weight, masked >> lane & 1 != 0, n):
                wrong |= 1 << lane
    if write:
        write_panel(like, n, e, found, made)
        for lane in range(count):
            y, weight = get(labels, first + lane), get(found, WEIGHT * width + lane)
            if weight != 0.0:
                place = 2 * y * width + lane
                at_label = np.float64(get(e, place)) + np.float64(get(e, place + width))
                d = np.float64(get(panel, y * width + lane)) - get(found, TOP * width + lane)
                others, share = get(found, OTHERS * width + lane), get(found, SHARE * width + lane)
                put(made, y * width + lane, label_slope(others, at_label, d, weight, share, 0.0))
    wrong &= (1 << count) - 1
    if wrong != 0:
        panel_of_gradients(
            like, x, first, count, xi, xc, n, out, oi, oc, write, labels, weights, weighted, weights_step, ignored, losses, panel,
            work, found,
        )  # fmt: skip
    for lane in range(count):
        if wrong >> lane & 1 == 0:
            put(losses, first + lane, get(found, KEPT * width + lane))
    if write and wrong == 0:
        pour(like, made, out, first, count, 1 << 62, 0, oi, oc, n)
    elif write:
        pour_some(made, out, wrong, first, count, 1 << 62, 0, oi, oc, n, width)


values_panel_of = by_type(lambda like: panel_of_values_in_two_words if two_words_for(like) else panel_of_values)
gradients_panel_of = by_type(lambda like: panel_of_gradients_in_two_words if two_words_for(like) else panel_of_gradients)
