"""softmax, log_softmax, logsumexp and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backproof._errors import ShapeError
from backproof.arrays import Array
from backproof.functional import ordinary
from backproof.functional.arguments import (
    destination,
    floats,
    floats_alike,
    folded,
    require_shape,
    result_dtype,
    returned,
    several_axes,
    unfolded,
)
from backproof.kernels import dispatch, reference

Axis = int | tuple[int, ...] | None


def _along(kernel: str, names: tuple[str, ...], values: tuple[object, ...], axis: object, out: object) -> Any:
    """The kernel of arrays of one shape along `axis`, to a result of that shape."""
    short = ordinary.along(kernel, values, axis, out)
    if short is not None:
        return short
    function: Callable[..., Array] = getattr(dispatch, kernel)
    guest = floats(values[0], names[0])
    arrays = (guest.array, *(floats_alike(v, guest.array, n) for v, n in zip(values[1:], names[1:], strict=True)))
    shape = tuple(guest.array.shape)
    for array, name in zip(arrays[1:], names[1:], strict=True):
        require_shape(array, shape, name)
    axes = several_axes(axis, len(shape))
    place = destination(out, shape, result_dtype(*arrays), guest.array)
    if len(axes) == 1:
        result = function(*arrays, axes[0], place)
    else:
        rows = [folded(a, axes) for a in arrays]
        result = unfolded(function(*rows, rows[0].ndim - 1, None), shape, axes)
        if place is not None:
            place[...] = result
    return returned(result, guest, out)


def softmax(z: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """h_i = exp(z_i) / sum_j exp(z_j) along `axis` (an axis, several, or None for all of them): the shape and dtype of z.

    A row of -inf throughout gives zeros, entries of +inf share the probability, nan fills its row and no other. Integers and
    booleans give double precision. `out`, for NumPy arrays and tensors, takes the result, and may be z itself.
    Source: Bridle 1990; Blanchard, Higham & Higham 2021.

    Raises `ArgumentError` for an axis that z does not have, `ShapeError` and `ArgumentTypeError` for an `out` that does not fit,
    `ArgumentTypeError` for something else than numbers.

    >>> import numpy as np
    >>> softmax(np.array([[0.0, -np.inf], [-np.inf, -np.inf]])).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    return _along("softmax", ("z",), (z,), axis, out)


