"""Optimisers as (init, update) pairs over the flat parameter vector.

    state = optimizer.init(parameters)
    step, state = optimizer.update(gradient, state, parameters)
    parameters += step

Nothing passed in is written to but the state, which belongs to the optimiser: arrays in it are updated where they are, and `step`
may be one of them (valid until the next update). Long vectors are worked through in blocks that stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.arrays import Array
from backproof.layers.base import require_count, require_number
from backproof.schedules import Schedule, as_schedule

State: TypeAlias = dict[str, Any]
_BLOCK = 16384


@dataclass(frozen=True)
class Optimizer:
    """`init(parameters) -> state` and `update(gradient, state, parameters) -> (step, state)`.

    Gradient, parameters and step are flat vectors (P,). `name` and `options` say what it is, for reprs, files and compiled
    steps. One of your own is made of two functions:

    >>> import numpy as np
    >>> def update(gradient, state, parameters):
    ...     return -0.1 * np.sign(gradient), state
    >>> signs = Optimizer(lambda parameters: {}, update, "signs")
    >>> signs.update(np.array([3.0, -2.0]), signs.init(np.zeros(2)), np.zeros(2))[0].tolist()
    [-0.1, 0.1]
    """

    init: Callable[[Array], State] = field(repr=False)
    update: Callable[[Array, State, Array], tuple[Array, State]] = field(repr=False)
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> Any:
        """One of ours is pickled by name and options, to be made anew: its functions are closures."""
        if self.update.__module__ != __name__:
            return Optimizer, (self.init, self.update, self.name, self.options)
        return (chain, self.options["parts"]) if "parts" in self.options else (_made, (self.name, self.options))


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK))


def _state(parameters: Array, *buffers: str) -> State:
    return {"count": 0, "step": np.empty_like(parameters)} | {name: np.zeros_like(parameters) for name in buffers}


def sgd(learning_rate: float | Schedule, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """step = -lr u with u = momentum u + g; with Nesterov's form, step = -lr (g + momentum u).

    Source: Sutskever et al., ICML 2013, section 2 (in the form that torch uses: the rate outside the velocity). Raises
    `ArgumentError` for a momentum outside [0, 1), and for nesterov without it.

    >>> import numpy as np
    >>> rule, theta, g = sgd(0.1, momentum=0.5), np.zeros(1), np.array([1.0])
    >>> state = rule.init(theta)
    >>> [round(rule.update(g, state, theta)[0].item(), 3) for _ in range(3)]
    [-0.1, -0.15, -0.175]
    """
    rate = as_schedule(learning_rate)
    require_number("sgd", "momentum", momentum, low=0.0, high=1.0)
    if nesterov and not momentum:
        raise ArgumentError("sgd: expected momentum above 0 with nesterov=True, received 0")

    def init(parameters: Array) -> State:
        return _state(parameters, *(["velocity"] if momentum else []))

    def update(gradient: Array, state: State, parameters: Array) -> tuple[Array, State]:
        lr, step = rate(state["count"]), state["step"]
        state["count"] += 1
        if not momentum:
            return np.multiply(gradient, -lr, out=step), state
        velocity = state["velocity"]
        velocity *= momentum
        velocity += gradient
        if nesterov:
            np.multiply(velocity, momentum, out=step)
            step += gradient
            step *= -lr
        else:
            np.multiply(velocity, -lr, out=step)
        return step, state

    return Optimizer(init, update, "sgd", {"learning_rate": learning_rate, "momentum": momentum, "nesterov": nesterov})


def adam(learning_rate: float | Schedule = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """step = -lr m^ / (sqrt(v^) + eps), m and v running means of g and g^2, corrected for their start at 0.

    Source: Kingma & Ba, ICLR 2015, algorithm 1. Raises `ArgumentError` for numbers out of range, as `adamw` does.

    >>> import numpy as np
    >>> optimizer = adam(0.1)
    >>> theta = np.array([1.0, -1.0])
    >>> step, state = optimizer.update(np.array([3.0, -0.2]), optimizer.init(theta), theta)
    >>> step.round(6).tolist()   # the first step has the length of the rate in every coordinate
    [-0.1, 0.1]
    """
    return _adam("adam", learning_rate, b1, b2, eps, 0.0)


def adamw(
    learning_rate: float | Schedule = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-2
) -> Optimizer:
    """Adam with decoupled weight decay: step = -lr (m^ / (sqrt(v^) + eps) + weight_decay theta).

    Source: Loshchilov & Hutter, ICLR 2019, algorithm 2. Raises `ArgumentError` for b1 or b2 outside [0, 1), or a negative rate, eps
    or weight_decay.

    >>> import numpy as np
    >>> rule, theta = adamw(0.1, weight_decay=0.5), np.array([2.0])
    >>> rule.update(np.array([3.0]), rule.init(theta), theta)[0].round(6).tolist()      # -0.1 (1 + 0.5 * 2)
    [-0.2]
    """
    return _adam("adamw", learning_rate, b1, b2, eps, weight_decay)


def _adam(name: str, learning_rate: float | Schedule, b1: float, b2: float, eps: float, weight_decay: float) -> Optimizer:
    rate = as_schedule(learning_rate)
    for label, value in (("b1", b1), ("b2", b2)):
        require_number(name, label, value, low=0.0, high=1.0)
    require_number(name, "eps", eps, low=0.0)
    require_number(name, "weight_decay", weight_decay, low=0.0)

    def update(gradient: Array, state: State, parameters: Array) -> tuple[Array, State]:
        lr = rate(state["count"])
        state["count"] += 1
        c1, c2 = 1 - b1 ** state["count"], 1 - b2 ** state["count"]
        scratch = np.empty(min(_BLOCK, gradient.size), dtype=gradient.dtype)
        for block in _blocks(gradient.size):
            g, m, v, step = gradient[block], state["mean"][block], state["mean_square"][block], state["step"][block]
            t = scratch[: g.size]
            m *= b1
            m += np.multiply(g, 1 - b1, out=t)
            v *= b2
            v += np.multiply(np.multiply(g, g, out=t), 1 - b2, out=t)
            np.sqrt(v, out=t)  # sqrt(v / c2) + eps = (sqrt(v) + eps sqrt(c2)) / sqrt(c2)
            t += eps * math.sqrt(c2)
            np.divide(m, t, out=step)
            step *= -lr * math.sqrt(c2) / c1
            if weight_decay:
                step -= np.multiply(parameters[block], lr * weight_decay, out=t)
        return state["step"], state

    options = {"learning_rate": learning_rate, "b1": b1, "b2": b2, "eps": eps, "weight_decay": weight_decay}
    return Optimizer(lambda parameters: _state(parameters, "mean", "mean_square"), update, name, options)


def rmsprop(learning_rate: float | Schedule = 1e-3, decay: float = 0.99, eps: float = 1e-8) -> Optimizer:
    """step = -lr g / (sqrt(v) + eps), v a running mean of g^2 (Tieleman & Hinton, Coursera lecture 6.5, 2012).

    Raises `ArgumentError` for a decay outside [0, 1), or a negative rate or eps.

    >>> import numpy as np
    >>> rule, theta = rmsprop(0.1, decay=0.75), np.zeros(1)
    >>> rule.update(np.array([4.0]), rule.init(theta), theta)[0].round(6).tolist()      # v is 0.25 * 16
    [-0.2]
    """
    rate = as_schedule(learning_rate)
    require_number("rmsprop", "decay", decay, low=0.0, high=1.0)
    require_number("rmsprop", "eps", eps, low=0.0)

    def update(gradient: Array, state: State, parameters: Array) -> tuple[Array, State]:
        lr = rate(state["count"])
        state["count"] += 1
        for block in _blocks(gradient.size):
            g, v, step = gradient[block], state["mean_square"][block], state["step"][block]
            v *= decay
            v += (1 - decay) * (g * g)
            np.sqrt(v, out=step)
            step += eps
            np.divide(g, step, out=step)
            step *= -lr
        return state["step"], state

    options = {"learning_rate": learning_rate, "decay": decay, "eps": eps}
    return Optimizer(lambda parameters: _state(parameters, "mean_square"), update, "rmsprop", options)


def clip_by_norm(limit: float) -> Optimizer:
    """Scale the gradient down to the norm `limit` where it is longer: g min(1, limit / |g|) (Pascanu et al., ICML 2013).

    For the front of a `chain`: it passes a gradient on, not a step. Raises `ArgumentError` for a limit that is not above 0.

    >>> import numpy as np
    >>> rule = clip_by_norm(1.0)
    >>> rule.update(np.array([3.0, 4.0]), rule.init(np.zeros(2)), np.zeros(2))[0].round(6).tolist()
    [0.6, 0.8]
    """
    require_number("clip_by_norm", "limit", limit, low=0.0, open_low=True)

    def update(gradient: Array, state: State, parameters: Array) -> tuple[Array, State]:
        norm = norm_of(gradient)
        return (gradient * gradient.dtype.type(limit / norm) if norm > limit else gradient), state

    return Optimizer(lambda parameters: {}, update, "clip_by_norm", {"limit": limit})


PIECE = 8192  # numbers


def norm_of(vector: Array) -> float:
    """Euclidean norm; where its square overflows, by way of the largest entry.

    Piece by piece: for longer products a BLAS takes threads, which spin for milliseconds where the next steps are to run.
    """
    pieces = (vector[i : i + PIECE] for i in range(0, len(vector), PIECE))
    with np.errstate(over="ignore", invalid="ignore"):
        square = sum(float(np.dot(piece, piece)) for piece in pieces)
    if math.isfinite(square):
        return math.sqrt(square)
    largest = float(np.abs(vector).max())
    return largest * math.sqrt(float(np.sum((vector / largest) ** 2))) if math.isfinite(largest) else largest


def chain(*parts: Optimizer) -> Optimizer:
    """One after the other: each part's result is the next one's gradient. Raises `ArgumentTypeError` for what is no `Optimizer`.

    >>> chain(clip_by_norm(1.0), adam(1e-3)).name
    'clip_by_norm, adam'
    """

    for part in parts:
        require_optimizer(part, "chain")

    def init(parameters: Array) -> State:
        return {str(i): part.init(parameters) for i, part in enumerate(parts)}

    def update(gradient: Array, state: State, parameters: Array) -> tuple[Array, State]:
        for i, part in enumerate(parts):
            gradient, state[str(i)] = part.update(gradient, state[str(i)], parameters)
        return gradient, state

    return Optimizer(init, update, ", ".join(part.name for part in parts), {"parts": parts})


def _made(name: str, options: dict[str, Any]) -> Optimizer:
    if name in ("adam", "adamw"):
        return _adam(name, **options)
    makers: dict[str, Callable[..., Optimizer]] = {"sgd": sgd, "rmsprop": rmsprop, "clip_by_norm": clip_by_norm}
    return makers[name](**options)


def require_optimizer(value: object, owner: str) -> None:
    """Raise `ArgumentTypeError` unless `value` is an `Optimizer`."""
    if not isinstance(value, Optimizer):
        raise ArgumentTypeError(f"{owner}: expected an optimizer such as backproof.adam(1e-3), received {value!r}")


@dataclass(frozen=True)
class FullBatch:
    """SciPy's L-BFGS over all examples at once: what `lbfgs` returns and `train` runs."""

    memory: int
    gradient_tolerance: float


def lbfgs(memory: int = 20, gradient_tolerance: float = 1e-6) -> FullBatch:
    """Limited-memory BFGS on the whole data, one iteration an epoch, until no entry of the gradient exceeds `gradient_tolerance`.

    Runs `scipy.optimize.minimize(method="L-BFGS-B")` (Byrd, Lu, Nocedal & Zhu, SIAM J. Sci. Comput. 16, 1995). Use float64. Raises
    `ArgumentError` for a memory below 1 or a negative tolerance.

    >>> import numpy as np
    >>> from backproof import Linear, Network, SquaredError, train
    >>> network, x = Network([Linear(1)], SquaredError(), dtype="float64"), np.arange(5.0)[:, None]
    >>> records = list(train(network, x, 3 * x + 1, optimizer=lbfgs(), epochs=50, seed=0))
    >>> network.parameters.round(4).tolist(), records[-1].epoch < 50
    ([3.0, 1.0], True)
    """
    require_count("lbfgs", "memory", memory)
    require_number("lbfgs", "gradient_tolerance", gradient_tolerance, low=0.0)
    return FullBatch(memory, gradient_tolerance)
