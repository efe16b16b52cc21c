"""A linear layer and cross-entropy together: logits z = x W^T + b in chunks of rows, never whole.

With g_n = dE/dz_n, which the cross-entropy kernel forms in the place of z_n,

    dx_n = g_n W        dW = sum_n g_n^T x_n        db = sum_n g_n

so that nothing of size (N, C) outlives its chunk. These are 6 N C D operations, as with whole logits, none done twice. What a chunk
costs beside them is two walks over W and one over dW, so it should have a hundred rows or so. Rows of weight 0 are left out before
any product, and what they hold (nan, say) never meets another number.

Classes are cut into blocks, which are the tasks of the threads (`kernels.blas`): a block of dW is one task's alone, and dx is
summed apart over SEGMENTS sets of blocks, then together in their order. The cut depends on nothing but the sizes, so the bits do
not depend on the number of threads.
"""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.kernels import blas, dispatch
from backproof.kernels.reference_losses import Options

MEMORY = 56 << 20  # bytes to work in, if the caller does not say
SEGMENTS = 8  # at most; each of at least FEW classes
FEW = 128
BLOCK = 1 << 17  # numbers of a block of dW before it is added: they should be in the cache still
WORTH_SHARING = 1 << 22  # multiplications in a chunk below which threads take longer to wake than to be of use


class Gradients(NamedTuple):
    """Where the gradients go, and db in double precision; dx has x's shape, dw w's, and at least single precision."""

    dx: Array
    dw: Array
    db: Array | None


class Cut(NamedTuple):
    """How rows and classes are cut."""

    rows: int
    segments: list[list[slice]]  # of blocks of classes


def cut(n: int, classes: int, width: int, item: int, gradient: bool, soft: bool, max_bytes: int | None) -> Cut:
    """Chunks of equal size that need no more than `max_bytes` to work in. `ArgumentError` if that is too little for one row."""
    parts = min(max(classes // FEW, 1), SEGMENTS)
    block = max(1, min(-(-classes // parts), max(64, BLOCK // max(width, 1))))
    # for each segment at work a block of dW and perhaps one of W, a row's sum and its next term; rows of x, logits, targets
    fixed = 2 * parts * block * width * item if gradient else parts * block * width * item
    per_row = (classes + width + (2 * parts * width if gradient else 0)) * item + (8 * classes if soft else 0)
    given = MEMORY if max_bytes is None else max_bytes
    rows = (given - fixed) // per_row if per_row else n
    if rows < 1 and max_bytes is not None:
        raise ArgumentError(
            f"max_bytes: expected at least {fixed + per_row} for one row of {classes} classes and {width} features, "
            f"received {max_bytes}"
        )
    chunks = -(-n // max(rows, 1))
    blocks = [slice(start, min(start + block, classes)) for start in range(0, classes, block)]
    bounds = [len(blocks) * i // parts for i in range(parts + 1)]
    return Cut(max(-(-n // max(chunks, 1)), 1), [blocks[a:b] for a, b in itertools.pairwise(bounds)])


def entropy_of_linear(
    x: Array,
    w: Array,
    bias: Array | None,
    target: Array,
    options: Options,
    scale: Array | None,
    to: Gradients | None,
    max_bytes: int | None,
) -> Array:
    """Values (N,) in double precision; the gradients, those of row n times scale[n], are written to `to`.

    x (N, D), w (C, D), bias (C,); target labels (N,) or probabilities (N, C). Products are of at least single precision.
    """
    n, dtype = x.shape[0], wide(x, w) if bias is None else wide(x, w, bias)
    how = cut(n, w.shape[0], x.shape[1], dtype.itemsize, to is not None, target.ndim == 2, max_bytes)
    values = np.zeros(n)
    kept = _counting(target, options, scale)
    rows = n if kept is None else len(kept)
    if to is not None:
        if kept is not None:
            to.dx[...] = 0
        if rows == 0:
            to.dw[...] = 0
        if to.db is not None:
            to.db[...] = 0
    z = np.empty((min(how.rows, rows), w.shape[0]), dtype)
    sums = np.empty((len(how.segments), *z.shape[:1], x.shape[1]), dtype) if to is not None else None
    alone = len(how.segments) == 1 or z.size * x.shape[1] < WORTH_SHARING
    with nullcontext(blas.alone) if alone else blas.shared() as share:
        for first in range(0, rows, how.rows):
            stretch = slice(first, min(first + how.rows, rows))
            these = stretch if kept is None else kept[stretch]
            chunk = _Chunk(_ready(x[these], dtype), w, z[: stretch.stop - first], how.segments)
            share(lambda i, chunk=chunk: chunk.logits(i, bias), len(how.segments))  # type: ignore[misc]
            given = target[these] if target.ndim == 1 else target[these].astype(np.float64, copy=False)
            weight = None if scale is None else scale[these]
            values[these], _ = dispatch.cross_entropy(chunk.z, given, options, weight, to is not None, chunk.z)
            if to is None or sums is None:
                continue
            share(lambda i, chunk=chunk, first=first: chunk.gradients(i, sums[i], to, first == 0), len(how.segments))  # type: ignore[misc]
            with np.errstate(all="ignore"):
                to.dx[these] = np.add.reduce(sums[:, : len(chunk.z)], axis=0)
    return values


def wide(*arrays: Array) -> np.dtype[np.floating]:
    """Their common dtype, at least single precision."""
    return np.result_type(np.float32, *(a.dtype for a in arrays))


def _counting(target: Array, options: Options, scale: Array | None) -> Array | None:
    """Which rows count; None: all."""
    counts = np.ones(target.shape[0], bool) if scale is None else scale != 0
    if options.ignore_index is not None:
        counts &= target != options.ignore_index
    return None if counts.all() else np.flatnonzero(counts)


def _ready(a: Array, dtype: np.dtype[np.floating]) -> Array:
    """`a` as a BLAS takes it, copied only where it is not that."""
    return np.require(a, dtype, ["C_CONTIGUOUS", "ALIGNED"])


class _Chunk(NamedTuple):
    """Some rows, with the place for their logits, which becomes that of the logits' gradients."""

    x: Array
    w: Array
    z: Array
    segments: list[list[slice]]

    def logits(self, segment: int, bias: Array | None) -> None:
        for block in self.segments[segment]:
            z = self.z[:, block]
            np.matmul(self.x, _ready(self.w[block], z.dtype).T, out=z)
            if bias is not None:
                z += bias[block]

    def gradients(self, segment: int, sums: Array, to: Gradients, first: bool) -> None:
        """This segment's part of dx to `sums`, and its classes' part of dw and db."""
        dx = sums[: len(self.x)]
        for number, block in enumerate(self.segments[segment]):
            g = self.z[:, block]
            dw = to.dw[block]
            if first:
                np.matmul(g.T, self.x, out=dw)
            else:
                dw += g.T @ self.x
            w = _ready(self.w[block], g.dtype)
            if number == 0:
                np.matmul(g, w, out=dx)
            else:
                dx += g @ w
            if to.db is not None:
                to.db[block] += np.add.reduce(g, axis=0, dtype=np.float64)
