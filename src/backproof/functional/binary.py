"""Binary cross-entropy from logits: yes or no, for one label an example or several at once."""

from __future__ import annotations

from typing import Any

from backproof._errors import ArgumentError
from backproof.arrays import is_complex, is_traced, namespace, widened
from backproof.functional.arguments import destination, floats, floats_beside, require_finite, require_shape, returned
from backproof.functional.reduction import reduction_of
from backproof.kernels import dispatch, reference_losses
from backproof.kernels.exact import total


def binary_cross_entropy(z: Any, target: Any, *, weight: Any = None, sample_weight: Any = None, reduction: str = "mean") -> Any:
    """-t ln y - (1 - t) ln(1 - y) with y = sigmoid(z); `binary_cross_entropy_and_grad` describes arguments and errors.

    Source: Bishop 1995, section 6.7.

    >>> import numpy as np
    >>> float(binary_cross_entropy(np.array([50.0]), [1]))
    1.9287498479639178e-22
    """
    return _binary(z, target, weight, sample_weight, reduction, False, None)[0]


def binary_cross_entropy_and_grad(
    z: Any, target: Any, *, weight: Any = None, sample_weight: Any = None, reduction: str = "mean", out: Any = None
) -> tuple[Any, Any]:
    """(loss, dloss/dz): binary cross-entropy of sigmoid(z), and its gradient, `y - t` for one entry.

    z is (N,) or (N, ...): an example's value is the sum over its labels; a z without axes is one example. `target` has z's shape
    and lies in [0, 1]. `weight`, of an example's shape, multiplies each label's term, `sample_weight`, (N,), each example.
    `reduction`: "mean" divides by the sum of the sample weights (over nothing it is 0), "sum", or "none" for one value an example
    (and the gradient of their sum). dtypes and `out` as in `cross_entropy_and_grad`. Source: Bishop 1995, section 6.7.

    Raises `ShapeError` where shapes do not fit, `ArgumentError` for targets outside [0, 1] and weights that are not finite.

    >>> import numpy as np
    >>> loss, dz = binary_cross_entropy_and_grad(np.array([[0.0, 0.0]]), [[1, 0]])
    >>> round(float(loss), 4), dz.tolist()
    (1.3863, [[-0.5, 0.5]])
    """
    return _binary(z, target, weight, sample_weight, reduction, True, out)


def _binary(
    z: object, target: object, weight: object, sample_weight: object, reduction: object, gradient: bool, out: object
) -> tuple[Any, Any]:
    guest = floats(z, "z")
    logits = guest.array
    xp = namespace(logits)
    shape = tuple(logits.shape)
    t = floats_beside(target, logits, "target")
    require_shape(t, shape, "target")
    if not is_traced(t) and not is_complex(t) and not bool(xp.all(~((t < 0) | (t > 1)))):
        raise ArgumentError(f"target: expected numbers from 0 to 1, received {float(xp.min(t)):g} to {float(xp.max(t)):g}")
    n = shape[0] if shape else 1
    how = reduction_of(reduction, sample_weight, None, shape[:1], logits, n)
    place = destination(out, shape, logits.dtype, logits)
    values, slopes = reference_losses.binary_cross_entropy_terms(logits, t)
    if weight is not None:
        factor = floats_beside(weight, logits, "weight")
        require_shape(factor, shape[1:], "weight")
        require_finite(factor, "weight")
        factor = widened(factor)
        values = xp.where(factor == 0, xp.zeros_like(values), values * factor)
        slopes = xp.where(factor == 0, xp.zeros_like(slopes), slopes * factor)
    labels = 1
    for length in shape[1:]:
        labels *= length
    high, low = total(xp.reshape(values, (n, labels)))
    value = returned(how.value((high + low)[..., 0], shape[:1], logits), guest)
    if not gradient:
        return value, None
    result = xp.reshape(dispatch.scaled(xp.reshape(slopes, (n, labels)), how.scale(), logits.dtype), shape)
    if place is not None:
        place[...] = result
    return value, returned(result, guest, out)
