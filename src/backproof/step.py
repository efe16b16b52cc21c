"""One training step: loss and gradient of a batch, then the optimiser's step, with a guard against nan and infinity."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from backproof._errors import ArgumentError, DivergenceError
from backproof.arrays import Array, to_numpy
from backproof.diagnosis import first_not_finite
from backproof.kernels import blas
from backproof.losses import CrossEntropy
from backproof.network import Network
from backproof.optimisers import Optimizer, State, norm_of, require_optimizer
from backproof.plan import compiled_plan, obstacle
from backproof.saving.trees import fitted

INT64 = np.dtype(np.int64)


class TrainingStep:
    """`step(x, t, sample_weight=None) -> loss`: forward, backward, optimiser; the network's parameters change in place.

    x (N, *features), t as the loss takes it, sample_weight (N,) or None.

    `gradient_norm` is that of the last step, `count` the number of steps made. When the loss or the gradient is not finite the
    parameters go back to the last ones whose loss was (of a compiled step of a long vector: to those at most eight steps ago), and
    `DivergenceError` names the first layer that is not finite.

    `compiled=True` takes the compiled step of a plain network (`backproof.plan`; `ArgumentError` if this one has none): several
    times faster for small networks, after some seconds of compiling, once. Its steps equal the layers', dropout's numbers included,
    to rounding. With Adam the whole gradient is never formed, unless `norm=True` asks for its norm; else `gradient_norm` is nan.

    `state`, from `optimizer.init(network.parameters)`, is the optimiser's to go on from, and is updated in place.

    Raises `ArgumentTypeError` for what is no `Optimizer`, `ArgumentError` for `compiled=True` with a network that has no such step.

    >>> import numpy as np
    >>> from backproof import CrossEntropy, Linear, Network, Softmax, sgd
    >>> network = Network([Linear(2), Softmax()], CrossEntropy())
    >>> x, t = np.eye(2), np.array([0, 1])
    >>> step = TrainingStep(network.initialise(x, seed=0), sgd(0.5))
    >>> step(x, t) > step(x, t)
    True
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        rng: np.random.Generator | None = None,
        *,
        compiled: bool = False,
        state: State | None = None,
    ) -> None:
        require_optimizer(optimizer, "TrainingStep")
        self.network, self.optimizer = network, optimizer
        self.rng = rng if rng is not None or not network.chain.is_random else np.random.default_rng()
        self.count = 0
        self.gradient = np.empty_like(network.parameters)
        self.gradient_norm = math.nan
        self._state = optimizer.init(network.parameters) if state is None else state
        self._last_good = network.parameters.copy()
        self._random = network.chain.is_random
        self._plan = None
        if compiled:
            why_not = obstacle(network)
            if why_not is not None:
                raise ArgumentError(f"TrainingStep: expected a plain network with compiled=True, received {why_not}")
            self._plan = compiled_plan(network)
        loss = network.loss_function
        self._standardises, self._dtype = network.standardises, network.dtype
        self._takes_labels = isinstance(loss, CrossEntropy)
        self._is_plain_mean = loss is not None and loss.reduction == "mean" and getattr(loss, "class_weight", None) is None
        self._fused = self._plan is not None and optimizer.name in ("adam", "adamw")
        self._rate: Any = optimizer.options.get("learning_rate")
        self._adam = tuple(optimizer.options.get(name, 0.0) for name in ("b1", "b2", "eps", "weight_decay"))
        # a copy of a long vector every step would be felt
        self._parameters: Array | None = None  # of the last compiled step, if that can be made again
        self._keep_every = 1 if network.parameters.size <= 16384 else 8

    def __call__(self, x: Array, t: Array, sample_weight: object = None, *, norm: bool = False) -> float:
        before = self.rng.bit_generator.state if self._random and self.rng is not None else None
        if self._fused and not norm:
            plan, count, loss, rate = self._plan, self._state["count"], None, self._rate
            if plan is not None and self._parameters is self.network.store.flat and sample_weight is None:  # perhaps a like batch
                action = plan.UPDATE if count % self._keep_every else plan.UPDATE_AND_KEEP
                loss = plan.again(action, x, t, rate(count) if callable(rate) else rate, count + 1)
            if loss is None:
                loss = self._compiled(x, t, sample_weight, True)
            if not math.isfinite(loss):  # nothing has been changed
                self.diverged(x, t, sample_weight, before)
            self._state["count"] = count + 1
            self.count += 1
            self.gradient_norm = math.nan
            return loss
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # said below, with the layer's name
            if self._plan is not None:
                loss = self._compiled(x, t, sample_weight, False)
            else:
                with blas.few(2.0 * len(x) * self.gradient.size):
                    loss, _ = self.network.loss_and_gradient(x, t, sample_weight, train=True, rng=self.rng, out=self.gradient)
            self.gradient_norm = norm_of(self.gradient)
            if not (math.isfinite(loss) and math.isfinite(self.gradient_norm)):
                self.diverged(x, t, sample_weight, before)
            parameters = self.network.parameters
            self._last_good[:] = parameters
            step, self._state = self.optimizer.update(self.gradient, self._state, parameters)
            parameters += step
        self.count += 1
        return loss

    def _compiled(self, x: Array, t: Array, sample_weight: object, update: bool) -> float:
        """Loss and gradient in one compiled call, with Adam's update, or to `gradient`. Shapes and labels are checked there."""
        plan, network, state, rate, weights = self._plan, self.network, self._state, self._rate, None
        assert plan is not None
        self._parameters, given = None, (x, t)
        if type(x) is not np.ndarray or x.dtype is not self._dtype or self._standardises:
            x = network.prepared(x)
        if type(t) is not np.ndarray or t.dtype is not INT64 or t.ndim != 1 or not self._takes_labels:
            t = network.objective.targets(self._logits_like(x), t)
        if sample_weight is not None or not self._is_plain_mean:
            objective, logits = network.objective, self._logits_like(x)
            weights = objective.row_weights((len(x),), sample_weight, objective.counts(logits, objective.targets(logits, t)))
        if not update:
            return plan.loss_and_gradient(network.parameters, x, t, weights, self.rng, out=self.gradient)
        count, parameters = state["count"], network.parameters
        loss = plan.run(
            parameters, state["mean"], state["mean_square"], self._last_good, x, t, weights, self.rng,
            plan.UPDATE if count % self._keep_every else plan.UPDATE_AND_KEEP, self._adam,
            rate(count) if callable(rate) else rate, count + 1,
        )  # fmt: skip
        if plan.is_repeatable and x is given[0] and t is given[1]:
            self._parameters = parameters
        return loss

    def _logits_like(self, x: Array) -> Array:
        """Something of the logits' shape: a loss that checks targets needs no values for that."""
        network = self.network
        return np.broadcast_to(network.dtype.type(0), (len(x), *network.chain.out_shape(network.in_shape)))

    @property
    def last_change(self) -> Array:
        """By what the last step has changed the parameters, if it was one with `norm=True`."""
        return self.network.parameters - self._last_good

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on beside the network's parameters and the generator: numbers and arrays by name."""
        numbers = {"count": self.count, "gradient_norm": float(self.gradient_norm)}
        return {**numbers, "optimizer": self._state, "last_good": self._last_good}

    def restore(self, state: Any) -> None:
        """Go on from a `state`, which is copied. Raises `ModelFileError` if it is not that of such a step."""
        given = fitted(state, self.state(), "step")
        self.count, self.gradient_norm = given["count"], given["gradient_norm"]
        if isinstance(self._state, dict):
            self._state.update(given["optimizer"])  # in place: it may be the caller's
        else:
            self._state = given["optimizer"]
        self._last_good[:] = given["last_good"]

    def require_finite_parameters(self, x: Array, t: Array) -> None:
        """Raise `DivergenceError` (and go back) if the last step has led out of the finite numbers; no later step would tell."""
        if not np.isfinite(self.network.parameters).all():
            self.diverged(x, t)

    def diverged(self, x: Array, t: Array, sample_weight: object = None, drawn: Mapping[str, Any] | None = None) -> NoReturn:
        """Go back to the last good weights and raise `DivergenceError` naming what is not finite on these examples.

        `drawn`: the state of the generator's bits before dropout's numbers were drawn.
        """
        rng = None if drawn is None else copy.deepcopy(self.rng)
        if rng is not None and drawn is not None:
            rng.bit_generator.state = drawn
        place = first_not_finite(self.network, x, to_numpy(t, "t"), sample_weight, rng) or "the sum of the gradient's squares"
        self.network.parameters = self._last_good
        raise DivergenceError(
            f"training stopped at step {self.count + 1}: expected finite numbers, but {place} is the first that is not. "
            f"The last good weights are kept. A smaller learning rate or clip_by_norm may help."
        )
