"""Which kernel computes what: a table, read from the top; the first row that takes the arrays, and has the function, is used.

A fast kernel fills arrays that it is given; the reference returns new ones. Here both get one form: `out` may be None, the first
argument itself, or anything that overlaps the arguments.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from backproof.arrays import Array, is_numpy, namespace, widened
from backproof.kernels import exact, leases, reference, reference_losses, tensors
from backproof.kernels.reference_losses import Options


def _native_floats(arrays: tuple[Any, ...]) -> bool:
    """NumPy arrays of one precision, single or double, with something in them; byte order, alignment and strides are free."""
    return all(is_numpy(a) and a.dtype.char == arrays[0].dtype.char and a.dtype.char in "fd" and a.size and a.ndim for a in arrays)


def _anything(arrays: tuple[Any, ...]) -> bool:
    return True


class Kernels(NamedTuple):
    name: str
    module: str
    takes: Callable[[tuple[Any, ...]], bool]


TRITON = Kernels("triton", "backproof.kernels.triton", tensors.on_a_gpu)
TABLE = (
    Kernels("cpu", "backproof.kernels.cpu", _native_floats),  # Numba
    TRITON,
    Kernels("reference", "backproof.kernels.reference", _anything),
)

FEW = 512  # numbers that are added before a compiled sum has begun
MOST = 1 << 22  # numbers that `labelled_by_address` is for: results of more take the memory of earlier ones, and go past the caches
FARTHEST = 1 << 62  # labels beyond stand for something else

_ONLY: ContextVar[str | None] = ContextVar("only", default=None)


@contextmanager
def only(name: str) -> Iterator[None]:
    """Use this row of the table alone, as far as this context reaches (what it does not take goes to the reference)."""
    token = _ONLY.set(name)
    try:
        yield
    finally:
        _ONLY.reset(token)


@cache
def _module(name: str) -> Any:
    """The module of a row; None if it is not there, which is said once if it is for want of Numba."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in ("numba", "llvmlite"):
            warnings.warn(
                f"{error.name} is not installed: softmax and its kin run in NumPy, with the same digits but slower", stacklevel=2
            )
        elif error.name != name:
            raise
        return None


def _fast(function: str, arrays: tuple[Any, ...]) -> Callable[..., Any] | None:
    """The function of the first row above the reference that takes the arrays; None: the reference."""
    for row in TABLE:
        if row.name == "reference":
            break
        if _ONLY.get() in (None, row.name) and row.takes(arrays):
            found: Callable[..., Any] | None = getattr(_module(row.module), function, None)
            if found is not None:
                return found
    return None


def _entangled(out: Array, arrays: tuple[Any, ...]) -> bool:
    """Whether writing to `out` could change an argument before it is read: overlap, but for being the first argument itself."""
    if not is_numpy(out):
        return tensors.entangled(out, arrays)

    def same(a: Array) -> bool:
        return a.ctypes.data == out.ctypes.data and a.shape == out.shape and a.strides == out.strides and a.dtype == out.dtype

    return any(is_numpy(a) and np.may_share_memory(a, out) and not (i == 0 and same(a)) for i, a in enumerate(arrays))


def _room(arrays: tuple[Array, ...]) -> Array:
    """An array like the first, for a result."""
    if is_numpy(arrays[0]):
        return leases.empty(arrays[0].shape, _dtype_of(arrays))
    tensor: Any = arrays[0]
    return tensor.new_empty(tensor.shape)


def _stored(result: Array, out: Array | None) -> Array:
    if out is None or result is out:
        return result
    out[...] = result
    return out


def _dtype_of(arrays: tuple[Array, ...]) -> Any:
    """The dtype of a result, as the reference has it: this machine's byte order, where there are several arrays."""
    return arrays[0].dtype if len(arrays) == 1 else np.result_type(*arrays)


def _mapped(function: str, arrays: tuple[Any, ...], axis: int, out: Array | None) -> Array:
    """Something of the first argument's shape, along `axis` (from 0 on)."""
    fast = _fast(function, arrays)
    if fast is None:
        result: Array = getattr(reference, function)(*arrays, axis)
        return _stored(result, out)
    place = _room(arrays) if out is None or _entangled(out, arrays) else out
    fast(*arrays, axis, place)
    return _stored(place, out)


def softmax(z: Array, axis: int, out: Array | None = None) -> Array:
    return _mapped("softmax", (z,), axis, out)


def log_softmax(z: Array, axis: int, out: Array | None = None) -> Array:
    return _mapped("log_softmax", (z,), axis, out)


def softmax_vjp(h: Array, upstream: Array, axis: int, out: Array | None = None) -> Array:
    return _mapped("softmax_vjp", (h, upstream), axis, out)


def log_softmax_vjp(log_h: Array, upstream: Array, axis: int, out: Array | None = None) -> Array:
    return _mapped("log_softmax_vjp", (log_h, upstream), axis, out)


