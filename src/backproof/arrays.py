"""Arrays that come in from outside: conversion to NumPy, dtype, and the checks that every entrance shares.

The only importer of `array_api_compat` (at first use): it tells whose array this is by its type, without importing torch or JAX.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

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


# --- arrays of other libraries, kept as what they are ----------------------------------------------------------------------
def namespace(array: Any) -> Any:
    """The array-API functions for this array: NumPy's own, or those of `array_api_compat` for torch, CuPy, JAX and others."""
    if isinstance(array, np.ndarray | np.generic):
        return np
    import array_api_compat as compat

    return compat.array_namespace(array)


def is_numpy(array: object) -> bool:
    return isinstance(array, np.ndarray)


def is_complex(array: Any) -> bool:
    if isinstance(array, np.ndarray | np.generic):
        return array.dtype.kind == "c"
    return bool(namespace(array).isdtype(array.dtype, "complex floating"))


def is_traced(array: object) -> bool:
    """Whether this stands for an array inside a JAX transformation, so that its values cannot be looked at."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(array, jax.core.Tracer)


def widened(array: Any) -> Any:
    """`array` in double precision (or double complex): where sums and differences are formed.

    80-bit and longer stay what they are. JAX without its 64-bit mode has single precision only, and keeps that.
    """
    if isinstance(array, np.ndarray | np.generic):
        return array.astype(np.result_type(array.dtype, np.float64), copy=False)
    xp = namespace(array)
    dtype = xp.complex128 if is_complex(array) else xp.float64
    if is_traced(array) or _is_jax(array):
        dtype = xp.result_type(xp.asarray(0.0).dtype, xp.complex64) if is_complex(array) else xp.asarray(0.0).dtype
    return xp.astype(array, dtype, copy=False)


def is_tensor(value: object) -> bool:
    """Whether this is a torch tensor."""
    import array_api_compat as compat

    return bool(compat.is_torch_array(value))


def _is_jax(array: object) -> bool:
    import array_api_compat as compat

    return "jax" in sys.modules and bool(compat.is_jax_array(array))


class Guest(NamedTuple):
    """An array to compute with, and the way back to the kind of array that came in."""

    array: Any
    back: Callable[[Any], Any]


def received(value: object, name: str) -> Guest:
    """`value` as the array that is computed with: a NumPy array wherever the memory can be seen as one, without a copy.

    Torch tensors and JAX arrays on the CPU are seen as NumPy arrays, and results handed back as tensors and JAX arrays; arrays on
    other devices, in dtypes that NumPy lacks, or traced by JAX stay what they are. Anything else becomes a NumPy array.
    A tensor that requires a gradient is refused: the result would silently be cut off from torch's graph.
    """
    if isinstance(value, np.ndarray):
        return Guest(value, _itself)
    import array_api_compat as compat

    if is_traced(value):
        return Guest(value, _itself)
    if compat.is_torch_array(value):
        return _from_torch(value, name)
    if compat.is_jax_array(value):
        tensor: Any = value
        if any(device.platform != "cpu" for device in tensor.devices()):
            return Guest(tensor, _itself)
        import jax.numpy as jnp

        return Guest(np.asarray(tensor), jnp.asarray)
    if compat.is_array_api_obj(value) and not isinstance(value, np.generic):
        return Guest(value, _itself)
    return Guest(to_numpy(value, name), _itself)


def _itself(array: Any) -> Any:
    return array


def _from_torch(tensor: Any, name: str) -> Guest:
    torch = sys.modules["torch"]
    if tensor.requires_grad and torch.is_grad_enabled():
        raise ArgumentTypeError(
            f"{name}: expected a tensor outside torch's graph, received one that requires a gradient; these functions are not "
            "recorded by torch: give tensor.detach(), or call under torch.no_grad()"
        )
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16 or tensor.layout != torch.strided:
        return Guest(tensor, _itself)
    return Guest(tensor.numpy(), lambda result: torch.from_numpy(np.asarray(result)))


def alike(value: object, guide: Any, name: str) -> Any:
    """`value` as an array of the library and device of `guide`."""
    if isinstance(guide, np.ndarray):
        return to_numpy(value, name)
    import array_api_compat as compat

    if compat.is_torch_array(value):
        value = _from_torch(value, name).array
    xp = namespace(guide)
    if is_traced(guide) or is_traced(value) or _is_jax(guide):
        return xp.asarray(value)
    return xp.asarray(value, device=compat.device(guide))
