"""The three products of a linear layer with cross-entropy, by panels.py: block by block of classes, for a chunk of rows.

    logits      z^T = W x^T + b                     a panel of rows side by side, then turned over into rows for the loss
    gradients   dW += g^T x,   dx^T += W^T g^T      g^T turned back, block by block, when the loss has put g in the place of z

The tiles of the compiled training step sum a few hundred terms and broadcast numbers of W as they lie, so that a block of W is read
from memory once for each, and nothing of W's size is copied. Libraries of products are made for larger ones than these.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types

from backproof.arrays import Array
from backproof.kernels.compiled import compiled, entry, get, pointer, put, runtime
from backproof.kernels.panels import forward_product, input_product, load_panel, pack_size, to_panel
from backproof.kernels.rows import load, panel_width, splat, store, total, transpose, wide, width_of
from backproof.kernels.tiles import TILE, rows_times_panel

GROUP = 2 * TILE  # classes of dW at a time: their g stays in the first cache


@compiled()
def from_panel(y: Array, y0: int, features: int, z: Array, z0: int, row: int, count: int) -> None:
    """The first `count` examples of a panel at y0 to rows at z0, `row` apart."""
    width = width_of(y)
    half = width // 2
    whole = features // half * half
    lane = 0
    while lane + half <= count:
        for j in range(0, whole, half):
            transpose(y, y0 + j * width + lane, width, z, z0 + lane * row + j, row)
        for n in range(lane, lane + half):
            for j in range(whole, features):
                put(z, z0 + n * row + j, get(y, y0 + j * width + n))
        lane += half
    for n in range(lane, count):
        for j in range(features):
            put(z, z0 + n * row + j, get(y, y0 + j * width + n))


def _rows_to_panels(like: Any, x_address: int, rows: int, features: int, panels_address: int, flipped: int) -> None:
    """x (rows, features) to panels, and from `flipped` of the same numbers on to panels of features."""
    x, out = pointer(x_address, like), pointer(panels_address, like)
    panels = (rows + width_of(out) - 1) // width_of(out)
    for p in range(panels):
        load_panel(x, rows, features, p, out, runtime(0), flipped, panels)


def _logits(
    like: Any, x_address: int, w_address: int, bias_address: int, z_address: int, row: int, work_address: int, rows: int,
    features: int, classes: int,
) -> None:  # fmt: skip
    x, w, z, y = pointer(x_address, like), pointer(w_address, like), pointer(z_address, like), pointer(work_address, like)
    bias = pointer(bias_address, like)
    width = width_of(y)
    panels = (rows + width - 1) // width
    forward_product(w, runtime(0), classes, features, x, runtime(0), y, runtime(0), runtime(0), panels)
    for p in range(panels):
        y0 = p * classes * width
        if bias_address != 0:
            for c in range(classes):
                store(y, y0 + c * width, load(y, y0 + c * width) + splat(y, get(bias, c)))
        from_panel(y, y0, classes, z, p * width * row, row, min(width, rows - p * width))


def _gradients(
    like: Any, flipped_address: int, w_address: int, z_address: int, row: int, dw_address: int, db_address: int, work_address: int,
    pack: int, place: int, rows: int, features: int, classes: int, first: bool, begun: bool,
) -> None:  # fmt: skip
    """`first`: dW is written, not added to; `begun`: dx is added to.

    work: dx in panels, columns of W from `pack` on, g in panels from `place` on, and behind it room for a tile.
    """
    x, w, z = pointer(flipped_address, like), pointer(w_address, like), pointer(z_address, like)
    dw, db, work = pointer(dw_address, like), pointer(db_address, 1.0), pointer(work_address, like)
    width = width_of(work)
    panels = (rows + width - 1) // width
    for p in range(panels):
        to_panel(z, runtime(0), row, rows, classes, p, work, place + p * classes * width)

    # Half of the tiles ask for W, which is needed next, half for what follows of dW.
    whole, spare = features // width * width, place + panels * classes * width
    turns = (features + width - 1) // width
    step = 2 * (TILE * features + turns * panels * width - 1) // (turns * panels * width)
    for o in range(0, classes, GROUP):
        count = min(GROUP, classes - o)
        for turn in range(turns):
            i, last = turn * width, turn * width + width > features
            ahead = (o if turn % 2 == 0 else o + count) * features + turn // 2 * (GROUP // TILE) * panels * width * step
            rows_times_panel(
                work, place + o * width, TILE * width, width, classes * width, runtime(1), x, i * panels * width, panels, width,
                work if last else dw, spare if last else o * features + i, width if last else features, count, not (first or last),
                w if turn % 2 == 0 else dw, ahead, step,
            )  # fmt: skip
            if last:
                for r in range(count):
                    for j in range(features - whole):
                        at, more = (o + r) * features + whole + j, get(work, spare + r * width + j)
                        put(dw, at, more if first else get(dw, at) + more)
    if db_address != 0:
        for c in range(classes):
            lanes = wide(load(work, place + c * width))
            for p in range(1, panels):
                lanes += wide(load(work, place + (p * classes + c) * width))
            put(db, c, get(db, c) + total(lanes))
    input_product(w, runtime(0), classes, features, work, place, work, runtime(0), runtime(0), panels, pack, begun)


@cache
def _entries(dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    like, i, b = types.float32 if dtype == np.float32 else types.float64, types.int64, types.boolean
    return (
        entry(types.none(like, *(i,) * 5), f"rows to panels of {dtype}")(_rows_to_panels),
        entry(types.none(like, *(i,) * 9), f"logits of a linear layer of {dtype}")(_logits),
        entry(types.none(like, *(i,) * 12, b, b), f"gradients of a linear layer of {dtype}")(_gradients),
    )


def fits(rows: int, item: int) -> bool:
    """Whether at least three quarters of the lanes would hold rows."""
    width = panel_width(item)
    return 4 * rows >= 3 * (-(-rows // width) * width) > 0


def room(rows: int, features: int, block: int, segments: int, item: int, gradient: bool) -> int:
    """Bytes: a segment's work and perhaps a block of W; the rows, and them in panels. Without gradients it is the same."""
    width = panel_width(item)
    padded = -(-rows // width) * width
    return (
        segments * (_work(padded, features, block, width) + block * features) + rows * features + _inputs(padded, features, width)
    ) * item


def _work(padded: int, features: int, block: int, width: int) -> int:
    """A segment's dx, columns of W, g of a block of classes, and a tile."""
    return padded * features + pack_size(width) + padded * block + GROUP * width


def _inputs(padded: int, features: int, width: int) -> int:
    """x in panels of rows, and of features; turning over reads up to a square beyond."""
    return padded * features + padded * (-(-features // width) * width) + width * width


class Products:
    """The products of one chunk of rows after the other: of blocks of classes, in segments that may go by several threads."""

    def __init__(self, dtype: np.dtype[Any], rows: int, features: int, block: int, segments: int, gradient: bool) -> None:
        self.dtype, self.features, self.width = dtype, features, panel_width(dtype.itemsize)
        padded = -(-rows // self.width) * self.width
        self.works = np.empty((segments, _work(padded, features, block, self.width)), dtype)
        self.inputs = np.empty(_inputs(padded, features, self.width), dtype)
        self._to_panels, self._logits, self._gradients = _entries(dtype)
        self._like = dtype.type(0)

    def begin(self, x: Array) -> None:
        """The rows that all is about from now on: x (rows, features), contiguous."""
        self.rows = len(x)
        self.panels = -(-self.rows // self.width)
        self._flipped = self.panels * self.width * self.features
        self._to_panels(self._like, x.ctypes.data, self.rows, self.features, self.inputs.ctypes.data, self._flipped)

    def logits(self, segment: int, w: Array, bias: Array | None, z: Array) -> None:
        """z = x W^T + b for a block of classes: w (classes, features) and bias contiguous, z (rows, classes) in contiguous rows."""
        self._logits(
            self._like, self.inputs.ctypes.data, w.ctypes.data, 0 if bias is None else bias.ctypes.data, z.ctypes.data,
            z.strides[0] // z.itemsize, self.works[segment].ctypes.data, self.rows, self.features, len(w),
        )  # fmt: skip

    def gradients(self, segment: int, w: Array, g: Array, dw: Array, db: Array | None, first: bool, begun: bool) -> None:
        """With g = dE/dz in the place of z, add to dW (the `first` time it is written), db, and the segment's dx once `begun`."""
        pack = self.panels * self.width * self.features
        self._gradients(
            self._like, self.inputs.ctypes.data + self._flipped * self.dtype.itemsize, w.ctypes.data, g.ctypes.data,
            g.strides[0] // g.itemsize, dw.ctypes.data, 0 if db is None else db.ctypes.data, self.works[segment].ctypes.data,
            pack, pack + pack_size(self.width), self.rows, self.features, len(w), first, begun,
        )  # fmt: skip

    def dx(self) -> Array:
        """The sum over the segments, (rows, features)."""
        parts = self.works[:, : self.panels * self.width * self.features]
        with np.errstate(all="ignore"):
            whole = np.add.reduce(parts, axis=0).reshape(self.panels, self.features, self.width)
        return whole.transpose(0, 2, 1).reshape(-1, self.features)[: self.rows]
