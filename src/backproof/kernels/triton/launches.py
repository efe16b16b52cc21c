"""Arrays as the programs see them, and how many programs of which tiles there are.

A row that fits is in the registers of its program, read once. A longer one is swept three times, the last two out of the cache. The
tiles are chosen by the number of classes alone, so that no other rows change a bit.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor

BYTES = 16  # that are read at once
NUMBERS = 2048  # in a tile of short rows
EACH = 512  # numbers for 32 threads
LONGEST = {4: 8192, 2: 16384}  # classes of rows that are read once, by the bytes of a number
SWEPT = 4096  # numbers in a tile of longer rows
SIDE_BY_SIDE = 32  # rows whose numbers are next to each other, in a tile
WIDEST = 256  # classes in such a tile


class Rows(NamedTuple):
    """How an array is divided: `rows` rows, whose classes are `inner` numbers apart."""

    rows: int
    inner: int
    classes: int

    @property
    def axis(self) -> int:
        """That of the classes in a tile."""
        return int(self.inner == 1)

    def vector(self, itemsize: int) -> int:
        """How many numbers are read at once: as many as 16 bytes hold, if that divides the classes."""
        return math.gcd(self.classes, BYTES // itemsize) if self.axis else 1


class Launch(NamedTuple):
    """A number of programs, and what they are compiled for."""

    grid: tuple[int]
    vectors: int  # of a row
    options: dict[str, Any]


def rows_of(z: Tensor, axis: int) -> Rows:
    return Rows(z.numel() // z.shape[axis], math.prod(z.shape[axis + 1 :]), z.shape[axis])


def launch(of: Rows, itemsize: int, **constants: Any) -> Launch:
    block = 1 << (of.classes - 1).bit_length()
    if of.axis:
        whole = block <= LONGEST[itemsize]
        block = block if whole else SWEPT
        rows = max(1, NUMBERS // block)
    else:
        whole = block <= WIDEST
        block = block if whole else SWEPT // SIDE_BY_SIDE
        rows = SIDE_BY_SIDE
    warps = min(max(rows * block // EACH, 1), 32)
    vector = of.vector(itemsize)
    tile = {"ROWS": rows, "CLASSES": block, "WHOLE": whole, "VECTOR": vector, "num_warps": warps}
    return Launch((-(-of.rows // rows),), of.classes // vector, {**tile, **constants})


def at(z: Tensor) -> AbstractContextManager[Any]:
    """Where z is, programs are launched."""
    return torch.cuda.device(z.device) if z.is_cuda else nullcontext()
