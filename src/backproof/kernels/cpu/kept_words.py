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

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.kernels.compiled import address, compiled, get, pointer
from backproof.kernels.cpu.lanes import LINE, at, itemsize, lanes_of, store_lanes, store_past
from backproof.kernels.cpu.registers import every_half, load_half, store_half
from backproof.kernels.cpu.single_row import narrowed
from backproof.kernels.cpu.streams import PAGE
from backproof.kernels.cpu.two_words import LANES, times_share

TOGETHER = LANES == 16
RESULT, HIGH, APART, NEXT = 2048, 2048, 256, 512  # bytes
SLACK = 4 * PAGE // 8  # doubles of work for two rows' words beside the words themselves


@compiled()
def apart(like: Any, n: int) -> int:
    """How far the low words lie behind the high ones."""
    least, page = n + lanes_of(like), PAGE // itemsize(like)
    return least + (APART // itemsize(like) - least) % page


@compiled()
def places(like: Any, work: Any, n: int) -> tuple[Any, Any]:
    """Room for the words of two rows."""
    e = pointer(address(work), like)
    return e, at(e, 2 * apart(like, n) + PAGE // itemsize(like))


@compiled()
def placed(like: Any, e: Any, row: Any) -> Any:
    """Where in its room e the words of this row go."""
    return at(e, (address(row) + HIGH - address(e) & PAGE - LINE) // itemsize(like)) if TOGETHER else e


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
        begin = (-address(out) & (LINE - 1)) // itemsize(like)
        final = begin + (n - begin) // lanes * lanes - lanes
        high, low = kept(e, 0, low_place)
        store_lanes(out, 0, times_share(high, low, shares, rests), 0, begin)
        high, low = kept(e, n - lanes, low_place)
        store_lanes(out, n - lanes, times_share(high, low, shares, rests), final + 2 * lanes - n, lanes)
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
