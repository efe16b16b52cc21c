"""From NumPy arrays to stretches of rows: strides, threads, work space, and which compiled function it is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import types

from backproof.arrays import Array, Shape
from backproof.kernels import crew, team
from backproof.kernels.compiled import address_of, called_at_once, entry

SHARED = 1 << 17  # numbers from which on another thread is of more use than its call takes
EACH, LEAST = 2, 1 << 15  # parts for each thread, and the numbers of one
PANEL = 64  # rows; a multiple of what stands side by side in vectors of any length
LIMITS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")


def threads() -> int:
    """How many threads to use: the processors, or fewer where the environment says so."""
    given = [int(value) for value in map(os.environ.get, LIMITS) if value is not None and value.isdecimal() and int(value) > 0]
    return min([team.processors(), *given])


class Rows(NamedTuple):
    """Rows as the compiled sweeps count them, `inner` to a run, `number` to a set of runs.

    starts: what each set adds to the arrays' addresses.
    """

    inner: int
    number: int
    outer_steps: tuple[int, ...]
    inner_steps: tuple[int, ...]
    starts: list[tuple[int, ...]]


def rows_of(axis: int, *arrays: Array) -> Rows:
    """The rows along `axis` of arrays of one shape and item size."""
    return _rows_of(axis, arrays[0].itemsize, arrays[0].shape, *(a.strides for a in arrays))


@lru_cache(maxsize=256)  # training calls with the same few layouts again and again
def _rows_of(axis: int, item: int, shape: Shape, *strides: Shape) -> Rows:
    """Neighbouring dimensions joined where the strides allow, then two of them; starts for the others."""
    dimensions: list[tuple[int, tuple[int, ...]]] = []
    for d, size in enumerate(shape):
        if d != axis and size != 1:
            steps = tuple(each[d] // item for each in strides)
            if dimensions and all(big == small * size for big, small in zip(dimensions[-1][1], steps, strict=True)):
                dimensions[-1] = (dimensions[-1][0] * size, steps)
            else:
                dimensions.append((size, steps))
    none = (0,) * len(strides)
    (outer, outer_steps), (inner, inner_steps) = [(1, none), (1, none), *dimensions][-2:]
    starts = [
        tuple(sum(i * steps[a] * item for i, (_, steps) in zip(index, dimensions, strict=False)) for a in range(len(strides)))
        for index in itertools.product(*(range(size) for size, _ in dimensions[:-2]))
    ]
    return Rows(inner, outer * inner, outer_steps, inner_steps, starts)


def plain(a: Array) -> Array:
    """`a`, or a copy where it is not aligned, in foreign byte order, or has strides that are no multiple of its items."""
    if a.dtype.isnative and a.flags.aligned and (a.flags.c_contiguous or all(s % a.itemsize == 0 for s in a.strides)):
        return a
    return np.array(a, dtype=a.dtype.newbyteorder("="), order="C")


class Sweep(NamedTuple):
    """A compiled kernel. Its function takes a number of its dtype, arguments, first and last row, flags, an address of work."""

    like: Any
    function: Any
    letters: str
    address: int

    def over(self, rows: int, n: int, doubles: int, arguments: tuple[Any, ...], flags: tuple[bool, ...] = ()) -> None:
        """All rows of n numbers, by the threads together; each has so many doubles of work space."""
        members = threads() if rows > 1 and rows * n >= SHARED else 1  # to count them takes as long as a short call
        if members == 1:
            work = borrowed(doubles)
            self.function(self.like, *arguments, 0, rows, *flags, work.address)
            work.back()
            return
        cuts = stretches(rows, rows * n, members)
        works = [borrowed(doubles) for _ in range(min(members, len(cuts) - 1))]
        taking = crew.taking(np.dtype(type(self.like)), self.letters)
        crew.share(self.address, taking, [*map(_bits, arguments), *map(int, flags)], cuts, [work.address for work in works])
        for work in works:
            work.back()


def _bits(argument: int | float) -> int:
    """What stands in a job's table for it."""
    return argument if isinstance(argument, int) else int(np.float64(argument).view(np.int64))


@cache
def sweep(function: Callable[..., Any], letters: str, dtype: np.dtype[Any]) -> Sweep:
    """The function compiled for a dtype; `crew.signature` has the letters."""
    what = f"{function.__module__.rpartition('.')[2]}.{function.__name__} of softmax and cross-entropy for {dtype}"
    made = entry(crew.signature(types.float32 if dtype == np.float32 else types.float64, letters), what)(function)
    return Sweep(dtype.type(0), called_at_once(made), letters, address_of(made))


class Work:
    """Work space of one thread: at least so many doubles from `address` on."""

    __slots__ = ("address", "array", "size")

    def __init__(self, doubles: int) -> None:
        whole = np.empty(doubles + 7)
        skipped = (-whole.ctypes.data & 63) // 8
        self.array = whole[skipped : skipped + doubles]
        self.address, self.size = self.array.ctypes.data, doubles  # asked for once: it takes longer than the rest of a short call

    def back(self) -> None:
        """The next call may have it."""
        if self.size <= SPARE and len(spare) < 64:
            spare.append(self)


spare: list[Work] = []
SPARE = 1 << 20  # doubles of work that are kept for the next call


def borrowed(doubles: int) -> Work:
    """Work space for a moment: what an earlier call left, if it is enough."""
    try:
        work = spare.pop()
        if work.size >= doubles:
            return work
    except IndexError:
        pass
    return Work(doubles)


def stretches(rows: int, numbers: int, members: int) -> list[int]:
    """Where the rows are cut: some parts for each thread if there is enough to do; those of many short rows hold whole panels."""
    most = EACH * members
    whole = PANEL if rows >= PANEL * most else 1
    parts = max(1, min(rows // whole, most, numbers // LEAST))
    return [*(rows * i // parts // whole * whole for i in range(parts)), rows]
