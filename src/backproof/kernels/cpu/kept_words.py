"""Where exponentials in two words lie until their row is written.

With long vectors all high words are together, and `apart` behind them the low ones, so that any place of the row can be loaded. As
streams.py asks for it, what is stored keeps together, half a page from what is loaded. Behind a row of logits, in its page, there
are

    RESULT   the row before, as it is written         HIGH, HIGH + APART    the words of this row, as they are stored
    NEXT     the following row, as it is looked through

and the words of the row before, as they are loaded, are near the logits where results lie as logits do in their pages. The words
are placed there; results and the following row take turns. With shorter vectors the high words of a register are followed by its
low words, and what does not fill a register has one more: that is 10 to 20 % faster there.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba.extending import register_jitable

from backproof.kernels.compiled import address, compiled, get, pointer
from backproof.kernels.cpu.lanes import LINE, at, lanes_of, store_lanes, store_past
from backproof.kernels.cpu.registers import every_half, load_half, store_half
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.streams import PAGE, first_line, whole_lines
from backproof.kernels.cpu.two_words import LANES, times_share

TOGETHER = LANES == 16
RESULT, HIGH, APART, NEXT = 2048, 2048, 256, 512  # bytes
LONG = 8192  # numbers of a row from which on its words go where those of the row before have just been read
LONG_HIGH, LONG_APART = 1408, 1344  # then
NEAR = 512  # bytes: a result that lies less behind a long row's logits in their pages takes turns
ALIGNED = 256  # numbers of a row from which on it is worth a vector more to fill lines
WORD = 4  # bytes of a number
# Numbers of a row from which on exponentials are not kept (softmax computes them twice): they leave the second cache. What comes
# behind gives a core 29 GB/s on a Granite Rapids, where 64 rows of 256,000 then take 5.2 ms for 6.4; kept, 3.9 on a Zen 4.
TWICE = 1 << 17 if not llvm.get_host_cpu_name().startswith("znver") else 1 << 62


@register_jitable  # for Python and compiled code
def numbers_apart(n: int, lanes: int) -> int:
    """How far the low words lie behind the high ones: of long rows a page farther than these reach, as the low words may be stored
    up to a page before those of the row before, and must not come to its high words.
    """
    least, aim = (n + lanes + PAGE // WORD, LONG_APART) if n >= LONG else (n + lanes, APART)
    return least + (aim // WORD - least) % (PAGE // WORD)


@register_jitable
def words_room(n: int, lanes: int) -> int:
    """Doubles of work for the words of two rows, each anywhere in a page, and for a line before them."""
    return (LINE + 2 * (2 * numbers_apart(n, lanes) * WORD + PAGE)) // 8


@compiled()
def apart(like: Any, n: int) -> int:
    return numbers_apart(n, lanes_of(like))


@compiled()
def upper(like: Any, bottom: Any, n: int) -> Any:
    """The second half of the room."""
    return at(bottom, 2 * apart(like, n) + PAGE // WORD)


@compiled()
def first_whole(like: Any, row: Any, n: int, out: Any, write: bool, past: bool) -> int:
    """The number of a row that its first whole vector begins at: where the result fills a line, or the row if none is written.

    A vector that does not fill a line takes two loads; but what stands before the first whole one is a vector more.
    """
    if past:
        return first_line(like, out)
    return first_line(like, row) if TOGETHER and not write and n >= ALIGNED else 0


@compiled()
def next_place(like: Any, row: Any, n: int, begin: int, bottom: Any, before: Any, waiting: bool, out: Any) -> tuple[Any, bool]:
    """Where in the room the words of this row go, number `begin` at the beginning of a line; whether that is where `before`, those
    of the row before, are.

    They may be a little before these, in memory: what is stored then never comes to what is still to be read. In between they go
    to the half of the room that those are not in.
    """
    top = upper(like, bottom, n)
    aim = address(at(row, begin)) + (LONG_HIGH if n >= LONG else HIGH) & -LINE
    start, middle, behind = address(bottom), address(top), address(before) + LINE - 1 & -LINE
    if TOGETHER and waiting and n >= LONG:
        gap = address(out) - address(row) & PAGE - LINE
        if gap == 0 or gap >= NEAR or start + PAGE <= behind < middle:
            down = behind - aim & PAGE - 1
            if behind - down >= start:
                return pointer(behind - down - begin * WORD, like), True
    half = start if behind >= middle else middle
    if TOGETHER:
        half += aim - half & PAGE - 1
    return pointer(half - begin * WORD, like), False


@compiled(late=True)
def end_place(n: int, lanes: int) -> int:
    """The place of the register that holds the end of a row, if whole ones do not."""
    return n - lanes if TOGETHER else n // lanes * lanes


@compiled(late=True)
def keep(e: Any, i: int, low_place: int, high: Any, low: Any) -> None:
    store_half(e, i if TOGETHER else 2 * i, high)
    store_half(e, i + low_place if TOGETHER else 2 * i + LANES, low)


@compiled(late=True)
def kept(e: Any, i: int, low_place: int) -> tuple[Any, Any]:
    """The exponentials of the logits from i on."""
    return load_half(e, i if TOGETHER else 2 * i), load_half(e, i + low_place if TOGETHER else 2 * i + LANES)


@compiled()
def one_kept(like: Any, e: Any, i: int, n: int) -> float:
    """The exponential of logit number i."""
    high, low = i, i + apart(like, n)
    if not TOGETHER:
        whole = n // LANES * LANES
        high = i // LANES * LANES + i if i < whole else 2 * whole + LANES + i - n
        low = high + LANES
    return np.float64(get(e, high)) + np.float64(get(e, low))


@compiled()
def write_ends(like: Any, e: Any, n: int, shares: Any, rests: Any, out: Any, past: bool) -> tuple[int, int]:
    """Write what whole vectors leave; the first and last place of such: with `past` those that fill lines of the cache."""
    lanes, low_place = lanes_of(like) // 2, apart(like, n)
    begin, final = 0, n // lanes * lanes - lanes
    if past:
        begin, final = whole_lines(like, out, n, lanes)
        high, low = kept(e, begin - lanes, low_place)  # within the one line
        store_lanes(out, begin - lanes, times_share(high, low, shares, rests), lanes - begin, lanes)
        high, low = kept(e, final + lanes, low_place)
        store_lanes(out, final + lanes, times_share(high, low, shares, rests), 0, n - final - lanes)
    elif n % lanes:  # of what overlaps, the second number written is the same
        high, low = kept(e, end_place(n, lanes), low_place)
        store_half(out, n - lanes, times_share(high, low, shares, rests))
    return begin, final


@compiled()
def write_row(like: Any, e: Any, n: int, share: float, out: Any, past: bool) -> None:
    """The exponentials times share to `out`."""
    lanes, low_place = lanes_of(like) // 2, apart(like, n)
    shares, rests = every_half(like, share), every_half(like, share - narrowed(share))
    begin, final = write_ends(like, e, n, shares, rests, out, past)
    for i in range(begin, final + 1, lanes):
        high, low = kept(e, i, low_place)
        if past:
            store_past(out, i, times_share(high, low, shares, rests))
        else:
            store_half(out, i, times_share(high, low, shares, rests))
