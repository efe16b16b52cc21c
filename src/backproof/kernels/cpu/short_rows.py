"""The product with softmax's Jacobian in single precision for many short rows: single_row.py's formulas, a batch of rows at a time.

A batch is as many rows as a vector has lanes. What one row must wait for (sums across its lanes, a division) is done for all of
them at once, and the sweeps before and after hold nothing that waits for another row.

    rows next to each other       their sums one by one, a register of doubles at a time; the rest of them by lane
    rows with strides             a panel [class, lane], one row a lane

Both add up in the same order, so that no layout has other bits: with D the doubles of a register, the classes j, j + D, j + 2D ...
for each j < D, and then these sums by halves.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import address, compiled, get, pointer, put
from backproof.kernels.cpu.lanes import at, every, every_narrow, lanes_of, larger
from backproof.kernels.cpu.registers import (
    first_bit,
    folded,
    half_of,
    lanes_greater,
    load_half,
    load_register,
    load_start,
    plus_product,
    register_of,
    shifted,
    store_half,
)
from backproof.kernels.cpu.single_row import narrow, narrowed, slopes
from backproof.kernels.rows import load, load_wide, store, where_equal, where_greater, wide

SHORT = 64  # classes below which rows are short: with more, a row alone keeps the processor busy
SUMS, MASS, CENTRE, BASES, FIRSTS, RESTS, HALF = range(7)
CERTAIN = 1.0 - 2.0**-22  # beyond this share of the probability, <h, u - u_0> - <h, 1> (u_k - u_0) has not enough digits left


@compiled(inline=True)
def row_sums(h: Any, u: Any, n: int, lanes: int, k: int) -> tuple[float, float]:
    """<h, u - u_k> and <h, 1> of a row."""
    centre = register_of(u, k)
    whole = n // lanes * lanes
    mass = load_register(h, 0)
    sums = mass * (load_register(u, 0) - centre)
    for i in range(lanes, whole, lanes):
        row = load_register(h, i)
        sums = plus_product(sums, row, load_register(u, i) - centre)
        mass = mass + row
    if whole < n:
        row = load_start(h, whole, n - whole)
        sums = plus_product(sums, row, load_start(u, whole, n - whole) - centre)
        mass = mass + row
    return folded(sums), folded(mass)


@compiled()
def split(like: Any, centre: Any, sums: Any, mass: Any) -> tuple[Any, Any]:
    """base and rest: v = base + rest, base in single precision."""
    mean = sums / where_equal(mass, every(like, 0.0), every(like, 1.0), mass)
    base = wide(narrow(like, centre + mean))
    return base, (centre - base) + mean


@compiled()
def again(like: Any, h: Any, u: Any, n: int, k: int, lane: int, found: Any, words: Any) -> None:
    """A row with a class of more than half the probability, with its u_k as the base: v - u_k = first + rest."""
    width = lanes_of(like)
    mean = get(found, SUMS * width + lane) / get(found, MASS * width + lane)
    mean -= np.float64(get(u, k)) - np.float64(get(u, 0))
    if np.float64(get(h, k)) > get(found, MASS * width + lane) * CERTAIN:
        sums, mass = row_sums(h, u, n, width // 4, k)
        mean = sums / mass
    first = narrowed(mean)
    put(words, BASES * width + lane, get(u, k))
    put(words, FIRSTS * width + lane, first)
    put(words, RESTS * width + lane, mean - first)


@compiled()
def batch(like: Any, h: Any, h_step: int, u: Any, u_step: int, out: Any, out_step: int, count: int, n: int, found: Any) -> None:
    """The product for `count` rows next to each other, of half a vector to SHORT classes."""
    width = lanes_of(like)
    half, lanes = width // 2, width // 4
    for lane in range(count):
        row = at(u, lane * u_step)
        sums, mass = row_sums(at(h, lane * h_step), row, n, lanes, 0)
        put(found, SUMS * width + lane, sums)
        put(found, MASS * width + lane, mass)
        put(found, CENTRE * width + lane, np.float64(get(row, 0)))
    for lane in range(count, width):
        for i in range(CENTRE + 1):
            put(found, i * width + lane, 0.0)
    mass = load_wide(found, MASS * width, h)
    base, rest = split(like, load_wide(found, CENTRE * width, h), load_wide(found, SUMS * width, h), mass)
    words = pointer(address(found) + 8 * CENTRE * width, like)
    store(words, BASES * width, base)
    store(words, FIRSTS * width, every(like, 0.0))
    store(words, RESTS * width, rest)
    store(words, HALF * width, mass * 0.5)
    for lane in range(count):
        row, other, to = at(h, lane * h_step), at(u, lane * u_step), at(out, lane * out_step)
        bound = half_of(words, HALF * width + lane)
        top = shifted(lanes_greater(load_half(row, n - half), bound), n - half) | lanes_greater(load_half(row, 0), bound)
        for i in range(half, n - half, half):
            top |= shifted(lanes_greater(load_half(row, i), bound), i)
        if top != 0:
            again(like, row, other, n, first_bit(top), lane, found, words)
        base, first, rest = (
            half_of(words, BASES * width + lane), half_of(words, FIRSTS * width + lane), half_of(words, RESTS * width + lane)
        )  # fmt: skip
        begin = slopes(load_half(row, 0), load_half(other, 0), base, first, rest)  # up to a vector of classes there is nothing
        last = slopes(load_half(row, n - half), load_half(other, n - half), base, first, rest)  # between the two, and no loop
        for i in range(half, n - half, half):
            store_half(to, i, slopes(load_half(row, i), load_half(other, i), base, first, rest))
        store_half(to, 0, begin)
        store_half(to, n - half, last)


@compiled()
def panel_sums(like: Any, h: Any, u: Any, n: int, centre: Any, room: Any) -> tuple[Any, Any]:
    """<h, u - centre> and <h, 1> lane by lane, in the order of `row_sums`."""
    width = lanes_of(like)
    lanes = width // 4
    for j in range(lanes):
        sums = mass = every(like, 0.0)
        for c in range(j, n, lanes):
            row = wide(load(h, c * width))
            sums = plus_product(sums, row, wide(load(u, c * width)) - centre)
            mass = mass + row
        store(room, 2 * j * width, sums)
        store(room, (2 * j + 1) * width, mass)
    while lanes > 1:
        lanes //= 2
        for j in range(2 * lanes):
            store(room, j * width, load_wide(room, j * width, h) + load_wide(room, (j + 2 * lanes) * width, h))
    return load_wide(room, 0, h), load_wide(room, width, h)


@compiled()
def panel(like: Any, h: Any, u: Any, n: int, room: Any) -> None:
    """The product for rows side by side in two panels; the results take the place of u."""
    width = lanes_of(like)
    top = load(h, 0)
    for c in range(1, n):
        top = larger(load(h, c * width), top)
    centre = load(u, 0)
    sums, mass = panel_sums(like, h, u, n, wide(centre), room)
    bases, rests = split(like, wide(centre), sums, mass)
    base, first, rest, bound = narrow(like, bases), every_narrow(like, 0.0), narrow(like, rests), narrow(like, mass * 0.5)
    if lanes_greater(top, bound) != 0:
        beside = centre
        for c in range(n - 1, -1, -1):
            beside = where_greater(load(h, c * width), bound, load(u, c * width), beside)
        mean = sums / mass - (wide(beside) - wide(centre))
        sure = mass * CERTAIN
        if lanes_greater(wide(top), sure) != 0:
            sums, mass = panel_sums(like, h, u, n, wide(beside), room)
            mean = where_greater(wide(top), sure, sums / mass, mean)
        near = narrow(like, mean)
        base = where_greater(top, bound, beside, base)
        first = where_greater(top, bound, near, first)
        rest = where_greater(top, bound, narrow(like, mean - wide(near)), rest)
    for c in range(n):
        store(u, c * width, slopes(load(h, c * width), load(u, c * width), base, first, rest))
