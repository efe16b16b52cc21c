"""What classifier and regressor share: from data to a trained network, once, again or a piece at a time."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator, Iterable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, validate_data

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.canonical import without_link
from backproof.estimators.building import generator_of, layers_of, optimizer_of
from backproof.estimators.callbacks import CallbackSupportMixin, tell, with_callbacks
from backproof.estimators.examples import Examples, dense, parts, rows_of, without_tensors, without_zeros
from backproof.estimators.legal import Legal, require_legal
from backproof.estimators.targets import Coding
from backproof.history import History
from backproof.layers import Identity, Layer
from backproof.layers.combine import Chain
from backproof.losses import Loss
from backproof.metrics import Metric
from backproof.network import Network
from backproof.optimisers import FullBatch, Optimizer
from backproof.progress import EarlyStopping, Record
from backproof.training import train, worth_compiling

_DTYPES = [np.float64, np.float32]
_ROWS_AT_ONCE = 8192
_WORTH_COMPILING = 0.1  # seconds by the layers: less than `train` asks, for an estimator is seldom fitted only once


class NetworkEstimator(CallbackSupportMixin, BaseEstimator):
    """The fitting of both estimators. What differs: the coding of y, the loss, and what the examples weigh."""

    _legal: ClassVar[dict[str, Legal]]

    network_: Network
    history_: History
    n_iter_: int
    _coding: Coding
    _rng: np.random.Generator
    _split_seed: int
    _optimizer_name: str
    _state: dict[str, Any] | None

    # --- what a subclass defines -------------------------------------------------------------------------------------------
    def _coding_for(self, y: Any, classes: Any, names: Any) -> Coding:
        """The coding of a first y; `names`: those of its columns, where they have any."""
        raise NotImplementedError

    def _loss_for(self, t: Array, weights: Array | None) -> tuple[Loss, Array | None]:
        """The loss for encoded targets, and the weights of the examples for it."""
        raise NotImplementedError

    def _y_options(self) -> dict[str, Any]:
        """How y is looked at on its way in."""
        return {"multi_output": True}

    def _targets(self, t: Array, loss: Loss) -> Array:
        """Encoded targets as the loss takes them."""
        return self._coding.loss_targets(t, loss)

    # --- fitting -----------------------------------------------------------------------------------------------------------
    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train for `epochs` passes over X (N, features), dense or sparse, and y; `sample_weight` has one entry an example.

        `X_val` and `y_val` are watched instead of a part of X, with early stopping and without. With `warm_start` a second call
        goes on with weights, optimiser and random numbers as the first left them. Returns self.

        Raises `ArgumentError` for a parameter or data that make no sense, `DivergenceError` where the numbers run away.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), None, passes=None)

    def _fit(self, X: Any, y: Any, sample_weight: Any, held_out: tuple[Any, Any, Any], classes: Any, passes: int | None) -> Self:
        """`passes` is None for a whole fit; else so many passes are made on top of what there is."""
        owner = type(self).__name__
        require_legal(owner, self.get_params(deep=False), self._legal)
        if passes is not None and isinstance(self.schedule, str) and self.schedule != "constant":
            raise ArgumentError(
                "partial_fit: expected schedule='constant' or a function of the step (nobody knows how many there will be), "
                f"received {self.schedule!r}"
            )
        again = hasattr(self, "network_") and (self.warm_start or passes is not None)
        x, t, weights = self._checked(X, y, sample_weight, classes, again)
        training, validation, score = self._split(X, y, (x, t, weights), held_out, again, whole=passes is None)
        x, t, weights = without_zeros(*training)
        loss, weights = self._loss_for(t, weights)
        layers = layers_of(self.hidden, self.activation, self.dropout, self._coding)
        if not again:
            self._begin(x, layers, loss)
        network, epochs = self.network_, self.epochs if passes is None else passes
        if _plan(layers, loss) != _plan(network.layers, network.loss_function):
            raise ArgumentError(f"{owner}: expected layers and loss as they were begun with, {network!r}, received others")
        network.loss_function, network.l2 = loss, float(self.l2)  # its weights of classes, its smoothing: these may change
        compiled = self.compiled
        if compiled is None:  # by a whole fit, so that passes one by one take the same way
            compiled = worth_compiling(network.behind_standardising(), len(t), self.batch_size, self.epochs, _WORTH_COMPILING)
        optimizer = self._optimizer_for(epochs * -(-len(t) // self.batch_size))
        records = train(
            network,
            x,
            self._targets(t, loss),
            validation=None if validation is None else (validation[0], self._targets(validation[1], loss), validation[2]),
            sample_weight=weights,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=self.batch_size,
            seed=self._rng,
            metrics={} if score is None else {"score": score},
            early_stopping=self._stopping(validation is not None) if passes is None and self.early_stopping else None,
            compiled=compiled,
            optimizer_state=self._state,
        )
        last = self._follow(records, epochs, X, y)
        if isinstance(optimizer, FullBatch) and last is not None and passes is None:
            _warn_unless_converged(owner, last, epochs, optimizer)
        return self

    def _optimizer_for(self, steps: int) -> Optimizer | FullBatch:
        """The optimiser for so many further steps; `_state` is what it goes on from, if it is the one that went before."""
        optimizer = optimizer_of(type(self).__name__, self.get_params(deep=False), steps, _steps_of(self._state or {}))
        if isinstance(optimizer, FullBatch):
            self._state, self._optimizer_name = None, "lbfgs"
        elif self._state is None or self._optimizer_name != optimizer.name:
            self._state, self._optimizer_name = optimizer.init(self.network_.parameters), optimizer.name
        return optimizer

    def _checked(self, X: Any, y: Any, sample_weight: Any, classes: Any, again: bool) -> tuple[Any, Array, Array | None]:
        """X as an array (or in CSR form), y encoded, the weights of the examples; sets the coding, unless there is one."""
        if y is None:
            raise ArgumentError(
                f"{type(self).__name__}: expected y; this estimator requires y to be passed, but the target y is None"
            )
        names = getattr(y, "columns", None)
        X, y, sample_weight = without_tensors(X, y, sample_weight)
        x, y = validate_data(self, X, y, reset=not again, accept_sparse="csr", dtype=_DTYPES, **self._y_options())
        if not again:
            self._coding = self._coding_for(y, classes, names)
        t = self._coding.encode(y)
        if sample_weight is None:
            return x, t, None
        weights = np.asarray(_check_sample_weight(sample_weight, x, dtype=np.float64))
        if not ((weights >= 0) & np.isfinite(weights)).all():
            raise ArgumentError(f"sample_weight: expected numbers that are finite and not negative, received {weights.min()}")
        if not weights.any():
            raise ArgumentError("sample_weight: expected at least one weight that is not zero, received only zeros")
        return x, t, weights

    def _split(
        self, X: Any, y: Any, data: Examples, held_out: tuple[Any, Any, Any], again: bool, whole: bool
    ) -> tuple[Examples, Examples | None, Metric | None]:
        """(training, validation, score): what is trained on, what is watched, and the scorer as a metric of the training loop."""
        if not again:
            self._rng = generator_of(self.random_state)
            self._split_seed = int(self._rng.integers(2**31))
        if not whole:
            return data, None, None
        validation, watched = None, (X, y, data[2])
        if held_out[0] is not None or held_out[1] is not None:
            if held_out[0] is None or held_out[1] is None:
                raise ArgumentError("fit: expected X_val and y_val together, received one without the other")
            check_consistent_length(held_out[0], held_out[1])
            validation, watched = self._checked(*held_out, classes=None, again=True), held_out
        elif self.early_stopping and self.validation_fraction is not None:
            kept, held = parts(data[1], self._coding.kind == "labels", self.validation_fraction, self._split_seed)
            data, validation = rows_of(data, kept), rows_of(data, held)
            watched = (_safe_indexing(X, held), _safe_indexing(y, held), validation[2])
        if not self.early_stopping or self.scoring == "loss":
            return data, validation, None
        scorer = check_scoring(self, self.scoring)
        options = {} if watched[2] is None else {"sample_weight": watched[2]}
        return data, validation, lambda z, t: float(scorer(self, watched[0], watched[1], **options))

    def _begin(self, x: Any, layers: list[Layer], loss: Loss) -> None:
        """A new network, without a state of the optimiser and without a history."""
        names = getattr(self, "feature_names_in_", None)
        named = {
            "classes": self._coding.classes.tolist(),
            "features": [f"x{i}" for i in range(x.shape[1])] if names is None else names.tolist(),
        }
        network = Network(layers, loss, l2=self.l2, dtype=x.dtype, metadata=named)
        self.network_ = network.initialise_shape((x.shape[1],), self._rng)
        self._state = None
        self.history_ = History()
        self.n_iter_ = 0

    def _stopping(self, validating: bool) -> EarlyStopping:
        prefix, by_loss = "validation" if validating else "train", self.scoring == "loss"
        return EarlyStopping(
            f"{prefix}_{'loss' if by_loss else 'score'}", self.n_iter_no_change, self.tol, mode="min" if by_loss else "max"
        )

    def _follow(self, records: Generator[Record], epochs: int, X: Any, y: Any) -> Record | None:
        """Run the training, write its history, show it; the last record."""
        last = None
        with contextlib.closing(records), np.errstate(over="ignore"):
            shown = tell(self, records, epochs, X, y)
            if self.verbose:
                from rich.console import Console

                from backproof.terminal import follow

                shown = follow(Console(), shown, epochs)
            for last in shown:
                self.n_iter_ += 1
                self.history_.add(last)
        return last

    # --- predicting --------------------------------------------------------------------------------------------------------
    def _logits(self, X: Any) -> Array:
        """What the output layer makes its predictions of, (N, outputs)."""
        check_is_fitted(self, "network_")
        x = validate_data(self, *without_tensors(X), reset=False, accept_sparse="csr", dtype=_DTYPES)
        network, pieces = self.network_, []
        hidden = without_link(Chain(Identity(), *network.layers[1:]) if network.standardises else network.chain)
        for start in range(0, x.shape[0], _ROWS_AT_ONCE):
            data = network.prepared(dense(x[start : start + _ROWS_AT_ONCE]))
            pieces.append(hidden.forward(network.parameter_tree, data)[0])
        return np.concatenate(pieces)

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch: `history_["loss"]`."""
        return self.history_["loss"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _plan(layers: Iterable[Layer], loss: Loss | None) -> list[str]:
    """What cannot change without a new network: the layers, and which of them the loss is fused with."""
    return [*map(repr, layers), type(loss).__name__]


def _steps_of(state: dict[str, Any]) -> int:
    """The optimiser's steps so far; a chain has them in one of its parts."""
    if "count" in state:
        return int(state["count"])
    return max((_steps_of(part) for part in state.values() if isinstance(part, dict)), default=0)


def _warn_unless_converged(owner: str, last: Record, epochs: int, rule: FullBatch) -> None:
    if last.epoch == epochs and last.gradient_norm > rule.gradient_tolerance:
        warnings.warn(
            f"{owner}: L-BFGS stopped after {epochs} iterations with a gradient of norm {last.gradient_norm:.1e}; more epochs, or "
            "features of mean 0 and deviation 1, may help",
            ConvergenceWarning,
            stacklevel=4,
        )
