"""Batches out of pieces: in order, or mixed in a buffer of fixed size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from backproof._errors import ShapeError
from backproof.arrays import Array, to_numpy
from backproof.data.blocks import block
from backproof.data.rows import rows_a_piece

BUFFER_BYTES = 64 << 20


def batched(
    pieces: Iterable[tuple[Array, Array]], size: int, rng: np.random.Generator | None, buffer_bytes: int, examples: int
) -> Iterator[tuple[Array, Array]]:
    """The examples of `pieces`, `examples` in all or fewer, in batches of `size`.

    With `rng` they fill a buffer, which is then emptied in random order but for less than a batch, and filled again. So examples
    are mixed as far as the buffer reaches; all of them, evenly, if it holds them all.
    """
    x = t = np.empty(0)
    filled = capacity = 0
    for piece_x, piece_t in pieces:
        if not capacity and len(piece_x):
            row_bytes = piece_x[0].nbytes + piece_t[0].nbytes
            capacity = size if rng is None else max(size, min(buffer_bytes // max(1, row_bytes), examples))
            x = np.empty((capacity, *piece_x.shape[1:]), piece_x.dtype)
            t = np.empty((capacity, *piece_t.shape[1:]), piece_t.dtype)
        taken = 0
        while taken < len(piece_x):
            new = min(capacity - filled, len(piece_x) - taken)
            x[filled : filled + new], t[filled : filled + new] = piece_x[taken : taken + new], piece_t[taken : taken + new]
            filled, taken = filled + new, taken + new
            if filled == capacity:
                order = np.arange(filled) if rng is None else rng.permutation(filled)
                whole = filled - filled % size
                for i in range(0, whole, size):
                    yield x[order[i : i + size]], t[order[i : i + size]]
                rest = order[whole:]
                filled = len(rest)
                x[:filled], t[:filled] = x[rest], t[rest]
    order = np.arange(filled) if rng is None else rng.permutation(filled)
    for i in range(0, filled, size):
        yield x[order[i : i + size]], t[order[i : i + size]]


class ArraySource:
    """x (N, *features) and t (N, ...) as a `Source`: arrays in memory, or mapped from files of any size.

    Blocks of about a megabyte are read in random order, into a buffer of `buffer_bytes` that is emptied in random order: the memory
    in use is that of the buffer and some batches, however large the files. Raises `ShapeError` if x and t do not fit.

    >>> import numpy as np
    >>> x, t = np.arange(10.0)[:, None], np.arange(10)
    >>> source = ArraySource(x, t)
    >>> sorted(int(k) for _, batch in source.batches(4, np.random.default_rng(0)) for k in batch)
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """

    def __init__(self, x: object, t: object, *, buffer_bytes: int = BUFFER_BYTES) -> None:
        self.x, self.t, self.buffer_bytes = to_numpy(x, "x"), to_numpy(t, "t"), buffer_bytes
        if self.x.ndim < 2 or not self.x.size:
            raise ShapeError(f"x: expected shape (N, features) or more axes with at least one example, received {self.x.shape}")
        if self.t.shape[:1] != self.x.shape[:1]:
            raise ShapeError(f"t: expected {len(self.x)} targets, one an example, received shape {self.t.shape}")

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """One pass over all examples."""
        rows = rows_a_piece(self.x[0].nbytes + self.t[0].nbytes)
        starts = np.arange(0, len(self), rows)
        if rng is not None:
            rng.shuffle(starts)
        pieces = ((block(self.x, i, i + rows), block(self.t, i, i + rows)) for i in starts.tolist())
        return batched(pieces, size, rng, self.buffer_bytes, len(self))