def logsumexp(z: Array, axis: int) -> Array:
    fast = _fast("logsumexp", (z,))
    if fast is None:
        return reference.logsumexp(z, axis)
    result = fast(z, axis)
    return np.asarray(result) if is_numpy(z) else result


def logsumexp_vjp(z: Array, upstream: Array, axis: int) -> Array:
    """u softmax(z), rounded once. The upstream of a single row has no axes."""
    fast = _fast("logsumexp_vjp", (z, np.atleast_1d(upstream) if is_numpy(upstream) else upstream))
    if fast is None:
        return reference.logsumexp_vjp(z, upstream, axis)
    place = _room((z, upstream))
    fast(z, upstream, axis, place)
    return place


def cross_entropy(
    z: Array, target: Array, options: Options, scale: Array | None, gradient: bool, out: Array | None = None
) -> tuple[Array, Array | None]:
    """Values (N,), wide, and if wanted the gradients (N, C) in z's dtype, those of row n times scale[n].

    z is (N, C); target labels (N,) or wide probabilities (N, C). A row of scale 0 has a gradient of exactly 0, whatever is in it.
    """
    fast = _fast("cross_entropy", (z,))
    if fast is None or not _suited(z, target, options, scale):
        value, slopes = reference_losses.cross_entropy(z, target, options)
        return value, _stored(scaled(slopes, scale, z.dtype), out) if gradient else None
    place = None
    if gradient:
        place = _room((z,)) if out is None or _entangled(out, (z, target)) else out
    value = leases.empty((z.shape[0],), np.float64) if is_numpy(z) else tensors.wide_rows(z)
    fast(z, target, scale=scale, **options._asdict(), loss=value, grad=place)
    return value, None if place is None else _stored(place, out)


def _suited(z: Array, target: Array, options: Options, scale: Array | None) -> bool:
    """Whether the fast cross-entropy for z takes what is given beside it."""
    if is_numpy(z):
        given = [a for a in (target, scale, options.class_weight) if a is not None]
        return all(is_numpy(a) and a.dtype in (np.int64, np.float64) for a in given)
    alone = options.class_weight is None or not options.label_smoothing
    return target.ndim == 1 and alone and options._replace(class_weight=None, ignore_index=None, label_smoothing=0.0) == Options()


def by_address() -> Any:
    """The module that has functions of addresses (`BY_ADDRESS`, `few_labelled`, `labelled_by_address`); None: none may be used."""
    return _with_addresses(TABLE[0].module) if _ONLY.get() in (None, TABLE[0].name) else None


@cache
def _with_addresses(name: str) -> Any:
    module = _module(name)
    return module if hasattr(module, "BY_ADDRESS") else None


def compiled_products(dtype: np.dtype[Any]) -> Any:
    """The module of compiled products for linear cross-entropy; None: there is none for this dtype to be used."""
    usable = dtype.char in "fd" and dtype.isnative and by_address() is not None
    return _module("backproof.kernels.linear_panels") if usable else None


def on_a_gpu(function: str, z: Any) -> Callable[..., Any] | None:
    """A function of Triton's module, if z is a tensor for it; None: it is not."""
    wanted = _ONLY.get() in (None, TRITON.name) and TRITON.takes((z,))
    return getattr(_module(TRITON.module), function, None) if wanted else None


def total(x: Array) -> tuple[Array, Array]:
    """The sum of wide numbers (N,) as high + low, each (1,): `exact.total`. Few are added at once, by Shewchuk's way."""
    if is_numpy(x) and x.dtype == np.float64:
        if x.shape[0] <= FEW:
            with suppress(OverflowError, ValueError):  # infinities of both signs, or what only the plain sum can name
                return np.array([math.fsum(x.tolist())]), np.zeros(1)
        elif (fast := _fast("total", (x,))) is not None:
            high, low = fast(x)
            return high, low
    return exact.total(x)


def rounded_total(x: Array) -> float:
    """high + low of `total`, for NumPy's numbers in double precision."""
    if x.shape[0] <= FEW:
        with suppress(OverflowError, ValueError):
            return math.fsum(x.tolist())
    high, low = total(x)
    return float(high[0] + low[0])


def reduced(found: Any, mean: bool, added: bool) -> Any:
    """What `labelled_by_address` has found, as a loss: a number, or unless `added` the rows' losses."""
    if type(found) is float:
        return found
    counted, losses = found
    return rounded_total(losses) / (max(counted, 1) if mean else 1) if added else losses


def scaled(slopes: Array, scale: Array | None, dtype: Any) -> Array:
    """scale[n] slopes[n] in `dtype`, with exact zeros where the scale is 0."""
    if scale is not None:
        xp = namespace(slopes)
        factor = widened(scale)[..., None]
        with np.errstate(invalid="ignore", over="ignore"):
            slopes = xp.where(factor == 0, xp.zeros_like(slopes), slopes * factor)
    with np.errstate(over="ignore"):
        return reference.cast(slopes, dtype)
