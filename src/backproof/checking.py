"""`backproof.check`: is this gradient right, and if not, why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backproof._errors import ArgumentError

if TYPE_CHECKING:
    from backproof.gradcheck.engine import Progress
    from backproof.gradcheck.findings import Report


def check(
    target: Any,
    *inputs: Any,
    backward: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    wrt: int | str | Sequence[int | str] | None = None,
    parameters: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    order: int = 1,
    surrogate: bool | Collection[int] = False,
    special_points: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Compare the derivatives that `target` brings with numerical ones; say what is wrong, why, and how to mend it.

    target: a function of NumPy arrays with `backward(upstream, *inputs)` beside it; an object (or class) with `forward(x)` and
    `backward(upstream)`; a backproof Layer, Loss or Network; a torch function, autograd Function or module called on tensors; a JAX
    function called on JAX arrays.
    inputs: where to check, any shapes.
    backward: returns one gradient an input, None for those that have none.
    jvp: `jvp(tangents, *inputs)`, a forward-mode derivative to be checked too.
    wrt: positions or names of the inputs to look at.
    parameters: of an object, {attribute: attribute of its gradient}.
    names: what the report calls the inputs.
    order: 2 checks the second derivative as well.
    surrogate: True, or positions of inputs whose gradient is meant not to be the derivative (straight-through, clipped): their
    values
    are not compared.
    special_points: False keeps to the given point, and does not try zeros, ties, equal rows, repeated indices or large values
    near it.
    seed: of the directions and upstream gradients.
    progress: called with (done, total, what).

    Returns a `Report`: `.ok`, `.findings` (most likely cause first), `print(report)`, `.raise_if_failed()`. Raises
    `ArgumentError` or
    `ArgumentTypeError` if the target cannot be run, or returns a wrong number of gradients.

    The mathematics: derivatives by extrapolated central differences with error bars (Ridders, Advances in Engineering Software 4,
    1982), compared with J^T g for one-hot g, or along random directions where J is large.

    >>> import numpy as np, backproof
    >>> def softmax(x):
    ...     e = np.exp(x - x.max(axis=-1, keepdims=True))
    ...     return e / e.sum(axis=-1, keepdims=True)
    >>> def backward(upstream, x):
    ...     h = softmax(x)
    ...     return h * (1 - h) * upstream
    >>> report = backproof.check(softmax, np.array([[0.1, 1.2, -0.3, 0.4], [1.0, 0.2, 0.5, -1.0]]), backward=backward)
    >>> report.ok, report.findings[0].cause
    (False, 'missing-cross-terms')
    """
    if order not in (1, 2):
        raise ArgumentError(f"order: expected 1 or 2, received {order!r}")
    from backproof.adapters import adapt  # here: `import backproof` stays light
    from backproof.gradcheck.engine import examine

    subject = adapt(target, inputs, backward=backward, jvp=jvp, wrt=wrt, parameters=parameters, names=names)
    return examine(subject, seed=seed, surrogate=surrogate, progress=progress, order=order, special_points=special_points)
