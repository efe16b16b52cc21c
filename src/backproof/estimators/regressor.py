"""A network as a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.choices import LOSSES
from backproof.estimators.base import NetworkEstimator
from backproof.estimators.legal import REGRESSOR
from backproof.estimators.targets import Coding, Values
from backproof.losses import Loss


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A network with as many linear outputs as y has columns, with scikit-learn's interface.

    loss : "squared-error" (half the squares, summed over the outputs and averaged over the examples, in value and gradient alike),
    "huber", or a Loss. All other parameters are those of `SoftmaxClassifier`; attributes too, without the classes. y is (N,) or
    (N, outputs) and `predict` gives that shape.

    >>> import numpy as np
    >>> from backproof import lbfgs
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> y = np.hstack([x**2, np.sin(3 * x)])
    >>> rule = lbfgs(gradient_tolerance=1e-3)
    >>> model = NetworkRegressor(hidden=(16,), activation="tanh", optimizer=rule, epochs=300, random_state=0)
    >>> bool(model.fit(x, y).score(x, y) > 0.99)
    True
    """

    _legal = REGRESSOR

    def __init__(
        self,
        hidden: Any = (100,),
        *,
        activation: Any = "relu",
        loss: Any = "squared-error",
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        schedule: Any = "constant",
        l2: float = 0.0,
        dropout: float = 0.0,
        epochs: int = 100,
        batch_size: int = 32,
        early_stopping: bool = False,
        scoring: Any = "loss",
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        warm_start: bool = False,
        compiled: bool | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.l2 = l2
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.scoring = scoring
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.compiled = compiled
        self.random_state = random_state
        self.verbose = verbose

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One pass over X and y (L-BFGS: one iteration) after what has been learnt; weights, optimiser and random numbers go on."""
        return self._fit(X, y, sample_weight, (None, None, None), None, passes=1)

    def predict(self, X: Any) -> Array:
        """(N,) where y was, else (N, outputs)."""
        outputs = self._logits(X)
        return outputs[:, 0] if self._flat else outputs

    def _coding_for(self, y: Any, classes: Any, names: Any) -> Coding:
        self._flat = np.ndim(y) == 1
        return Values(np.arange(1 if self._flat else y.shape[1]))

    def _loss_for(self, t: Array, weights: Array | None) -> tuple[Loss, Array | None]:
        loss = LOSSES[self.loss]() if isinstance(self.loss, str) else self.loss
        if loss.link != "identity":
            raise ArgumentError(f"NetworkRegressor: expected a loss for numbers such as 'squared-error', received {loss!r}")
        return loss, weights

    def _y_options(self) -> dict[str, Any]:
        return {"multi_output": True, "y_numeric": True}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
