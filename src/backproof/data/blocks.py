"""Arrays as examples: in memory, or mapped from a file, from which a piece is read and let go."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.labels import require_labels, whole
from backproof.data.rows import Image, Piece, Reading, Rows, require_finite_rows, rows_a_piece


def block(array: Array, start: int, stop: int) -> Array:
    """A copy of rows start to stop; of an array mapped from a file, the pages that this took are given back.

    Pages that have been read count as resident memory until the system wants them for something else.
    """
    rows = np.array(array[start:stop])
    owner: object = array
    while isinstance(owner, np.ndarray):
        if isinstance(owner, np.memmap) and getattr(owner, "mode", None) == "c":
            return rows  # private pages hold what has been written to them, and nothing else does
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)
    return rows


class ArrayRows(Rows):
    """The examples x (N, *features), with labels in an array of their own, in a column of x, or without."""

    def __init__(
        self, path: Path, where: str, x: Array, labels: Array | None, labels_where: str = "", column: int | None = None
    ) -> None:
        if x.ndim < 2 or x.size == 0:
            raise DataError(f"{where}: expected shape (N, features) with at least one example, received {x.shape}")
        if x.dtype.kind not in "fiub":
            raise DataError(f"{where}: expected real numbers, received dtype {x.dtype}")
        if labels is not None and labels.shape != (len(x),):
            raise DataError(f"{labels_where}: expected shape ({len(x)},), one label an example, received {labels.shape}")
        self.path, self.where, self.labels_where = path, where, labels_where
        self.x, self.labels, self.column = x, labels, column
        self.width = x[0].size
        self.features = tuple(str(k) for k in range(self.width) if k != column)
        self.rows = rows_a_piece(x[0].nbytes)
        self.segments = -(-len(x) // self.rows)
        self.streams = isinstance(x, np.memmap)
        self.image = _image(x)

    def __len__(self) -> int:
        return len(self.x)

    def pieces(self, segment: int) -> Iterator[Piece]:
        start = segment * self.rows
        stop = min(start + self.rows, len(self))
        x = block(self.x, start, stop).reshape(stop - start, self.width)
        require_finite_rows(self.where, x, start)
        labels = None
        if self.labels is not None:
            labels = require_labels(block(self.labels, start, stop), self.labels_where)
        elif self.column is not None:
            labels = whole(x[:, self.column], f"{self.where}, column {self.column}")
            x = np.delete(x, self.column, axis=1)
        yield Piece(start, x, labels)


def _image(x: Array) -> Image | None:
    """Whole bytes over two axes, or three with the last for 1 or 3 channels, are taken for images: MNIST's and its like."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)):
        return None
    return Image(x.shape[1], x.shape[2], x.shape[3] if x.ndim == 4 else 1)


def column_of(reading: Reading, where: str, x: Array) -> int | None:
    """The column of a matrix that `reading.target` counts out, from the end if below 0; None if it is no number."""
    if reading.target is None or not reading.target.removeprefix("-").isdecimal() or x.ndim != 2:
        return None
    column = int(reading.target)
    if not -x.shape[1] <= column < x.shape[1] or x.shape[1] < 2:
        raise DataError(f"{where}: expected the target to be one of {x.shape[1]} columns from 0, received {reading.target}")
    return column % int(x.shape[1])
