"""The product with softmax's Jacobian in single precision: two sweeps, g_i = h_i (u_i - v), v = <h, u> / <h, 1>.

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

from backproof.kernels.compiled import compiled, get, intrinsic, put
from backproof.kernels.cpu.exponential import fused
from backproof.kernels.cpu.lanes import (
    address,
    every,
    every_narrow,
    fetch,
    fetch_to_write,
    itemsize,
    lanes_of,
    larger,
    last_lanes,
    pointer,
    store_past,
    two_largest,
)
from backproof.kernels.cpu.long_rows import LINE
from backproof.kernels.rows import Row, load, store, total, wide

LONGEST = 1 << 16  # classes above which the second cache does not hold a row of each array: not the next row is asked for ...
NEXT = 1 << 10  # ... but what is needed soon
NEAR = 1 << 12  # classes up to which a row's output finds room in the second cache beside all else


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


@compiled()
def moments(
    like: Any, h: Any, u: Any, n: int, at: float, ahead_h: int, ahead_u: int, near: Any, past: bool
) -> tuple[float, float, float]:  # fmt: skip
    """<h, u - at>, <h, 1> and the largest h; asks for what lies `ahead` meanwhile (0: for nothing)."""
    width = lanes_of(like)
    centre, zero = every(like, at), every(like, 0.0)
    sums, mass, one = zero, zero, every_narrow(like, -np.inf)
    if ahead_h == 0:  # a loop of its own: asking takes a quarter of its time
        for i in range(0, n - width + 1, width):
            narrow = load(h, i)
            row = wide(narrow)
            one = larger(narrow, one)
            sums += row * (wide(load(u, i)) - centre)
            mass += row
    else:
        for i in range(0, n - width + 1, width):
            narrow = load(h, i)
            row = wide(narrow)
            one = larger(narrow, one)
            sums += row * (wide(load(u, i)) - centre)
            mass += row
            fetch(h, ahead_h + i)
            fetch(u, ahead_u + i)
            if not past:
                fetch_to_write(near, i)
    if n % width:
        narrow = load(h, n - width)
        row = last_lanes(wide(narrow), n % width, zero)
        one = larger(narrow, one)
        sums += row * (wide(load(u, n - width)) - centre)
        mass += row
    top, _ = two_largest(one, one)
    return total(sums), total(mass), np.float64(top)


@compiled()
def softmax_row_in_single(like: Any, h: Any, u: Any, n: int, out: Any, ahead_h: int, ahead_u: int, past: bool, work: Any) -> None:
    width = lanes_of(like)
    near = out if n <= NEAR and not past else u
    base, first, rest = np.float64(get(u, 0)), 0.0, 0.0
    if n > LONGEST and ahead_h != 0:
        ahead_h, ahead_u = NEXT, NEXT
    confident, again = False, True
    while again:  # written once: what is called twice is compiled twice
        sums, mass, top = moments(like, h, u, n, base, ahead_h, ahead_u, near, past)
        mean = sums / mass if mass != 0.0 else sums
        again = top > 0.5 * mass and not confident
        if again:
            confident, k = True, 0
            while get(h, k) != top and k < n - 1:
                k += 1
            again = base != np.float64(get(u, k))
            base = np.float64(get(u, k))
    if confident:
        first = narrowed(mean)
        rest = mean - first
    else:
        start = base
        base = narrowed(start + mean)
        rest = (start - base) + mean
    bases, firsts, rests = every_narrow(like, base), every_narrow(like, first), every_narrow(like, rest)
    last = slopes(load(h, n - width), load(u, n - width), bases, firsts, rests)
    if not past:
        for i in range(0, n - width + 1, width):
            store(out, i, slopes(load(h, i), load(u, i), bases, firsts, rests))
        store(out, n - width, last)
        return
    begin = (-address(out) & (LINE - 1)) // itemsize(like)
    # from the end on, which the second cache still holds; no line is written both past the caches and to them
    stored = begin + (n - begin) // width * width
    for i in range(stored - width, begin - 1, -width):
        store_past(out, i, slopes(load(h, i), load(u, i), bases, firsts, rests))
    edge = pointer(address(work), like)
    store(edge, 0, slopes(load(h, 0), load(u, 0), bases, firsts, rests))
    for i in range(begin):
        put(out, i, get(edge, i))
    store(edge, 0, last)
    for i in range(stored, n):
        put(out, i, get(edge, i - (n - width)))
