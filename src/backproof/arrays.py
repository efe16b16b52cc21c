"""Arrays that come in from outside: conversion to NumPy, dtype, and the checks that every entrance shares.

The only importer of `array_api_compat` (at first use): it tells whose array this is by its type, without importing torch or JAX.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from backproof._errors import ArgumentError, ArgumentTypeError

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]


def to_numpy(value: object, name: str) -> Array:
    """`value` as a NumPy array, without a copy where that is possible.

    Lists, data frames, torch (on the CPU, detached) and JAX arrays are taken. Raises `ArgumentTypeError` for anything that is not
    a rectangular array of numbers or text.
    """
    if isinstance(value, np.ndarray):
        return value
    import array_api_compat as compat

    if compat.is_torch_array(value):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ArgumentTypeError(f"{name}: expected a rectangular array, received {type(value).__name__} ({error})") from error
    if array.dtype == object:
        raise ArgumentTypeError(f"{name}: expected an array of numbers, received {type(value).__name__} with dtype object")
    return array


def as_floats(value: object, name: str, dtype: npt.DTypeLike | None = None) -> Array:
    """`value` as a floating-point array: floats keep their precision (or take `dtype`), integers and booleans become float64."""
    array = to_numpy(value, name)
    if array.dtype.kind not in "fciub":
        raise ArgumentTypeError(f"{name}: expected numbers, received dtype {array.dtype}")
    if dtype is not None:
        if array.dtype.kind == "c" and np.dtype(dtype).kind == "f":
            dtype = np.result_type(dtype, np.complex64)  # complex stays complex: the complex-step derivative depends on it
        return array.astype(dtype, copy=False)
    return array if array.dtype.kind in "fc" else array.astype(np.float64)


def require_finite(array: Array, name: str) -> None:
    """Raise `ArgumentError` with the first offending index if `array` holds nan or an infinity."""
    finite = np.isfinite(array)
    if not finite.all():
        where = tuple(int(i) for i in np.argwhere(~finite)[0])
        count = int(array.size - np.count_nonzero(finite))
        raise ArgumentError(f"{name}: expected finite numbers, received {array[where]} at index {where} ({count} in all)")


def float_dtype(dtype: npt.DTypeLike, name: str = "dtype") -> np.dtype[Any]:
    """`dtype` as float32 or float64; anything else is an `ArgumentError`."""
    try:
        result = np.dtype(dtype)
    except TypeError:
        result = np.dtype(object)
    if result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ArgumentError(f"{name}: expected float32 or float64, received {dtype!r}")
    return result
