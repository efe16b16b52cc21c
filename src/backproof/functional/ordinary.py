"""Ordinary arrays: what needs no conversion goes to the compiled kernel by its address, with the same bits.

The general way looks at everything that an array may be, which takes longer than the arithmetic of some hundred thousand numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.functional.reduction import REDUCTIONS
from backproof.kernels import dispatch, leases

SHARED = 1 << 17  # numbers from which on threads save more time than their calling takes
FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def cross_entropy(
    z: Any, target: Any, axis: object, ignore_index: Any, reduction: Any, wanted: bool, out: Any = None
) -> tuple[Any, Array | None] | None:
    """The loss, and if `wanted` the gradient; None: not ordinary, or in error.

    Ordinary are logits (N, C) in single or double precision and labels of 64 bits, both without gaps, and an `out` like the logits.
    """
    if type(z) is not np.ndarray or type(target) is not np.ndarray or z.ndim != 2 or (axis != -1 and axis != 1):
        return None
    dtype, shape = z.dtype, z.shape
    ignored = -dispatch.FARTHEST if ignore_index is None else ignore_index
    if (
        (dtype is not FLOAT32 and dtype is not FLOAT64)
        or target.dtype is not INT64
        or target.shape != shape[:1]
        or not _is_plain(z)
        or not _is_plain(target)
        or not 0 < z.size < dispatch.MOST
        or type(axis) is not int
        or type(ignored) is not int
        or not -dispatch.FARTHEST <= ignored < dispatch.FARTHEST
        or type(reduction) is not str
        or reduction not in REDUCTIONS
        or not (out is None or (wanted and _may_take(out, z, target)))
    ):
        return None
    kernels = dispatch.by_address()
    if kernels is None:
        return None
    rows, classes = shape
    place = (leases.empty(shape, dtype) if out is None else out) if wanted else None
    mean, added = reduction == "mean", reduction != "none"
    found = kernels.labelled_by_address(
        z.itemsize, rows, classes, z.ctypes.data, classes, 1, target.ctypes.data, ignored, mean,
        added and rows <= dispatch.FEW, 0 if place is None else place.ctypes.data, SHARED,
    )  # fmt: skip
    if found is None:
        return None
    loss = dispatch.reduced(found, mean, added)
    with np.errstate(over="ignore"):
        return (dtype.type(loss) if added else loss.astype(dtype)), place


def along(kernel: str, arrays: tuple[Any, ...], axis: object, out: Any) -> Array | None:
    """The kernel of arrays of one shape along `axis`; None: not ordinary, or in error.

    Ordinary are arrays in single or double precision without gaps, and their last axis; `out` is one like them, which shares no
    memory with them but may be the first.
    """
    first = arrays[0]
    if type(first) is not np.ndarray or not first.size or type(axis) is not int:
        return None
    dtype, shape = first.dtype, first.shape
    if (dtype is not FLOAT32 and dtype is not FLOAT64) or not shape or (axis != -1 and axis != len(shape) - 1):
        return None
    if not all(_is_like(array, first) for array in arrays) or not (out is None or _may_take(out, *arrays)):
        return None
    kernels = dispatch.by_address()
    if kernels is None:
        return None
    place = leases.empty(shape, dtype) if out is None else out
    addresses = [array.ctypes.data for array in arrays]
    n = shape[-1]
    to = addresses[0] if place is first else place.ctypes.data
    kernels.BY_ADDRESS[kernel](dtype.itemsize, first.size // n, n)(to, *addresses)
    made: Array = place
    return made


def _is_plain(array: Array) -> bool:
    flags = array.flags
    return bool(flags.c_contiguous and flags.aligned)


def _is_like(array: Any, other: Array) -> bool:
    return type(array) is np.ndarray and array.dtype is other.dtype and array.shape == other.shape and _is_plain(array)


def _may_take(out: Any, first: Array, *others: Array) -> bool:
    """Whether this, which may be the first, can be written to while all are read."""
    if not _is_like(out, first) or not out.flags.writeable or (out is not first and np.may_share_memory(out, first)):
        return False
    return not any(np.may_share_memory(out, array) for array in others)
