"""Softmax and its kin, written for accuracy: the executable specification of every faster kernel.

Array-API terms throughout, so that NumPy, torch, CuPy and JAX arrays are all taken as they are; no argument is checked here.

Notation, along one axis: k the index of the largest logit, d_i = z_i - z_k <= 0, s = sum over i != k of exp(d_i). Then
    h_i = exp(d_i) / (1 + s)         log h_i = d_i - log1p(s)         logsumexp = z_k + log1p(s)
log1p of the sum *of the others* keeps every digit when one class dominates (Blanchard, Higham & Higham, IMA J. Numer. Anal. 41,
2021, theorem 4.2), where log(1 + s) rounds to zero. The same paper bounds the error of softmax by n + 2 + 2 (max - min) rounding
units (theorem 4.3). Both terms are removed: the rounding r of z_i - z_k is kept, exp(d + r) = exp(d) (1 + r), and sums are exact
(`exact.total`), which also makes the result independent of the order of the entries, to the last bit.

Half and single precision are computed in double and rounded once. Complex input is continued analytically: branches look at the
real part, so that complex-step derivatives can be taken of all of it.

Limits: a row that is -inf throughout has probability 0 everywhere; entries of +inf share the probability among themselves; nan
fills its row, and no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backproof.arrays import Array, is_complex, is_numpy, namespace, widened
from backproof.kernels.exact import log1p, quiet, total, two_product, two_sum


class Row(NamedTuple):
    """Shifted rows along the last axis, wide; whatever is one number a row keeps that axis with length 1."""

    top: Array  # z_k
    shifted: Array  # d, rounded
    residual: Array  # what the rounding of d left over
    exponentials: Array  # exp(d + residual); 0 throughout a row of -inf
    largest: Array  # boolean, True at k
    others: Array  # s
    others_low: Array  # what the rounding of s left over
    empty: Array  # boolean: rows of -inf throughout


def real(z: Array) -> Array:
    return namespace(z).real(z) if is_complex(z) else z


def exponentials(z: Array, temperature: float = 1.0) -> Row:
    """The row of z / temperature; z is wide and has at least one class. The division is exact too: it follows the subtraction."""
    xp = namespace(z)
    zeros = xp.zeros_like(z)
    z_real = real(z)
    largest = xp.arange(z.shape[-1], device=_device(z)) == xp.argmax(z_real, axis=-1, keepdims=True)
    top_real = xp.max(z_real, axis=-1, keepdims=True)
    top = xp.sum(xp.where(largest, z, zeros), axis=-1, keepdims=True) if is_complex(z) else top_real
    empty, infinite = top_real == -np.inf, top_real == np.inf
    # The limits, where inf - inf would be nan: 0 at each +inf, -inf elsewhere; nothing to shift in a row of -inf.
    limit = xp.where(z_real == np.inf, zeros, zeros - np.inf)
    z = xp.where(infinite, limit, z)
    d, r = two_sum(z, xp.where(empty | infinite, xp.zeros_like(top), -top))
    if temperature != 1.0:
        d, r = _divided(d, r, temperature)
        top = top / temperature
    e = xp.exp(d)
    e = e + e * r
    s, s_low = total(xp.where(largest, zeros, e))
    return Row(top, d, r, e, largest, s, s_low, empty)


def _device(z: Array) -> Any:
    """Where new arrays belong: None, the default, but for arrays on an accelerator."""
    device = None if isinstance(z, np.ndarray) else getattr(z, "device", None)
    return None if device is None or callable(device) or str(device) == "cpu" else device


def _divided(d: Array, r: Array, temperature: float) -> tuple[Array, Array]:
    """(d + r) / temperature and the rounding of the quotient q: q temperature = p + e exactly, which leaves d - p - e + r."""
    xp = namespace(d)
    q = d / temperature
    p, e = two_product(q, xp.zeros_like(q) + temperature)
    left = ((d - p) - e + r) / temperature
    return q, xp.where(xp.isfinite(left), left, xp.zeros_like(left))


def probabilities(row: Row) -> Array:
    """exp(d) / (1 + s), with 1 + s exact and the quotient corrected to first order. A row of -inf: 0 / 1."""
    one = namespace(row.others).ones_like(row.others)
    high, low = two_sum(one, row.others)
    h = row.exponentials / high
    return h - h * ((low + row.others_low) / high)


def log_normaliser(row: Row) -> tuple[Array, Array]:
    """log1p(s) and the small correction that the low part of s makes to it."""
    return log1p(row.others), row.others_low / (1 + row.others)


def log_probabilities(row: Row) -> Array:
    """d - log1p(s): at k the value is -log1p(s), right down to where it underflows."""
    high, low = log_normaliser(row)
    value, error = two_sum(row.shifted, namespace(high).zeros_like(row.shifted) - high)
    return value + (error + (row.residual - low))


def log_sum(row: Row) -> Array:
    """z_k + log1p(s), one number a row (that axis kept)."""
    high, low = log_normaliser(row)
    value, error = two_sum(row.top, high)
    return value + (error + low)


def _last(z: Array, axis: int) -> Array:
    moved = widened(namespace(z).moveaxis(z, axis, -1))
    # NumPy's exponentials of strided numbers may have other last digits than those of numbers side by side
    return np.ascontiguousarray(moved) if isinstance(moved, np.ndarray) else moved


def _back(result: Array, axis: int, dtype: Any) -> Array:
    xp = namespace(result)
    return cast(xp.moveaxis(result, -1, axis), dtype)


def cast(array: Array, dtype: Any) -> Array:
    return array.astype(dtype, copy=False) if isinstance(array, np.ndarray) else namespace(array).astype(array, dtype, copy=False)


@quiet
def softmax(z: Array, axis: int = -1) -> Array:
    """h_i = exp(z_i) / sum_j exp(z_j) along `axis`."""
    if z.shape[axis] == 0:
        return z
    return _back(probabilities(exponentials(_last(z, axis))), axis, z.dtype)


@quiet
def log_softmax(z: Array, axis: int = -1) -> Array:
    """log h_i = d_i - log1p(s) along `axis`."""
    if z.shape[axis] == 0:
        return z
    return _back(log_probabilities(exponentials(_last(z, axis))), axis, z.dtype)


@quiet
def logsumexp(z: Array, axis: int = -1) -> Array:
    """log sum_j exp(z_j) along `axis`, which is gone from the result; -inf where there is nothing to sum."""
    xp = namespace(z)
    rows = _last(z, axis)
    if z.shape[axis] == 0:
        return cast(xp.zeros_like(xp.sum(rows, axis=-1)) - np.inf, z.dtype)
    row = exponentials(rows)
    value = log_sum(row)[..., 0]
    if is_complex(rows):
        return cast(_principal(value, rows), z.dtype)
    if not is_numpy(z) or z.dtype.char not in "fd":
        return cast(value, z.dtype)
    from backproof.kernels import cancelled  # here, as its tables would take 15 ms of every import

    result = np.array(cancelled.joined(value, row.top[..., 0], row.others[..., 0], row.others_low[..., 0]), dtype=z.dtype)
    cancelled.settle(result, z, axis, 2.1 * 2.0**-53)  # exp, and the product with its residual: 0.55 and 0.5 ULP
    return result


def _principal(value: Array, rows: Array) -> Array:
    """The principal value of the complex logarithm; where an infinity was met, what C99 says of log, exp and their infinities."""
    xp = namespace(value)
    angle = xp.imag(value)
    turns = xp.ceil((angle - np.pi) / (2 * np.pi))
    direct = xp.log(xp.sum(xp.exp(rows), axis=-1))
    return xp.where(xp.isfinite(value), value - 2j * np.pi * turns, direct)


@quiet
def logsumexp_vjp(z: Array, upstream: Array, axis: int = -1) -> Array:
    """u softmax(z), with `upstream` of z's shape without `axis`: formed from z, not from a rounded logsumexp.

    exp(z - logsumexp) loses as many digits as z has before the point: [1, 1] for z = [1e8, 1e8] in single precision.
    """
    dtype = namespace(z).result_type(z, upstream)
    if z.shape[axis] == 0:
        return cast(z, dtype)
    return _back(probabilities(exponentials(_last(z, axis))) * widened(upstream)[..., None], axis, dtype)


def centred(h: Array, u: Array) -> tuple[Array, Array]:
    """u - <h, u> / <h, 1> as a pair, nearly exactly: <h, c> is formed of c = u - u_k, k where h is largest.

    Divided by <h, 1>, it does not matter that rounded h do not sum to 1: any constant in u drops out, whatever k is, and h times
    the result sums to 0.
    """
    xp = namespace(h)
    at = xp.arange(h.shape[-1], device=_device(h)) == xp.argmax(real(h), axis=-1, keepdims=True)
    c, c_low = two_sum(u, -xp.sum(xp.where(at, u, xp.zeros_like(u)), axis=-1, keepdims=True))
    p, e = two_product(h, c)
    (m, m_low), (extra, _), (s, s_low) = total(p), total(e + h * c_low), total(h)
    s = xp.where(s == 0, xp.ones_like(s), s)  # a row of zeros
    q = m / s
    p, e = two_product(q, s)
    q_low = ((m - p) - e + (m_low + extra - q * s_low)) / s
    value, error = two_sum(c, -q)
    return value, error + (c_low - q_low)


@quiet
def softmax_vjp(h: Array, upstream: Array, axis: int = -1) -> Array:
    """J^T u = h * (u - <h, u>), the product with the softmax Jacobian J_ij = h_i (delta_ij - h_j) (Bridle 1990).

    J is symmetric, so this is the forward-mode product too. J annihilates constants; u is therefore centred on its value at the
    largest h first, which keeps a common offset of u from swallowing the digits, and the entry at the largest h is formed as
    -h_k m without cancellation:  c = u - u_k,  m = sum over j != k of h_j c_j,  g_i = h_i (c_i - m),  g_k = -h_k m.
    """
    xp = namespace(h)
    dtype = xp.result_type(h, upstream)
    if h.shape[axis] == 0:
        return cast(h, dtype)
    h, u = _alike(_last(h, axis), _last(upstream, axis))
    value, low = centred(h, u)
    return _back(h * (value + low), axis, dtype)


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Both real or both complex."""
    if is_complex(a) == is_complex(b):
        return a, b
    return (a, cast(b, a.dtype)) if is_complex(a) else (cast(a, b.dtype), b)


