"""The Kullback-Leibler divergence of softmax(z) from a target, given as probabilities or as logits."""

from __future__ import annotations

from typing import Any

from backproof._errors import ArgumentError, ArgumentTypeError, ShapeError
from backproof.arrays import Array, is_traced, namespace, widened
from backproof.functional.arguments import destination, floats, floats_beside, one_axis, require_shape, returned
from backproof.functional.entropy import to_rows
from backproof.functional.reduction import reduction_of
from backproof.kernels import dispatch, reference_losses


def kl_divergence(z: Any, target: Any = None, *, target_logits: Any = None, axis: int = -1, reduction: str = "mean") -> Any:
    """KL(t || softmax(z)), reduced over the rows; `kl_divergence_and_grad` describes arguments and errors.

    Source: Kullback & Leibler 1951; Bishop, PRML (2006), section 1.6.1.

    >>> import numpy as np
    >>> z = np.array([1.0, 2.0, 3.0])
    >>> float(kl_divergence(z, target_logits=z + 1e5))
    0.0
    """
    return _divergence(z, target, target_logits, axis, reduction, False, None)[0]


def kl_divergence_and_grad(
    z: Any, target: Any = None, *, target_logits: Any = None, axis: int = -1, reduction: str = "mean", out: Any = None
) -> tuple[Any, Any]:
    """(value, dvalue/dz) of sum_k t_k ln(t_k / h_k) - t_k + h_k along `axis`, h = softmax(z).

    The target is either `target`, probabilities of z's shape, or t = softmax(`target_logits`), which is then never formed: the
    digits of two distributions that nearly agree are kept. The value is never negative, and exactly 0 where t equals h (for target
    logits: where they differ from z by a constant); the gradient is T h - t, T = sum(t). 0 ln 0 = 0.
    `reduction`: "mean" over the rows, "sum", or "none" for one value a row (and the gradient of their sum). dtypes and `out` as in
    `cross_entropy_and_grad`. Source: Kullback & Leibler 1951; Csiszar's generalised form, Ann. Statist. 19, 1991.

    Raises `ArgumentTypeError` unless one of the targets is given, `ShapeError` where its shape is not z's, `ArgumentError` for
    negative probabilities.

    >>> import numpy as np
    >>> value, dz = kl_divergence_and_grad(np.log([0.5, 0.5]), np.array([0.25, 0.75]))
    >>> round(float(value), 4), dz.tolist()
    (0.1308, [0.25, -0.25])
    """
    return _divergence(z, target, target_logits, axis, reduction, True, out)


def _divergence(
    z: object, target: object, target_logits: object, axis: object, reduction: object, gradient: bool, out: object
) -> tuple[Any, Any]:
    guest = floats(z, "z")
    logits = guest.array
    if (target is None) == (target_logits is None):
        raise ArgumentTypeError(
            f"target: expected either target or target_logits, received {'neither' if target is None else 'both'}"
        )
    if logits.ndim == 0:
        raise ShapeError("z: expected logits with an axis of classes, received shape ()")
    name, given = ("target", target) if target is not None else ("target_logits", target_logits)
    t = floats_beside(given, logits, name)
    require_shape(t, tuple(logits.shape), name)
    if name == "target":
        _require_not_negative(t)
    where = one_axis(axis, logits.ndim)
    rows, t = to_rows(logits, where), to_rows(widened(t), where)
    shape = (*logits.shape[:where], *logits.shape[where + 1 :])
    how = reduction_of(reduction, None, None, shape, logits, rows.shape[0])
    place = destination(out, tuple(logits.shape), logits.dtype, logits)
    kernel = reference_losses.kl_rows if name == "target" else reference_losses.kl_between_logits
    values, slopes = kernel(rows, t)
    value = returned(how.value(values, shape, logits), guest)
    if not gradient:
        return value, None
    xp = namespace(logits)
    scaled = dispatch.scaled(slopes, how.scale(), logits.dtype)
    result = xp.moveaxis(xp.reshape(scaled, (*shape, logits.shape[where])), -1, where)
    if place is not None:
        place[...] = result
    return value, returned(result, guest, out)


def _require_not_negative(t: Array) -> None:
    if not is_traced(t) and bool(namespace(t).any(namespace(t).real(t) < 0)):
        raise ArgumentError("target: expected probabilities that are not negative, received negative ones")
