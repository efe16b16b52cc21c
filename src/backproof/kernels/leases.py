"""Memory of large results, used again.

A result of 64 MB that is made anew in every step costs more than its numbers: the system hands out its pages one by one, each when
it is first touched, and takes them back when the array is given up (a tenth of linear cross-entropy's time). So the memory of large
arrays given up is kept for the next ones: KEPT blocks at most, of at most LARGEST bytes together.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from backproof.arrays import Array, Shape

SMALLEST, LARGEST = 1 << 18, 512 << 20  # bytes
KEPT = 4
SPARE = 1.25  # a block may be so much larger than what is wanted

_blocks: list[Array] = []
_lock = threading.RLock()  # of the kind that lets an array be given up while its thread looks for a block


class _Lease:
    """A block while arrays look into it. NumPy keeps this as the base of an array, and drops it with the last view."""

    def __init__(self, block: Array, shape: Shape, dtype: np.dtype[Any]) -> None:
        self._block = block
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "version": 3, "data": (block.ctypes.data, False)}

    def __del__(self, blocks: list[Array] = _blocks, lock: Any = _lock, kept: int = KEPT, largest: int = LARGEST) -> None:
        with lock:  # the names outside may be gone at the interpreter's end
            blocks.append(self._block)
            while len(blocks) > kept or sum(map(len, blocks)) > largest:
                del blocks[0]


def empty(shape: Shape, dtype: Any) -> Array:
    """As `numpy.empty`; large arrays take the memory of earlier ones."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if not SMALLEST <= size <= LARGEST or dtype.kind not in "fc" or not dtype.isnative:
        return np.empty(shape, dtype)
    return np.asarray(_Lease(_block(size), shape, dtype))


def _block(size: int) -> Array:
    with _lock:
        for i, block in enumerate(_blocks):
            if size <= len(block) <= SPARE * size:
                return _blocks.pop(i)
    return np.empty(size, np.uint8)


def clear() -> None:
    """Give the kept memory back to the system."""
    _blocks.clear()
