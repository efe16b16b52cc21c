"""One training step: loss and gradient of a batch, then the optimiser's step, with a guard against nan and infinity."""

from __future__ import annotations

import copy
import math
from typing import NoReturn

import numpy as np

from backproof._errors import ArgumentError, DivergenceError
from backproof.arrays import Array, to_numpy
from backproof.diagnosis import first_not_finite
from backproof.losses import CrossEntropy
from backproof.network import Network
from backproof.optimisers import Optimizer, State, norm_of, require_optimizer
from backproof.plan import compiled_plan, obstacle


class TrainingStep:
    """`step(x, t, sample_weight=None) -> loss`: forward, backward, optimiser; the network's parameters change in place.

    `gradient_norm` is that of the last step, `count` the number of steps made. When the loss or the gradient is not finite the
    parameters go back to the last ones whose loss was (of a compiled step of a long vector: to those at most eight steps ago), and
    `DivergenceError` names the first layer that is not finite.

    `compiled=True` takes the compiled step of a plain network (`backproof.plan`; `ArgumentError` if this one has none): several
    times faster for small networks, after some seconds of compiling, once. Its gradients equal the layers' to rounding. With Adam
    the whole gradient is never formed, unless `norm=True` asks for its norm; otherwise `gradient_norm` is nan.

    `state`, from `optimizer.init(network.parameters)`, is the optimiser's to go on from, and is updated in place.

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
        self._last_good, self._previous = network.parameters.copy(), network.parameters.copy()
        self._random = network.chain.is_random
        self._plan = None
        if compiled:
            why_not = obstacle(network)
            if why_not is not None:
                raise ArgumentError(f"TrainingStep: expected a plain network with compiled=True, received {why_not}")
            self._plan = compiled_plan(network)
        self._fused = self._plan is not None and optimizer.name in ("adam", "adamw")
        self._takes_raw = not network.standardises
        self._takes_labels = isinstance(network.loss_function, CrossEntropy)
        # a copy of a long vector every step would be felt
        self._snapshot_every = 1 if network.parameters.size <= 16384 else 8

    def __call__(self, x: Array, t: Array, sample_weight: object = None, *, norm: bool = False) -> float:
        if self._fused and not norm:
            return self._fused_step(x, t, sample_weight)
        before = copy.deepcopy(self.rng) if self._random else None
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # said below, with the layer's name
            if self._plan is not None:
                loss = self._plan.loss_and_gradient(*self._planned(x, t, sample_weight), out=self.gradient)
            else:
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

    def _fused_step(self, x: Array, t: Array, sample_weight: object) -> float:
        """Loss, gradient and Adam in one compiled call, which changes nothing where the loss is not finite."""
        plan, options, state = self._plan, self.optimizer.options, self._state
        assert plan is not None
        parameters, inputs, targets, weights = self._planned(x, t, sample_weight)
        count, rate = state["count"], options["learning_rate"]
        snapshot = count % self._snapshot_every == 0
        if snapshot:
            np.copyto(self._previous, parameters)
        loss = plan.adam_step(
            parameters, state["mean"], state["mean_square"], inputs, targets, weights,
            learning_rate=rate(count) if callable(rate) else rate, b1=options["b1"], b2=options["b2"], eps=options["eps"],
            step=count + 1, weight_decay=options["weight_decay"],
        )  # fmt: skip
        if not math.isfinite(loss):
            self.diverged(x, t, sample_weight)
        if snapshot:
            self._last_good, self._previous = self._previous, self._last_good
        state["count"] = self.count = count + 1
        self.gradient_norm = math.nan
        return loss

    def _planned(self, x: Array, t: Array, sample_weight: object) -> tuple[Array, Array, Array, Array | None]:
        """(parameters, x, t, row weights) as the compiled step takes them; shapes and labels it checks itself."""
        network = self.network
        parameters = network.parameters
        if not (self._takes_raw and type(x) is np.ndarray and x.dtype == parameters.dtype and x.ndim == 2):
            x = network.prepared(x)
        if not (self._takes_labels and type(t) is np.ndarray and t.ndim == 1 and t.dtype.kind == "i"):
            t = self._checked_targets(len(x), t)
        return parameters, x, t, None if sample_weight is None else network.objective.row_weights((len(x),), sample_weight)

    def _checked_targets(self, examples: int, t: Array) -> Array:
        """Targets as the loss checks them, against logits that need no values for that."""
        network = self.network
        outputs = network.chain.out_shape(network.in_shape)
        return network.objective.targets(np.broadcast_to(network.dtype.type(0), (examples, *outputs)), t)

    def require_finite_parameters(self, x: Array, t: Array) -> None:
        """Raise `DivergenceError` (and go back) if the last step has led out of the finite numbers; no later step would tell."""
        if not np.isfinite(self.network.parameters).all():
            self.diverged(x[:1], t[:1])

    def diverged(self, x: Array, t: Array, sample_weight: object = None, rng: np.random.Generator | None = None) -> NoReturn:
        """Go back to the last good weights and raise `DivergenceError` naming what is not finite on these examples."""
        place = first_not_finite(self.network, x, to_numpy(t, "t"), sample_weight, rng) or "the sum of the gradient's squares"
        self.network.parameters = self._last_good
        raise DivergenceError(
            f"training stopped at step {self.count + 1}: expected finite numbers, but {place} is the first that is not. "
            f"The last good weights are kept. A smaller learning rate or clip_by_norm may help."
        )
