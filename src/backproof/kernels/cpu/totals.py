"""The sum of a NumPy array of losses, as high + low, the same in any order: `exact.total` compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels.compiled import pointer, put
from backproof.kernels.cpu import calls
from backproof.kernels.cpu.signed_sum import signed_sum
from backproof.kernels.rows import panel_width


def whole(like: Any, x_address: int, n: int, result_address: int) -> None:
    x, result = pointer(x_address, like), pointer(result_address, like)
    high, low = signed_sum(like, x, x, n, False, 0.0)
    new = high + low
    put(result, 0, new)
    put(result, 1, low - (new - high))


def total(x: Array) -> tuple[Array, Array]:
    """The sum of x (N,) in double precision, and what its rounding took, both of shape (1,)."""
    n, least = x.shape[0], panel_width(8)
    if n < least or not x.flags.c_contiguous or not x.flags.aligned or not x.dtype.isnative:
        padded = np.zeros(max(n, least))
        padded[:n] = x
        x = padded
    result = np.empty(2)
    calls.sweep(whole, "iii", x.dtype).function(0.0, x.ctypes.data, x.shape[0], result.ctypes.data)
    if not np.isfinite(result[0]):
        result[1] = 0.0
    return result[:1], result[1:]
