"""The product with softmax's Jacobian in single precision, row after row: g_i = h_i (u_i - v), v = <h, u> / <h, 1>.

The sums are of u - u_0 in double precision, so that a constant u leaves exactly 0. Results are formed in single precision with v
in two words: v = a + b, a rounded, and g_i = h_i (u_i - a) - h_i b in a fused operation. With r = 2^-24 the rounding of u_i - a
costs r |u_i - v|, that of the result as much: at most 2 r of the result, but where u_i - a is about as small as b, and exact then.

Where one class has more than half the probability (h_k > <h, 1> / 2) its u_k and v nearly agree, and v in double precision would
lose the difference: there the sums are formed once more with u - u_k, v - u_k = a + b, and g_i = h_i ((u_i - u_k) - a) - h_i b, at
k exactly -h_k (a + b). As |v - u_k| is then at most half of M = max |u - u_k|, the roundings are at most 4 r h_i M here too.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from backproof.kernels.compiled import address, compiled, get, intrinsic, pointer, put
from backproof.kernels.cpu.exponential import fused, plus
from backproof.kernels.cpu.lanes import (
    LINE,
    at,
    every,
    every_narrow,
    fetch,
    itemsize,
    lanes_of,
    larger,
    last_lanes,
    store_past,
    two_largest,
)
from backproof.kernels.cpu.registers import load_half
from backproof.kernels.cpu.streams import PAGE, around, ask_for_ends, turn, whole_lines
from backproof.kernels.rows import Row, load, store, total, wide

SOON = 2048  # numbers that are asked for before they are needed: two pages (Granite Rapids; one took 3 % longer)


@intrinsic
def slopes(typingctx: Any, h: Any, u: Any, base: Any, first: Any, rest: Any) -> Any:
    """h ((u - base) - first) - h rest, the last difference fused with its first product."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        h, u, base, first, rest = args
        c = builder.fsub(builder.fsub(u, base), first)
        return fused(builder, h, c, builder.fneg(builder.fmul(h, rest)))

    return h(h, h, h, h, h), codegen


@intrinsic
def narrow(typingctx: Any, like: Any, row: Any) -> Any:
    """The row rounded to T."""
    to = Row(like, row.lanes)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return args[1] if args[1].type == to.vector else builder.fptrunc(args[1], to.vector)

    return to(like, row), codegen


