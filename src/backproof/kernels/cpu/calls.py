"""From NumPy arrays to stretches of rows: strides, threads, work space, and which compiled function it is."""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types

from backproof.arrays import Array
from backproof.kernels import team
from backproof.kernels.compiled import entry

WORTH_A_THREAD = 1 << 15  # numbers below which another thread takes longer to wake than to be of use
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
    """The rows along `axis` of arrays of one shape: neighbouring dimensions joined where the strides allow, then two of them."""
    dimensions: list[tuple[int, tuple[int, ...]]] = []
    for d, size in enumerate(arrays[0].shape):
        if d != axis and size != 1:
            steps = tuple(a.strides[d] // a.itemsize for a in arrays)
            if dimensions and all(big == small * size for big, small in zip(dimensions[-1][1], steps, strict=True)):
                dimensions[-1] = (dimensions[-1][0] * size, steps)
            else:
                dimensions.append((size, steps))
    none = (0,) * len(arrays)
    (outer, outer_steps), (inner, inner_steps) = [(1, none), (1, none), *dimensions][-2:]
    starts = [
        tuple(
            sum(i * steps[a] * arrays[a].itemsize for i, (_, steps) in zip(index, dimensions, strict=False))
            for a in range(len(arrays))
        )
        for index in itertools.product(*(range(size) for size, _ in dimensions[:-2]))
    ]
    return Rows(inner, outer * inner, outer_steps, inner_steps, starts)


def plain(a: Array) -> Array:
    """`a`, or a copy where it is not aligned, in foreign byte order, or has strides that are no multiple of its items."""
    if a.flags.aligned and a.dtype.isnative and all(s % a.itemsize == 0 for s in a.strides):
        return a
    return np.array(a, dtype=a.dtype.newbyteorder("="), order="C")


@cache
def sweep(function: Callable[..., Any], integers: str, dtype: np.dtype[Any]) -> Any:
    """The function compiled for a dtype: its first argument is a number of that dtype, then i: integer, b: boolean."""
    kinds = {"i": types.int64, "b": types.boolean, "d": types.float64}
    like = types.float32 if dtype == np.float32 else types.float64
    what = f"{function.__module__.rpartition('.')[2]}.{function.__name__} of softmax and cross-entropy for {dtype}"
    return entry(types.none(like, *(kinds[letter] for letter in integers)), what)(function)


_spare: list[Array] = []
SPARE = 1 << 20  # doubles of work that are kept for the next call


class Work:
    """Work space of one thread, taken for a moment from what earlier calls have left."""

    def __init__(self, doubles: int) -> None:
        try:
            self.array = _spare.pop()
        except IndexError:
            self.array = np.empty(0)
        if self.array.size < doubles + 8:
            self.array = np.empty(doubles + 8)
        address = self.array.ctypes.data
        self.address = address + (-address & 63)

    def back(self) -> None:
        if self.array.size <= SPARE and len(_spare) < 64:
            _spare.append(self.array)


def stretches(rows: int, numbers: int) -> list[tuple[int, int]]:
    """The rows in as many equal parts as there are threads worth waking."""
    parts = max(1, min(rows, threads(), numbers // WORTH_A_THREAD))
    cuts = [rows * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(cuts))


def run(call: Callable[[int, int, int], None], rows: int, n: int, doubles: int) -> None:
    """call(first, last, address of work) for all rows, by the threads together. The first error is raised here."""
    if rows * n < 2 * WORTH_A_THREAD:
        work = Work(doubles)
        call(0, rows, work.address)
        work.back()
        return
    parts = stretches(rows, rows * n)
    works = [Work(doubles) for _ in parts]
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def guarded(part: tuple[int, int], work: Work) -> None:
        try:
            call(*part, work.address)
            done.put(None)
        except BaseException as error:
            done.put(error)

    for helper, part, work in zip(team.helpers(len(parts) - 1), parts[1:], works[1:], strict=True):
        helper.jobs.put((guarded, (part, work)))
    guarded(parts[0], works[0])
    errors = [done.get() for _ in parts]
    for work in works:
        work.back()
    for error in errors:
        if error is not None:
            raise error
