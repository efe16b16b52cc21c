"""The three matrix products of a linear layer, on activations that are stored in panels.

A panel holds `width` examples side by side: panel[p, feature, lane] is example p * width + lane. With examples along the vector
lanes all three products run on the tile of tiles.py, and what one layer writes is what the next one reads, without repacking:

    forward            y = W x       y[o, lane] = sum over i of W[o, i] x[i, lane]
    backward, input    dx = W^T dy   dx[i, lane] = sum over o of W[o, i] dy[o, lane]
    backward, weight   dW = dy x^T   dW[o, i] = sum over examples of dy[o, example] x[i, example]

Only the last one needs x the other way round, in panels of features: flipped[q, example, lane] is feature q * width + lane. Lanes
beyond the last example hold x = 0 and dy = 0, so that they add nothing; lanes beyond the last feature are never looked at.

Sums over a long k are cut into stretches that stay in the cache. Each number is summed in an order that depends on the layer's
sizes alone, not on the thread or the tile that it falls to.
"""

from __future__ import annotations

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, get, put, runtime
from backproof.kernels.cpu.lanes import fetch
from backproof.kernels.rows import load, splat, store, total, transpose, vector_bytes, width_of
from backproof.kernels.tiles import TILE, rows_times_panel

STRETCH = (32 << 10) // (2 * vector_bytes())  # terms of a sum at a time: a panel of them is 32 KB
GROUPS = 8  # of TILE rows of W
BLOCK = GROUPS * TILE  # rows of W at a time


def pack_size(width: int) -> int:
    """The room that `input_product` needs for columns of W."""
    return GROUPS * (TILE * STRETCH + width)


@compiled()
def stretch_of(terms: int) -> int:
    """The even cut of `terms` into stretches of at most STRETCH."""
    pieces = (terms + STRETCH - 1) // STRETCH
    return (terms + pieces - 1) // pieces


@compiled()
def forward_product(
    w: Array, w0: int, outputs: int, inputs: int, x: Array, x0: int, y: Array, y0: int, first: int, last: int
) -> None:
    """y = W x for the panels first <= p < last. The rows of W that follow are asked for meanwhile."""
    width, stretch = width_of(x), stretch_of(inputs)
    step = (TILE + last - first - 1) // (last - first)
    for o in range(0, outputs, BLOCK):
        rows = min(BLOCK, outputs - o)
        ahead = w0 + (o + rows) * inputs
        for k in range(0, inputs, stretch):
            terms = min(stretch, inputs - k)
            for p in range(first, last):
                rows_times_panel(
                    w, w0 + o * inputs + k, TILE * inputs, inputs, runtime(0), runtime(1), x,
                    x0 + (p * inputs + k) * width, runtime(1), terms, y, y0 + (p * outputs + o) * width, width, rows, k > 0,
                    w, ahead, step,
                )  # fmt: skip
                ahead += (rows + TILE - 1) // TILE * terms * step


@compiled()
def input_product(
    w: Array, w0: int, outputs: int, inputs: int, dy: Array, dy0: int, dx: Array, dx0: int, first: int, last: int, pack0: int,
    accumulate: bool,
) -> None:  # fmt: skip
    """dx = W^T dy (or dx += W^T dy) for the panels first <= p < last.

    Columns of W are first copied side by side, at `pack0` of dx's array. Whole widths are copied, of which the next copy covers
    what is too much; behind each group of columns there is room for it.
    """
    width, stretch, end = width_of(dy), stretch_of(outputs), w0 + outputs * inputs
    for k in range(0, outputs, stretch):
        terms = min(stretch, outputs - k)
        group = TILE * terms + width
        for i in range(0, inputs, BLOCK):
            rows = min(BLOCK, inputs - i)
            for t in range(terms):
                at = w0 + (k + t) * inputs + i
                for j in range(0, rows, width):
                    fetch(w, at + BLOCK + j)  # the next block's: each row lies on a page of its own, or nearly
                to = pack0 + t * TILE
                for r in range(0, rows, TILE):
                    if at + r + TILE + width <= end:
                        for j in range(0, TILE, width):
                            store(dx, to + j, load(w, at + r + j))
                    else:
                        for j in range(min(TILE, rows - r)):
                            put(dx, to + j, get(w, at + r + j))
                    to += group
            for p in range(first, last):
                rows_times_panel(
                    dx, pack0, group, runtime(1), runtime(0), runtime(TILE), dy,
                    dy0 + (p * outputs + k) * width, runtime(1), terms,
                    dx, dx0 + (p * inputs + i) * width, width, rows, accumulate or k > 0, dx, pack0, runtime(0),
                )  # fmt: skip