def softmax_vjp(h: Any, upstream: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """J^T u = h * (u - <h, u>): the gradient with respect to the logits, from h = softmax(z) and the gradient u with respect to h.

    Both have one shape, the result too. Exactly 0 where u is the same for every class, and accurate with respect to the h it is
    given. `out` may be h itself. Source: Bridle 1990.

    Raises `ShapeError` for an upstream of another shape, and what `softmax` raises.

    >>> import numpy as np
    >>> softmax_vjp(np.array([0.125, 0.25, 0.625]), np.array([1.0, 0.0, 0.0])).tolist()     # a row of J
    [0.109375, -0.03125, -0.078125]
    """
    return _along("softmax_vjp", ("h", "upstream"), (h, upstream), axis, out)


def softmax_jvp(h: Any, tangent: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """J t = h * (t - <h, t>): how h = softmax(z) moves when z moves by t. J is symmetric, so this is `softmax_vjp`.

    Both have one shape, the result too. It is also the Hessian of cross-entropy with respect to the logits, times t. Raises what
    `softmax_vjp` raises. Source: Bridle 1990; Bishop, PRML (2006), equation 4.110.

    >>> import numpy as np
    >>> softmax_jvp(np.array([0.5, 0.5]), np.array([1e8 + 1.0, 1e8])).tolist()
    [0.25, -0.25]
    """
    return _along("softmax_vjp", ("h", "tangent"), (h, tangent), axis, out)


def softmax_jacobian(h: Any) -> Any:
    """J_ij = h_i (delta_ij - h_j), from h = softmax(z) along the last axis: (..., C) -> (..., C, C).

    On the diagonal 1 - h_i is the sum of the others, so that it keeps its digits where h_i is close to 1.

    Raises `ShapeError` for an h without axes.

    >>> import numpy as np
    >>> softmax_jacobian(np.array([0.25, 0.75])).tolist()
    [[0.1875, -0.1875], [-0.1875, 0.1875]]
    """
    guest = floats(h, "h")
    if guest.array.ndim == 0:
        raise ShapeError("h: expected shape (..., classes), received ()")
    return returned(reference.softmax_jacobian(guest.array), guest)


def log_softmax(z: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """log h_i = z_i - logsumexp(z) along `axis`, never as the logarithm of something rounded: the shape and dtype of z.

    The entry of a class that dominates is right to the last digits too (-exp(-gap), not 0). -inf for masked classes and
    throughout a row of -inf. Arguments and errors are those of `softmax`. Source: Blanchard, Higham & Higham 2021, section 4.

    >>> import numpy as np
    >>> log_softmax(np.array([50.0, 0.0])).tolist()
    [-1.9287498479639178e-22, -50.0]
    """
    return _along("log_softmax", ("z",), (z,), axis, out)


def log_softmax_vjp(log_h: Any, upstream: Any, *, axis: Axis = -1, out: Any = None) -> Any:
    """J^T u = u - h sum(u), from log h = log_softmax(z) and the gradient u with respect to it. `out` may be log_h itself.

    Where h_k is close to 1 its entry is formed from 1 - h_k = -expm1(log h_k) and the sum of the other u. A row of -inf throughout
    gives zeros. Both have one shape, the result too. Source: Goodfellow et al., Deep Learning (2016), section 6.2.2.3.

    Raises `ShapeError` for an upstream of another shape, and what `softmax` raises.

    >>> import numpy as np
    >>> from backproof.functional import log_softmax
    >>> log_softmax_vjp(log_softmax(np.array([50.0, 0.0])), np.array([-1.0, 0.0])).tolist()
    [-1.9287498479639178e-22, 1.9287498479639178e-22]
    """
    return _along("log_softmax_vjp", ("log_h", "upstream"), (log_h, upstream), axis, out)


def logsumexp(z: Any, *, axis: Axis = -1) -> Any:
    """log sum_j exp(z_j) along `axis` (an axis, several, or None for all of them): z's shape without it.

    z_k + log1p(sum over j != k of exp(z_j - z_k)), k the largest: nothing overflows, and logsumexp([0, -50]) is exp(-50).
    -inf for a sum over nothing. Source: Blanchard, Higham & Higham 2021, algorithm 4.1.

    Raises `ArgumentError` for an axis that z does not have, `ArgumentTypeError` for something else than numbers.

    >>> import numpy as np
    >>> float(logsumexp(np.array([0.0, -50.0])))
    1.9287498479639178e-22
    """
    guest = floats(z, "z")
    axes = several_axes(axis, guest.array.ndim)
    if len(axes) == 1:
        return returned(dispatch.logsumexp(guest.array, axes[0]), guest)
    rows = folded(guest.array, axes)
    return returned(dispatch.logsumexp(rows, rows.ndim - 1), guest)


def logsumexp_vjp(z: Any, upstream: Any, *, axis: Axis = -1) -> Any:
    """u softmax(z): the gradient with respect to z, from the gradient u with respect to logsumexp(z).

    u has z's shape without `axis`. Formed from z, not as exp(z - logsumexp(z)), which for z = [1e8, 1e8] in single precision is
    [1, 1]. A row of -inf throughout gives zeros. Source: Boyd & Vandenberghe, Convex Optimization (2004), section 3.1.5.

    Raises `ShapeError` for an upstream of another shape, and what `logsumexp` raises.

    >>> import numpy as np
    >>> logsumexp_vjp(np.float32([1e8, 1e8]), np.float32(1.0)).tolist()
    [0.5, 0.5]
    """
    guest = floats(z, "z")
    shape = tuple(guest.array.shape)
    u = floats_alike(upstream, guest.array, "upstream")
    axes = several_axes(axis, len(shape))
    require_shape(u, tuple(n for i, n in enumerate(shape) if i not in axes), "upstream")
    if len(axes) == 1:
        return returned(dispatch.logsumexp_vjp(guest.array, u, axes[0]), guest)
    rows = folded(guest.array, axes)
    return returned(unfolded(dispatch.logsumexp_vjp(rows, u, rows.ndim - 1), shape, axes), guest)
