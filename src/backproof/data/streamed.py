"""A set of labelled examples that stays in its file, and is read a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.coding import Coding
from backproof.data.dataset import require_two_classes
from backproof.data.labels import Classes, classes_of, code
from backproof.data.mixing import BUFFER_BYTES, batched
from backproof.data.rows import Image, Kind, Piece, Rows

_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Part:
    """The examples held out, or all others: by a hash of each one's place, so that nothing about them need be kept."""

    seed: int
    fraction: float
    held_out: bool

    def mask(self, start: int, count: int) -> Array:
        """Which of the examples start, ..., start + count - 1 belong to this part.

        The hash is the output function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014); its upper 53 bits are uniform in [0, 1).
        """
        z = np.arange(start, start + count, dtype=np.uint64) + np.uint64((self.seed * 0xD1342543DE82EF95 + 1) % 2**64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        held = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53 < self.fraction
        return held if self.held_out else ~held

    def places(self, order: Array, examples: int) -> Array:
        """The places, among so many examples, of this part's examples with the numbers `order`."""
        found, before, step = np.zeros(len(order), dtype=np.int64), 0, 1 << 16
        for i in range(0, examples, step):
            own = i + np.flatnonzero(self.mask(i, min(step, examples - i)))
            within = (order >= before) & (order < before + len(own))
            found[within] = own[order[within] - before]
            before += len(own)
        return found

    def count(self, examples: int) -> int:
        """How many of the first `examples` belong to this part."""
        step = 1 << 16
        return sum(int(np.count_nonzero(self.mask(i, min(step, examples - i)))) for i in range(0, examples, step))


@dataclass(frozen=True)
class Streamed:
    """Labelled examples in a file. What it has in common with a `Dataset` has the same name; x and labels are nowhere whole.

    It is a `Source` of batches. Mixed, the segments of the file (blocks of a megabyte, row groups) come in random order, and
    what is read goes through a buffer of `buffer_bytes`. coding : how columns become inputs; None: as they are. Made by `read`:

    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from backproof.data import read
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder) / "table.npy"
    ...     np.save(file, np.array([[1.5, 0.0], [2.5, 1.0]] * 50))
    ...     data = read(str(file), "1", stream=True)
    ...     x, t = next(data.batches(4))
    >>> type(data).__name__, len(data), x.tolist(), t.tolist()
    ('Streamed', 100, [[1.5], [2.5], [1.5], [2.5]], [0, 1, 0, 1])
    """

    rows: Rows
    classes: Classes
    size: int
    part: Part | None = None
    coding: Coding | None = None
    buffer_bytes: int = BUFFER_BYTES

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self.rows.path)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.rows.features

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """Of the columns that are no plain numbers: "category" or "date"."""
        return self.rows.kinds

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The values of each categorical column."""
        return {name: vocabulary.values for name, vocabulary in self.rows.categories.items()}

    @property
    def image(self) -> Image | None:
        """What images the features are the pixels of."""
        return self.rows.image

    def coded(self, coding: Coding) -> Streamed:
        """The same examples, with the inputs of a network for x."""
        return replace(self, coding=coding)

    def __len__(self) -> int:
        return self.size

    def split(self, fraction: float, seed: int) -> tuple[Streamed, Streamed]:
        """(train, test): each example is held out with probability `fraction`."""
        parts = [Part(seed, fraction, held_out) for held_out in (False, True)]
        train, test = (replace(self, part=part, size=part.count(len(self.rows))) for part in parts)
        if not len(train) or not len(test):
            raise DataError(f"{self.name}: expected enough examples on both sides of a {fraction:g} split, received {len(self)}")
        return train, test

    def places(self, order: Array) -> Array:
        """Where the examples with these numbers are in the whole data, from 0."""
        return order if self.part is None else self.part.places(order, len(self.rows))

    def pieces(self, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """(x, labels) of all examples, a piece at a time: in order, or segments in an order drawn from `rng`."""
        for start, x, labels in _ordered(self.rows, rng):
            assert labels is not None
            t = code(labels, self.classes)
            if self.part is not None:
                kept = self.part.mask(start, len(x))
                x, t = x[kept], t[kept]
            if len(t):
                yield (x if self.coding is None else self.coding.encode(x, self.categories)), t

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """One pass in batches."""
        return batched(self.pieces(rng), size, rng, self.buffer_bytes, len(self))


def streamed(rows: Rows) -> Streamed:
    """`rows` as a data set, after one pass over them that looks at every number and collects the classes."""
    if not rows.streams:
        raise DataError(
            f"{rows.path}: expected a file that can be read a piece at a time (.npy, .npz without compression, IDX without gzip, "
            "Parquet, a folder of images), received one that cannot"
        )
    found: Array | None = None
    for piece in rows.all_pieces():
        assert piece.labels is not None
        found = np.unique(piece.labels) if found is None else np.union1d(found, piece.labels)
        if len(found) > _MOST_CLASSES:
            raise DataError(f"{rows.path}: expected at most {_MOST_CLASSES:,} classes, received more different labels")
    assert found is not None
    return Streamed(rows, require_two_classes(str(rows.path), classes_of(found)), len(rows))


def _ordered(rows: Rows, rng: np.random.Generator | None) -> Iterator[Piece]:
    """All pieces in order; with `rng`, segments in random order and `rows.open_at_once` of them in turns."""
    if rng is None:
        yield from rows.all_pieces()
        return
    waiting, reading = iter(rng.permutation(rows.segments).tolist()), list[Iterator[Piece]]()
    while True:
        while len(reading) < rows.open_at_once and (segment := next(waiting, None)) is not None:
            reading.append(rows.pieces(segment))
        if not reading:
            return
        which = int(rng.integers(len(reading)))
        piece = next(reading[which], None)
        if piece is None:
            reading.pop(which)
        else:
            yield piece
