"""A part of a row: its exponentials in two words, their sums, the extremes of the following row, the result of the row before.

    state       the first half of the next exponentials, which are a register ahead of the second: chains half as long are waited
                for; how far the exponentials reach; the extremes
    row         x, its exponentials e and how far apart their words are; where the last register begins; what `reduced` needs
    following   that row; where it begins (streams.py), and how many numbers fill whole registers
    writing     the exponentials of the row before, its share in two words, where it goes, the last place, where to begin, and a
                place for what would come behind the last

Long vectors have 32 registers, and all is done at once. With 16 there are two loops, and exponentials lie in the first cache until
they are summed. In loops masked, fine, write and past are constants to the compiler.
"""

from __future__ import annotations

from typing import Any

from backproof.kernels.compiled import compiled
from backproof.kernels.cpu.fitting import reduced
from backproof.kernels.cpu.kept_words import keep, kept
from backproof.kernels.cpu.lanes import at, fetch, fetch_half, larger, smaller, store_past
from backproof.kernels.cpu.registers import load_half, store_half
from backproof.kernels.cpu.streams import around
from backproof.kernels.cpu.two_words import LANES, farthest, powers_in_words, strangest, times_share
from backproof.kernels.cpu.word_sums import add_words

SOON = 1024  # numbers that are asked for before they are needed


@compiled(late=True)
def read_at(i: int, writing: Any, low_place: int, whole: int) -> Any:
    """Where the next part of the row before goes, and its words: they are read before anything is stored in their place."""
    before, _, _, out, final, turn, spare = writing
    j = around(i + turn, whole)
    return at(out, j) if j <= final else spare, kept(before, j, low_place)


@compiled(late=True)
def write_at(place: Any, words: Any, writing: Any, past: bool) -> None:
    _, shares, rests, _, _, _, _ = writing
    if past:
        store_past(place, 0, times_share(words[0], words[1], shares, rests))
    else:
        store_half(place, 0, times_share(words[0], words[1], shares, rests))


@compiled(late=True)
def begun_at(i: int, reach: Any, row: Any, masked: bool) -> tuple[Any, Any]:
    """The first half of the exponentials of the register at i; how far they reach, too."""
    x, _, _, _, tops, bound, nothing, shift = row
    r, rest, power, shifted = reduced(load_half(x, i), tops, bound, nothing, shift, masked)
    return (r, rest, power), farthest(reach, shifted) if masked else strangest(reach, shifted)


@compiled(late=True)
def exponentials(begun: Any, reach: Any, row: Any, i: int, lanes: int, masked: bool) -> Any:
    """Those of the register at i, whose first half is in `begun`; and the first half of the next."""
    _, e, low_place, last, _, _, _, _ = row
    high, low = powers_in_words(*begun)
    begun, reach = begun_at(min(i + lanes, last), reach, row, masked)
    keep(e, i, low_place, high, low)
    return begun, reach, high, low


@compiled(late=True)
def at_once(
    state: Any, sums: Any, row: Any, following: Any, writing: Any, constants: Any, start: int, stop: int, lanes: int,
    masked: bool, fine: bool, write: bool, past: bool,
) -> Any:  # fmt: skip
    begun, reach, high_end, low_end = state
    next_row, turn, whole = following
    for i in range(start, stop, lanes):
        if write:
            place, words = read_at(i, writing, row[2], whole)
        begun, reach, high, low = exponentials(begun, reach, row, i, lanes, masked)
        sums = add_words(sums, constants, high, low, fine)
        logits = load_half(next_row, around(i + turn, whole))
        high_end, low_end = larger(logits, high_end), smaller(logits, low_end)
        fetch_half(next_row, i + turn + SOON)
        if write:
            write_at(place, words, writing, past)
    return (begun, reach, high_end, low_end), sums


@compiled(late=True)
def long_vectors(
    state: Any, sums: Any, row: Any, following: Any, writing: Any, constants: Any, start: int, stop: int, lanes: int,
    masked: bool, fine: bool, write: bool, past: bool,
) -> Any:  # fmt: skip
    if masked or (not write and not fine):
        return at_once(state, sums, row, following, writing, constants, start, stop, lanes, masked, fine, write, past)
    if not write:
        return at_once(state, sums, row, following, writing, constants, start, stop, lanes, False, True, False, False)
    if past:
        if fine:
            return at_once(state, sums, row, following, writing, constants, start, stop, lanes, False, True, True, True)
        return at_once(state, sums, row, following, writing, constants, start, stop, lanes, False, False, True, True)
    if fine:
        return at_once(state, sums, row, following, writing, constants, start, stop, lanes, False, True, True, False)
    return at_once(state, sums, row, following, writing, constants, start, stop, lanes, False, False, True, False)


@compiled(late=True)
def first_loop(state: Any, row: Any, following: Any, start: int, stop: int, lanes: int, masked: bool) -> Any:
    begun, reach, high_end, low_end = state
    next_row, _, _ = following
    for i in range(start, stop, lanes):
        begun, reach, _, _ = exponentials(begun, reach, row, i, lanes, masked)
        logits = load_half(next_row, i)
        high_end, low_end = larger(logits, high_end), smaller(logits, low_end)
        if i & lanes == 0:
            fetch(next_row, i + SOON)
    return begun, reach, high_end, low_end


@compiled(late=True)
def second_loop(
    sums: Any, row: Any, writing: Any, constants: Any, start: int, stop: int, lanes: int, fine: bool, write: bool
) -> Any:  # fmt: skip
    _, e, low_place, _, _, _, _, _ = row
    before, shares, rests, out, _, _, _ = writing
    if write:
        for i in range(start, stop, lanes):
            high, low = kept(e, i, low_place)
            sums = add_words(sums, constants, high, low, fine)
            high, low = kept(before, i, low_place)
            store_half(out, i, times_share(high, low, shares, rests))
    else:
        for i in range(start, stop, lanes):
            high, low = kept(e, i, low_place)
            sums = add_words(sums, constants, high, low, fine)
    return sums


@compiled(late=True)
def short_vectors(
    state: Any, sums: Any, row: Any, following: Any, writing: Any, constants: Any, start: int, stop: int, lanes: int,
    masked: bool, fine: bool, write: bool, past: bool,
) -> Any:  # fmt: skip
    if masked:
        state = first_loop(state, row, following, start, stop, lanes, True)
    else:
        state = first_loop(state, row, following, start, stop, lanes, False)
    if fine:
        return state, second_loop(sums, row, writing, constants, start, stop, lanes, True, write)
    return state, second_loop(sums, row, writing, constants, start, stop, lanes, False, write)


PART = 4096 if LANES == 16 else 256  # numbers
part = long_vectors if LANES == 16 else short_vectors
