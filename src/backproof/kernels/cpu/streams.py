"""Streams of a loop over rows that keep apart in memory.

What is loaded soon after something was stored at an address with the same last twelve bits waits for that store, as processors
compare no more of an address at first. A loop over rows that takes 18 cycles for 16 numbers took 40 where a load and a store agreed
in them (Zen 4), and large arrays agree, as they all begin at the beginning of a page. Stores wait in a queue, and loads run ahead:
what is loaded should not come to where something was stored within the last thousand bytes or two. So some of the streams begin in
the middle of their rows, at their `turn`, and go `around`.
"""

from __future__ import annotations

from typing import Any

from backproof.kernels.compiled import address, compiled
from backproof.kernels.cpu.lanes import LINE, fetch_to_write, itemsize

PAGE = 4096  # bytes that twelve bits tell apart


@compiled()
def turn(like: Any, row: Any, behind: int, other: Any, whole: int, lanes: int) -> int:
    """Where the other row, of `whole` numbers, `lanes` at a time, is to begin, so that it is so many bytes behind this one in their
    pages, or nearly."""
    numbers = (address(row) + behind - address(other) & PAGE - LINE) // itemsize(like) // lanes * lanes
    return numbers if numbers < whole else 0


@compiled()
def first_line(like: Any, x: Any) -> int:
    """How many numbers come before the first line of the cache that x fills."""
    return (-address(x) & LINE - 1) // itemsize(like)


@compiled()
def whole_lines(like: Any, out: Any, n: int, lanes: int) -> tuple[int, int]:
    """Of a row of n numbers that goes past the caches, the first and the last place of whole vectors that begin where it fills a
    line."""
    begin = first_line(like, out)
    return begin, begin + (n - begin) // lanes * lanes - lanes


@compiled(late=True)
def around(i: int, whole: int) -> int:
    return i - whole if i >= whole else i


@compiled()
def ask_for_ends(n: int, out: Any) -> None:
    """Of a row that goes past the caches, the lines that it fills in part: all stores would wait until memory has sent them."""
    fetch_to_write(out, 0)
    fetch_to_write(out, n - 1)
