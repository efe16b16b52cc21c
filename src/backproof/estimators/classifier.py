"""A softmax network as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.estimators.base import NetworkEstimator
from backproof.estimators.building import class_factors, loss_of, smoothed, weights_of
from backproof.estimators.legal import CLASSIFIER
from backproof.estimators.targets import Coding, coding_of
from backproof.layers import LogSoftmax
from backproof.losses import Loss


class SoftmaxClassifier(ClassifierMixin, NetworkEstimator):
    """A network that ends in a softmax, with scikit-learn's interface.

    Parameters
        hidden : sizes of the hidden layers, Layers of this library, or both; () is softmax regression.
        activation : behind each size. "relu", "leaky-relu", "gelu", "silu", "softplus", "tanh", "sigmoid", "softmax",
            "identity", or a Layer.
        loss : "auto" (cross-entropy; binary cross-entropy for a matrix of labels), "kl-divergence", "squared-error" or
            "huber" (of the probabilities), or a Loss.
        optimizer : "adam", "adamw", "rmsprop", "sgd" (momentum 0.9), "lbfgs" (all examples at once), or one such as
            `backproof.adam(1e-3)`. learning_rate : None for what suits the optimiser.
        schedule : "constant", "cosine", "step", "warm-up", or a function of the step that gives the learning rate.
        l2 : weight of the penalty l2/2 |weights|^2 on the mean loss, whatever the number of examples.
        dropout : rate behind each size. label_smoothing : share of the target that goes to all classes alike.
        class_weight : a factor for each class by its name (others have 1), or "balanced"; of a matrix of labels, by column.
        targets : "labels", or "probabilities": then y is (N, classes), rows that sum to 1. A frame's columns name the classes.
        epochs : passes over the data, or iterations of L-BFGS. batch_size : examples a step.
        early_stopping : stop when `scoring` on the `validation_fraction` of the data (None: on the training data) has not
            become better by more than `tol` for `n_iter_no_change` epochs, and keep the best weights.
        scoring : "loss", a scorer's name, a scorer, or None for `score`.
        warm_start : whether fit goes on where the last one ended.
        compiled : whether training runs as compiled steps; None: where that pays.
        random_state : draws weights, batches, dropout and the validation part. verbose : whether to show the progress.

    Attributes
        classes_, n_features_in_, feature_names_in_
        n_iter_ : epochs since the weights were drawn.
        history_ : curves by name, an entry an epoch: "loss" (of the batches as they were trained on, penalty included),
            "validation_loss" (without the penalty), "validation_score", "gradient_norm" and "seconds". loss_curve_ : the first.
        network_ : the `Network`, which `backproof.save` takes.

    y may be labels of any kind, a matrix of zeros and ones (several labels an example), or probabilities. X keeps its precision:
    the network computes in float32 for float32, else in float64. Sparse X becomes dense a batch at a time, for L-BFGS as a whole.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> model = SoftmaxClassifier(hidden=(16,), learning_rate=0.01, random_state=0).fit(x, y)
    >>> bool(model.score(x, y) > 0.95), model.decision_function(x).shape
    (True, (150, 3))
    """

    _legal = CLASSIFIER

    def __init__(
        self,
        hidden: Any = (100,),
        *,
        activation: Any = "relu",
        loss: Any = "auto",
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        schedule: Any = "constant",
        l2: float = 0.0,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        targets: str = "labels",
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
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.targets = targets
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

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One pass over X and y (L-BFGS: one iteration) after what has been learnt; weights, optimiser and random numbers go on.

        `classes`: all that there will be, where the first y lacks some (of a matrix of labels, or of probabilities: the columns'
        names). Raises `LabelError` for one that was not among them. Early stopping and validation are the caller's here.
        """
        if isinstance(self.class_weight, str):
            raise ArgumentError(
                "partial_fit: expected class_weight as a dictionary (a piece of the data does not say what is balanced), "
                f"received {self.class_weight!r}"
            )
        return self._fit(X, y, sample_weight, (None, None, None), classes, passes=1)

    def decision_function(self, X: Any) -> Array:
        """The logits, (N, classes): what the softmax takes. With two classes their difference, (N,), above 0 for the second."""
        z = self._logits(X)
        return np.asarray(z[:, 1] - z[:, 0]) if self._coding.kind != "indicators" and z.shape[1] == 2 else z

    def predict_proba(self, X: Any) -> Array:
        """(N, classes); of a matrix of labels the probability of each label, (N, labels)."""
        z = self._logits(X)
        return self._coding.output_layer().forward({}, z)[0]

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of `predict_proba`, from the logits: finite where the probability itself would round to 0."""
        z = self._logits(X)
        if self._coding.kind == "indicators":
            return np.asarray(-np.logaddexp(z.dtype.type(0), -z))
        return LogSoftmax().forward({}, z)[0]

    def predict(self, X: Any) -> Array:
        """The most probable class of each example; of a matrix of labels, ones where the probability is above one half."""
        z = self._logits(X)
        return self._coding.predict(z)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; where y is probabilities, the share whose most probable class is predicted."""
        if self.targets == "probabilities" and np.ndim(y) == 2:
            y = self._coding.predict(self._coding.encode(y))
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    @property
    def classes_(self) -> Array:
        """The classes in the order of the columns of `predict_proba`; for a matrix of labels the columns' numbers."""
        if "_coding" not in vars(self):
            raise AttributeError("classes_")
        return self._coding.classes

    def _coding_for(self, y: Any, classes: Any, names: Any) -> Coding:
        return coding_of(y, self.targets, classes, names)

    def _loss_for(self, t: Array, weights: Array | None) -> tuple[Loss, Array | None]:
        owner = type(self).__name__
        factors = class_factors(owner, self.class_weight, self._coding, t, weights)
        loss = loss_of(owner, self.loss, self._coding, self.label_smoothing, factors)
        return loss, weights_of(owner, factors, self._coding, t, weights)

    def _targets(self, t: Array, loss: Loss) -> Array:
        return self._coding.loss_targets(smoothed(t, self._coding, self.label_smoothing), loss)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