@intrinsic
def narrowed(typingctx: Any, number: Any) -> Any:
    """The number rounded to single precision, in double precision."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(builder.fptrunc(args[0], ir.FloatType()), ir.DoubleType())

    return types.float64(types.float64), codegen


@compiled(late=True)
def head_size(like: Any) -> int:
    """Numbers at an edge before those of the last vector: what may come before a row's first whole line, in whole vectors."""
    return max(LINE // itemsize(like), lanes_of(like))


@compiled()
def put_ends(like: Any, out: Any, edge: Any, n: int, begin: int, final: int, past: bool) -> None:
    """What whole vectors have left of a row: its end, from the last vector at `edge`, or if they went `past` the caches, what comes
    before the place `begin` too; the last of them is at `final`."""
    width, line = lanes_of(like), LINE // itemsize(like)
    end = at(edge, head_size(like) - (n - width))
    if past:
        for i in range(begin):
            put(out, i, get(edge, i))
        rest = final + width
        if width > line and n - rest >= line:  # nobody has asked for it
            store_past(out, rest, load_half(end, rest))
            rest += line
        for i in range(rest, n):
            put(out, i, get(end, i))
    else:
        store(out, n - width, load(end, n - width))


@compiled()
def two_rows(
    like: Any, n: int, h: Any, u: Any, centre: float, read: bool, far: bool,
    h_before: Any, u_before: Any, base: float, first: float, rest: float, out: Any, write: bool, past: bool, work: Any,
) -> tuple[float, float, float]:  # fmt: skip
    """If `read`: <h, u - centre>, <h, 1> and the largest h of a row; if `write`: the product of the row before, to out.

    `far`: the rows are not in the cache yet. `past`: out is written past the caches; but no line of it both so and otherwise.
    """
    width = lanes_of(like)
    centres, zero = every(like, centre), every(like, 0.0)
    below = zero - centres
    sums, mass, one = zero, zero, every_narrow(like, -np.inf)
    bases, firsts, rests = every_narrow(like, base), every_narrow(like, first), every_narrow(like, rest)
    whole = n // width * width
    begin, final, turned = 0, whole - width, turn(like, h, PAGE // 2, out, whole, width)
    edge = pointer(address(work), like)
    if write:  # what the last vector needs may be written over by the others
        store(edge, head_size(like), slopes(load(h_before, n - width), load(u_before, n - width), bases, firsts, rests))
        if past:
            for i in range(0, head_size(like), width):
                store(edge, i, slopes(load(h_before, i), load(u_before, i), bases, firsts, rests))
            begin, final = whole_lines(like, out, n, width)
    for i in range(0, n - width + 1, width):
        if read:
            narrow = load(h, i)
            row = wide(narrow)
            one = larger(narrow, one)
            sums += row * plus(wide(load(u, i)), below)
            mass = plus(row, mass)
            if far:
                fetch(h, i + SOON)
                fetch(u, i + SOON)
        if write:
            j = around(i + turned, whole)
            if past:
                j += begin
                if j <= final:  # there may be one vector less
                    store_past(out, j, slopes(load(h_before, j), load(u_before, j), bases, firsts, rests))
            else:
                store(out, j, slopes(load(h_before, j), load(u_before, j), bases, firsts, rests))
    if write:
        put_ends(like, out, edge, n, begin, final, past)
    if not read:
        return 0.0, 0.0, 0.0
    if n % width:
        narrow = load(h, n - width)
        row = last_lanes(wide(narrow), n % width, zero)
        one = larger(narrow, one)
        sums += row * (wide(load(u, n - width)) - centres)
        mass += row
    top, _ = two_largest(one, one)
    return total(sums), total(mass), np.float64(top)


@compiled(late=True)
def rows_at(
    h: Any, ho: int, hi: int, u: Any, uo: int, ui: int, out: Any, oo: int, oi: int, outer: int, place: int
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Row number `place` of a run: of both arguments and the result."""
    return at(h, outer * ho + place * hi), at(u, outer * uo + place * ui), at(out, outer * oo + place * oi)


@compiled(late=True)
def place_after(outer: int, place: int, inner: int) -> tuple[int, int]:
    """Where the next row is, of runs of `inner` rows: counted on, as a division takes as long as a short row."""
    return (outer + 1, 0) if place + 1 == inner else (outer, place + 1)


@compiled()
def softmax_rows_in_single(
    like: Any, h: Any, ho: int, hi: int, u: Any, uo: int, ui: int, out: Any, oo: int, oi: int, inner: int, n: int,
    first_row: int, last_row: int, far: bool, past: bool, work: Any,
) -> None:  # fmt: skip
    """Each row's sums are formed while the row before is written."""
    base, first, rest = 0.0, 0.0, 0.0
    waiting = False
    h_before, u_before, target_before = h, u, out
    outer, place = first_row // inner, first_row % inner
    for r in range(first_row, last_row + 1):
        read = r < last_row
        row, other, target = h_before, u_before, target_before
        if read:
            row, other, target = rows_at(h, ho, hi, u, uo, ui, out, oo, oi, outer, place)
            if past:
                ask_for_ends(n, target)
        start = np.float64(get(other, 0))
        centre, confident, again = start, False, True
        mean = 0.0
        while again:  # written once: what is called twice is compiled twice
            sums, mass, top = two_rows(
                like, n, row, other, centre, read, far and not confident,
                h_before, u_before, base, first, rest, target_before, waiting, past, work,
            )  # fmt: skip
            waiting = False
            mean = sums / mass if mass != 0.0 else sums
            again = read and top > 0.5 * mass and not confident
            if again:
                confident, k = True, 0
                while get(row, k) != top and k < n - 1:
                    k += 1
                again = centre != np.float64(get(other, k))
                centre = np.float64(get(other, k))
        if confident:
            base, first = centre, narrowed(mean)
            rest = mean - first
        else:
            base, first = narrowed(centre + mean), 0.0
            rest = (centre - base) + mean
        waiting, h_before, u_before, target_before = True, row, other, target
        outer, place = place_after(outer, place, inner)
