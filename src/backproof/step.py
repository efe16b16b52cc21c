"""One training step: loss and gradient of a batch, then the optimiser's step, with a guard against nan and infinity."""

from __future__ import annotations

import copy
import math
from typing import NoReturn

import numpy as np

from backproof._errors import DivergenceError
from backproof.arrays import Array, to_numpy
from backproof.diagnosis import first_not_finite
from backproof.network import Network
from backproof.optimisers import Optimizer, norm_of


class TrainingStep:
    """`step(x, t, sample_weight=None) -> loss`: forward, backward, optimiser; the network's parameters change in place.

    `gradient_norm` is that of the last step, `count` the number of steps made. When the loss or the gradient is not finite the
    parameters go back to the last ones whose loss was, and `DivergenceError` names the first layer that is not finite.

    >>> import numpy as np
    >>> from backproof import CrossEntropy, Linear, Network, Softmax, sgd
    >>> network = Network([Linear(2), Softmax()], CrossEntropy())
    >>> x, t = np.eye(2), np.array([0, 1])
    >>> step = TrainingStep(network.initialise(x, seed=0), sgd(0.5))
    >>> step(x, t) > step(x, t)
    True
    """

    def __init__(self, network: Network, optimizer: Optimizer, rng: np.random.Generator | None = None) -> None:
        self.network, self.optimizer = network, optimizer
        self.rng = rng if rng is not None or not network.chain.is_random else np.random.default_rng()
        self.count = 0
        self.gradient = np.empty_like(network.parameters)
        self.gradient_norm = 0.0
        self._state = optimizer.init(network.parameters)
        self._last_good = network.parameters.copy()

    def __call__(self, x: Array, t: Array, sample_weight: object = None) -> float:
        random = self.network.chain.is_random
        before = copy.deepcopy(self.rng) if random else None
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # said below, with the layer's name
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
            f"The weights before the last step are kept. A smaller learning rate or clip_by_norm may help."
        )