@compiled()
def weight_product(work: Array, d0: int, outputs: int, o: int, rows: int, f0: int, inputs: int, panels: int, g0: int) -> None:
    """Rows o <= . < o + rows of dW = dy x^T over all panels, to g0; formed with rows of whole widths, then closed up."""
    width = width_of(work)
    padded = (inputs + width - 1) // width * width
    for i in range(0, inputs, width):
        rows_times_panel(
            work, d0 + o * width, TILE * width, width, outputs * width, runtime(1), work, f0 + i * panels * width, panels, width,
            work, g0 + i, padded, rows, inputs < 0, work, g0, runtime(0),
        )  # fmt: skip
    if padded != inputs:
        # whole widths at a time, and from the front: what is written beyond a row lies before all that is still to be read
        for r in range(1, rows):
            for i in range(0, inputs, width):
                store(work, g0 + r * inputs + i, load(work, g0 + r * padded + i))


@compiled()
def row_sum(dy: Array, at: int, step: int, panels: int) -> float:
    """The sum of one feature over all examples: db = dy 1."""
    lanes = load(dy, at)
    for p in range(1, panels):
        lanes += load(dy, at + p * step)
    result: float = total(lanes)
    return result


@compiled()
def to_panel(x: Array, start: int, row: int, examples: int, features: int, p: int, out: Array, x0: int) -> None:
    """Rows of x[start:] (examples, features), `row` apart, to panel p, at x0; missing examples become zeros."""
    width = width_of(out)
    half = width // 2
    begin = p * width
    count = min(width, examples - begin)
    whole = features // half * half if count == width else 0
    for j in range(0, whole, half):
        for lane in range(0, width, half):
            transpose(x, start + (begin + lane) * row + j, row, out, x0 + j * width + lane, width)
    for j in range(whole, features):
        at = x0 + j * width
        store(out, at, splat(out, 0.0))
        for lane in range(count):
            put(out, at + lane, get(x, start + (begin + lane) * row + j))


@compiled()
def load_panel(x: Array, examples: int, inputs: int, p: int, out: Array, x0: int, f0: int, panels: int) -> None:
    """Rows of x (examples, inputs) to panel p of those at x0, and to the flipped panels at f0; missing examples become zeros."""
    width = width_of(out)
    begin = p * width
    count = min(width, examples - begin)
    to_panel(x, runtime(0), inputs, examples, inputs, p, out, x0 + p * inputs * width)
    for n in range(width):
        at, source = f0 + (begin + n) * width, (begin + n) * inputs
        for i in range(0, inputs, width):
            if n < count and i + width <= inputs:
                store(out, at, load(x, source + i))
            else:
                store(out, at, splat(out, 0.0))
                for lane in range(inputs - i if n < count else 0):
                    put(out, at + lane, get(x, source + i + lane))
            at += panels * width * width


@compiled()
def flip_panel(out: Array, x0: int, features: int, p: int, f0: int, panels: int) -> None:
    """Panel p of `features` features, at x0, to the flipped panels at f0. Beyond the last feature it copies what is there."""
    width = width_of(out)
    half = width // 2
    for q in range((features + width - 1) // width):
        for j in range(0, width, half):
            for lane in range(0, width, half):
                source = x0 + (p * features + q * width + j) * width + lane
                transpose(out, source, width, out, f0 + ((q * panels + p) * width + lane) * width + j, width)