@quiet
def softmax_jacobian(h: Array) -> Array:
    """J_ij = h_i (delta_ij - h_j) of the last axis, (..., C) -> (..., C, C), with h_i (sum of the others) on the diagonal."""
    if h.shape[-1] == 0:
        return h[..., None] * h[..., None, :]
    xp = namespace(h)
    wide = widened(h)
    outer = -wide[..., :, None] * wide[..., None, :]
    i = xp.arange(h.shape[-1], device=_device(h))
    at = i == xp.argmax(real(wide), axis=-1, keepdims=True)
    high, low = total(xp.where(at, xp.zeros_like(wide), wide))  # the others of the largest
    sum_high, sum_low = two_sum(high, xp.sum(xp.where(at, wide, xp.zeros_like(wide)), axis=-1, keepdims=True))
    rest, error = two_sum(-wide, sum_high)
    diagonal = wide * xp.where(at, high + low, rest + (error + (sum_low + low)))
    return cast(xp.where(i[:, None] == i[None, :], diagonal[..., :, None], outer), h.dtype)


@quiet
def log_softmax_vjp(log_h: Array, upstream: Array, axis: int = -1) -> Array:
    """J^T u = u - h sum(u): the Jacobian of log-softmax is I - 1 h^T.

    Where h_k > 1/2 the entry is (1 - h_k) sum(u) - (sum over j != k of u_j), with 1 - h_k = -expm1(log h_k): the same, with the
    cancellation of u_k done by hand. A row of -inf throughout has a gradient of 0, as everywhere.
    """
    xp = namespace(log_h)
    dtype = xp.result_type(log_h, upstream)
    if log_h.shape[axis] == 0:
        return cast(log_h, dtype)
    log_h, u = _alike(_last(log_h, axis), _last(upstream, axis))
    h = xp.exp(log_h)
    high, low = total(u)
    direct = (u - h * high) - h * low
    rest, error = two_sum(u, -high)  # minus the others' sum
    confident = (rest + (error - low)) - xp.expm1(log_h) * (high + low)
    result = xp.where(real(h) > 0.5, confident, direct)
    masked = xp.all(real(log_h) == -np.inf, axis=-1, keepdims=True)
    return _back(xp.where(masked, xp.zeros_like(result), result), axis, dtype)


@quiet
def log_softmax_jvp(log_h: Array, tangent: Array, axis: int = -1) -> Array:
    """J t = t - <h, t>, t centred as in `softmax_vjp`."""
    xp = namespace(log_h)
    dtype = xp.result_type(log_h, tangent)
    if log_h.shape[axis] == 0:
        return cast(log_h, dtype)
    log_h, t = _alike(_last(log_h, axis), _last(tangent, axis))
    value, low = centred(xp.exp(log_h), t)
    return _back(value + low, axis, dtype)
