"""Arrays as the programs see them, and how many programs of which tiles there are.

A row that fits is in the registers of its program, read once. A longer one is swept three times, the last two out of the cache. The
tiles are chosen by the number of classes alone, so that no other rows change a bit.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor

BYTES = 16  # that are read at once
FARTHEST = 2**30  # numbers that a program counts within a group of rows next to each other
NUMBERS = 1024  # in a tile of short rows
SHORT, NUMBERS_OF_SHORT, EACH_OF_SHORT = 64, 512, 128  # rows so short that most of the work is done once a row
SIDE_BY_SIDE, FEW = 32, 256  # rows that are next to each other in memory in a tile, and classes


class Kind(NamedTuple):
    """What was fastest with compute capability 9.0, for a kind of program and numbers of some size."""

    longest: int  # classes of a row that is read once
    each: int  # numbers of such a row for 32 threads
    crowded: int  # from so many classes on, a thread has no more than REGISTERS, so that a second program finds room
    swept: int  # numbers of a tile of longer rows
    each_swept: int
    side_by_side: int  # numbers for 32 threads where rows are next to each other


KINDS = {  # by the bytes of a number
    "ONE_ARRAY": {4: Kind(8192, 512, 8192, 8192, 512, 512), 2: Kind(32768, 1024, 8192, 2048, 256, 1024)},
    "LABELLED": {4: Kind(8192, 512, 1024, 8192, 512, 1024), 2: Kind(32768, 1024, 8192, 2048, 256, 1024)},
    "TWO_ARRAYS": {4: Kind(8192, 512, 8192, 4096, 128, 512), 2: Kind(8192, 512, 8192, 4096, 256, 1024)},
}
REGISTERS = 64


class Rows(NamedTuple):
    """How an array is divided: `rows` rows, whose classes are `inner` numbers apart."""

    rows: int
    inner: int
    classes: int

    @property
    def reach(self) -> int:
        """Numbers of a group of rows next to each other in memory."""
        return self.inner * self.classes if self.inner > 1 else 0

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


@lru_cache(maxsize=1024)
def launch(kind_of_program: str, of: Rows, itemsize: int, **constants: Any) -> Launch:
    kind, block, vector = KINDS[kind_of_program][itemsize], _power(of.classes), of.vector(itemsize)
    # so many that equal logits throughout, each 2^bits units, are less than 2^63 units: in the row, or where it is swept, in each
    # place of the smallest tile; not in that of this launch, as the bits of a result depend on it
    added = block if block <= kind.longest else -(-of.classes // FEW)
    bits = min(51, 63 - added.bit_length())
    if of.axis:
        whole = block <= kind.longest
        block, each = (block, kind.each) if whole else (kind.swept, kind.each_swept)
        numbers, each = (NUMBERS_OF_SHORT, EACH_OF_SHORT) if block <= SHORT else (NUMBERS, each)
        rows = max(1, numbers // block)
        programs = -(-of.rows // rows)
    else:
        whole, block, each = block <= FEW, min(block, FEW), kind.side_by_side
        rows = min(SIDE_BY_SIDE, _power(of.inner))
        programs = of.rows // of.inner * -(-of.inner // rows)
    warps = min(max(rows * block // each, 1), 32)
    if whole and of.axis and block >= kind.crowded and torch.version.hip is None:  # AMD's compiler takes no such option
        constants["maxnreg"] = REGISTERS
    tile = {"ROWS": rows, "CLASSES": block, "WHOLE": whole, "AXIS": of.axis, "BITS": bits, "VECTOR": vector, "num_warps": warps}
    return Launch((programs,), of.classes // vector, {**tile, **constants})


def _power(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (number - 1).bit_length()


def at(z: Tensor) -> AbstractContextManager[Any]:
    """Where z is, programs are launched."""
    return torch.cuda.device(z.device) if z.is_cuda else nullcontext()
