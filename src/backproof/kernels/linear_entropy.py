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
from typing import Any, NamedTuple

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.kernels import blas, dispatch, leases, linear_blas
from backproof.kernels.reference_losses import Options

MEMORY = 56 << 20  # bytes to work in, if the caller does not say
SEGMENTS = 8  # at most; each of at least FEW classes
FEW = 128
BLOCK = 1 << 17  # numbers of a block of dW before it is added: they should be in the cache still
NARROW = 32  # features below which more time goes into turning logits over than is won
WORTH_SHARING = 1 << 22  # multiplications in a chunk below which threads take longer to wake than to be of use


class Gradients(NamedTuple):
    """Where the gradients go, and db in double precision; dx has x's shape, dw w's, and at least single precision."""

    dx: Array
    dw: Array
    db: Array | None


class Cut(NamedTuple):
    """How rows and classes are cut, and who makes the products."""

    rows: int
    block: int  # classes at most
    segments: list[list[slice]]  # of blocks of classes
    products: Any  # linear_panels or linear_blas


def cut(n: int, classes: int, width: int, dtype: np.dtype[Any], gradient: bool, soft: bool, max_bytes: int | None) -> Cut:
    """Chunks that need no more than `max_bytes` to work in. `ArgumentError` if that is too little for one row."""
    parts = min(max(classes // FEW, 1), SEGMENTS)
    block = max(1, min(-(-classes // parts), max(64, BLOCK // max(width, 1))))
    blocks = [slice(start, min(start + block, classes)) for start in range(0, classes, block)]
    bounds = [len(blocks) * i // parts for i in range(parts + 1)]
    segments = [blocks[a:b] for a, b in itertools.pairwise(bounds)]
    item, given = dtype.itemsize, MEMORY if max_bytes is None else max_bytes
    row = classes * item + (8 * classes if soft else 0)  # logits, targets

    def needed(products: Any, rows: int) -> int:
        return rows * row + int(products.room(rows, width, block, parts, item, gradient))

    def most(products: Any, step: int) -> int:
        """Rows, a multiple of `step`: what they need grows by as much with each one."""
        least, more = needed(products, 0), needed(products, step) - needed(products, 0)
        return max(given - least, 0) // more * step if more else n

    panels = dispatch.compiled_products(dtype) if width >= NARROW else None
    if panels is not None:
        rows = min(most(panels, panels.panel_width(item)), n)
        if panels.fits(rows, item):
            return Cut(rows, block, segments, panels)
    rows = most(linear_blas, 1)
    if rows < 1 and max_bytes is not None:
        raise ArgumentError(
            f"max_bytes: expected at least {needed(linear_blas, 1)} for one row of {classes} classes and {width} features, "
            f"received {max_bytes}"
        )
    chunks = -(-n // max(rows, 1))
    return Cut(max(-(-n // max(chunks, 1)), 1), block, segments, linear_blas)


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
    how = cut(n, w.shape[0], x.shape[1], dtype, to is not None, target.ndim == 2, max_bytes)
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
    z = leases.empty((min(how.rows, rows), w.shape[0]), dtype)
    products = how.products.Products(dtype, len(z), x.shape[1], how.block, len(how.segments), to is not None)
    chunk = _Chunk(products, w, bias, how.segments, to)
    alone = len(how.segments) == 1 or z.size * x.shape[1] < WORTH_SHARING
    with nullcontext(blas.alone) if alone else blas.shared() as share:
        for first in range(0, rows, how.rows):
            stretch = slice(first, min(first + how.rows, rows))
            these = stretch if kept is None else kept[stretch]
            logits = z[: stretch.stop - first]
            products.begin(_ready(x[these], dtype))
            share(lambda i, logits=logits: chunk.logits(i, logits), len(how.segments))  # type: ignore[misc]
            given = target[these] if target.ndim == 1 else target[these].astype(np.float64, copy=False)
            weight = None if scale is None else scale[these]
            values[these], _ = dispatch.cross_entropy(logits, given, options, weight, to is not None, logits)
            if to is not None:
                share(lambda i, logits=logits, first=first: chunk.gradients(i, logits, first == 0), len(how.segments))  # type: ignore[misc]
                to.dx[these] = products.dx()
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
    """What is done of a chunk of rows for each segment of classes, block by block."""

    products: Any
    w: Array
    bias: Array | None
    segments: list[list[slice]]
    to: Gradients | None

    def logits(self, segment: int, z: Array) -> None:
        for block in self.segments[segment]:
            bias = None if self.bias is None else _ready(self.bias[block], z.dtype)
            self.products.logits(segment, _ready(self.w[block], z.dtype), bias, z[:, block])

    def gradients(self, segment: int, g: Array, first: bool) -> None:
        """This segment's part of dx, and its classes' part of dW and db."""
        assert self.to is not None
        for number, block in enumerate(self.segments[segment]):
            dw, db = self.to.dw[block], None if self.to.db is None else self.to.db[block]
            place = dw if dw.flags.carray and dw.dtype == g.dtype else np.empty(dw.shape, g.dtype)
            self.products.gradients(
                segment, _ready(self.w[block], g.dtype), g[:, block], place, db, first or place is not dw, number > 0
            )  # fmt: skip
            if place is not dw:
                dw[...] = place if first else dw + place
