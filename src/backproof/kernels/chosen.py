"""What layers and losses compute with: plain NumPy for few numbers, the table of kernels for many.

A kernel must be compiled, once a machine, which a small network should not wait for; and for few numbers NumPy is as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels import dispatch, plain
from backproof.kernels.plain import log_softmax_jvp as log_softmax_jvp
from backproof.kernels.reference_losses import Options

FEW = 1 << 15


def _few(*arrays: Array) -> bool:
    return arrays[0].size < FEW or any(np.iscomplexobj(a) or a.dtype != arrays[0].dtype for a in arrays)


def _choice(name: str) -> Callable[..., Array]:
    simple: Callable[..., Array] = getattr(plain, name)
    table: Callable[..., Array] = getattr(dispatch, name)

    def function(*arrays_and_axis: Any) -> Array:
        *arrays, axis = arrays_and_axis
        axis %= arrays[0].ndim
        return simple(*arrays, axis) if _few(*arrays) else table(*arrays, axis)

    function.__doc__ = simple.__doc__
    return function


softmax = _choice("softmax")
log_softmax = _choice("log_softmax")
softmax_vjp = _choice("softmax_vjp")
log_softmax_vjp = _choice("log_softmax_vjp")


def cross_entropy(z: Array, target: Array, options: Options) -> tuple[Array, Array]:
    """Values (N,) in double precision and gradients (N, C) of each row, for labels (N,) or probabilities (N, C)."""
    if _few(z):
        return plain.cross_entropy(z, target, options)
    wide = target if target.ndim == 1 else target.astype(np.float64, copy=False)
    values, gradients = dispatch.cross_entropy(z, wide, options, None, True)
    assert gradients is not None
    return values, gradients
