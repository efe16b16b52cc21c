"""What the functions check of their arguments, and how results go back: everything is looked at before anything is written."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, Guest, Shape, alike, is_complex, is_numpy, is_tensor, is_traced, namespace, received, widened
from backproof.kernels.reference import cast


def floats(value: object, name: str) -> Guest:
    """`value` as floating-point numbers, real or complex; integers and booleans become double precision."""
    guest = received(value, name)
    return Guest(_as_floats(guest.array, name), guest.back)


def floats_alike(value: object, guide: Array, name: str) -> Array:
    """`floats`, as an array of the library of `guide`."""
    return _as_floats(alike(value, guide, name), name)


def floats_beside(value: object, z: Array, name: str) -> Array:
    """`floats_alike`, for targets and weights of logits z: complex only if z is, or the loss would lose a part."""
    array = floats_alike(value, z, name)
    if is_complex(array) and not is_complex(z):
        raise ArgumentTypeError(f"{name}: expected real numbers, as z is real, received dtype {array.dtype}")
    return array


def _as_floats(array: Any, name: str) -> Array:
    if is_numpy(array):
        if array.dtype.kind in "iub":
            return array.astype(np.float64)
        if array.dtype.kind not in "fc" and array.dtype.name != "bfloat16":
            raise ArgumentTypeError(f"{name}: expected numbers, received dtype {array.dtype}")
        return np.asarray(array)
    xp = namespace(array)
    return array if xp.isdtype(array.dtype, ("real floating", "complex floating")) else widened(array)


def require_shape(array: Array, shape: Shape, name: str) -> None:
    if tuple(array.shape) != tuple(shape):
        raise ShapeError(f"{name}: expected shape {tuple(shape)}, received {tuple(array.shape)}")


def one_axis(axis: object, ndim: int) -> int:
    """`axis` counted from 0; an array without axes has the axes 0 and -1, as in torch."""
    if isinstance(axis, bool | np.bool_):
        raise ArgumentTypeError(f"axis: expected a whole number, received {axis!r}")
    try:
        number = operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"axis: expected a whole number, received {axis!r}") from None
    if not -max(ndim, 1) <= number < max(ndim, 1):
        raise ArgumentError(
            f"axis: expected {-max(ndim, 1)} to {max(ndim, 1) - 1} for an array with {ndim} axes, received {number}"
        )
    return number % max(ndim, 1)


def several_axes(axis: object, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of axes counted from 0: one, several, or None for all."""
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, tuple | list):
        return (one_axis(axis, ndim),) if ndim else (one_axis(axis, ndim),)[:0]
    axes = tuple(one_axis(a, ndim) for a in axis)
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"axis: expected different axes, received {axis!r}")
    return axes if ndim else ()


def folded(array: Array, axes: tuple[int, ...]) -> Array:
    """`array` with `axes` gathered into one, the last."""
    xp, n = namespace(array), len(axes)
    rest = [i for i in range(array.ndim) if i not in axes]
    gathered = xp.permute_dims(array, (*rest, *axes))
    return xp.reshape(gathered, (*(array.shape[i] for i in rest), math.prod(array.shape[i] for i in axes) if n else 1))


def unfolded(array: Array, shape: Shape, axes: tuple[int, ...]) -> Array:
    """The reverse of `folded`, back to `shape`."""
    xp = namespace(array)
    order = (*(i for i in range(len(shape)) if i not in axes), *axes)
    gathered = xp.reshape(array, tuple(shape[i] for i in order))
    return xp.permute_dims(gathered, tuple(int(i) for i in np.argsort(order))) if shape else gathered


def destination(out: object, shape: Shape, dtype: Any, guide: Array) -> Array | None:
    """`out` as an array to write to, a NumPy array or a tensor where the input is; checked. None if there is none."""
    if out is None:
        return None
    tensor: Any = out if is_tensor(out) else None
    place = out if isinstance(out, np.ndarray) else None if tensor is None else received(tensor, "out").array
    if tensor is not None and is_tensor(guide):
        return _tensor_to_write(tensor.detach(), shape, guide)
    if place is None or not is_numpy(guide):
        kind = f"{type(out).__module__}.{type(out).__qualname__}"
        raise ArgumentTypeError(f"out: expected a NumPy array or a torch tensor, for input of the same kind, received {kind}")
    if not is_numpy(place):
        raise ArgumentTypeError(f"out: expected dtype {dtype}, received {place.dtype} on {place.device}")
    require_shape(place, shape, "out")
    if place.dtype != dtype:
        raise ArgumentTypeError(f"out: expected dtype {dtype}, received {place.dtype}")
    if not place.flags.writeable:
        raise ArgumentError("out: expected an array that can be written to, received a read-only one")
    return place


def _tensor_to_write(place: Any, shape: Shape, guide: Any) -> Any:
    require_shape(place, shape, "out")
    if place.dtype != guide.dtype or place.device != guide.device:
        raise ArgumentTypeError(f"out: expected {guide.dtype} on {guide.device}, received {place.dtype} on {place.device}")
    return place


def result_dtype(*arrays: Array) -> Any:
    return namespace(arrays[0]).result_type(*arrays) if len({a.dtype for a in arrays}) > 1 else arrays[0].dtype


def require_finite(array: Array, name: str) -> None:
    """Weights must be numbers. Values that JAX traces cannot be looked at."""
    if is_traced(array):
        return
    xp = namespace(array)
    if not bool(xp.all(xp.isfinite(array))):
        raise ArgumentError(f"{name}: expected finite numbers, received nan or an infinity")


def number(value: object, name: str, low: float, *, open_low: bool = False, high: float = math.inf) -> float:
    """A finite real number of at least (or more than) `low` and at most `high`."""
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"{name}: expected a number, received {value!r}") from None
    if not math.isfinite(result) or result < low or result > high or (open_low and result == low):
        bounds = f"a finite number {'greater than' if open_low else 'of at least'} {low:g}"
        raise ArgumentError(f"{name}: expected {bounds}{f' and at most {high:g}' if high < math.inf else ''}, received {value!r}")
    return result


def loss_dtype(z: Array) -> Any:
    """z's dtype, but single precision for half: a loss is never rounded to half precision."""
    if is_numpy(z):
        return np.dtype(np.float32) if z.dtype.itemsize == 2 else z.dtype
    xp = namespace(z)
    return z.dtype if is_complex(z) or xp.finfo(z.dtype).bits > 16 else xp.float32


def returned(array: Any, guest: Guest, out: object = None) -> Any:
    """What the caller gets: `out` if there is one; NumPy results without axes as scalars, as NumPy has them."""
    if out is not None:
        return out
    if is_numpy(guest.array) and not isinstance(array, np.ndarray):
        array = np.asarray(array)
    result = guest.back(array)
    return result[()] if isinstance(result, np.ndarray) and result.ndim == 0 else result


def rounded(array: Array, dtype: Any) -> Array:
    with np.errstate(over="ignore"):
        return cast(array, dtype)
