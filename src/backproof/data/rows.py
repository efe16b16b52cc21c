"""Examples in a file, read a piece at a time: what every reader gives, and what it is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.vocabulary import Vocabulary

PIECE_BYTES = 1 << 20
"""About so much is read at a time: large enough for a disk, small beside the buffer that pieces are mixed in."""

Kind: TypeAlias = Literal["number", "date", "category"]
"""What a column holds. Dates become seconds since 1970, categories one input for each value."""


@dataclass(frozen=True)
class Image:
    """Height, width and channels (1 grey, 3 colour) that images come in; `resize`: they are brought to that size."""

    height: int
    width: int
    channels: int | None = None
    resize: bool = False


@dataclass(frozen=True)
class Reading:
    """What is wanted from a file.

    target : column or array with the labels; labelled=False: none are wanted. features : the columns wanted; None: all others but
    `ignore`. kinds : those of columns that are not to be found out from the file. image : what images are brought to, or must be.
    """

    target: str | None = None
    labelled: bool = True
    features: tuple[str, ...] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    ignore: frozenset[str] = frozenset()
    image: Image | None = None


class Piece(NamedTuple):
    """Examples one after the other in a file: the place of the first, x (n, features) and labels (n,) as they are written.

    x holds numbers; in a categorical column, places in the column's `Vocabulary`. Labels are whole numbers or text.
    """

    start: int
    x: Array
    labels: Array | None


class Rows:
    """Examples in the file `path`, in `segments`: places from where it can be read on without what stands before.

    kinds : of the columns that are not plain numbers. categories : values of the categorical ones, as far as they have been read.
    streams : whether reading a piece costs the memory of a piece, and not of the whole file.
    open_at_once : how many segments are read side by side when examples are mixed.
    """

    path: Path
    features: tuple[str, ...]
    segments: int
    kinds: Mapping[str, Kind] = {}
    categories: Mapping[str, Vocabulary] = {}
    image: Image | None = None
    streams: bool = True
    open_at_once: int = 1

    def __len__(self) -> int:
        raise NotImplementedError

    def pieces(self, segment: int) -> Iterator[Piece]:
        """The pieces of one segment, in order. Raises `DataError` for what is not a finite number, or not a label."""
        raise NotImplementedError

    def all_pieces(self) -> Iterator[Piece]:
        """The whole file, in order."""
        for segment in range(self.segments):
            yield from self.pieces(segment)


def rows_a_piece(row_bytes: int) -> int:
    """How many rows of so many bytes are read at a time."""
    return max(1, PIECE_BYTES // max(1, row_bytes))


def require_finite_rows(where: str, x: Array, start: int) -> None:
    """Raise `DataError` with row and feature if `x`, whose first row is number `start`, holds nan or an infinity."""
    if x.dtype.kind == "f" and not (finite := np.isfinite(x)).all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        raise DataError(f"{where}: expected finite numbers, received {x[row, column]} in row {start + row}, feature {column}")
