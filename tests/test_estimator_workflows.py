"""The estimators inside scikit-learn's own tools, on the bundled data sets, and the gradients that they train with."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import sklearn.datasets
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_regression
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import backproof as bp

BUNDLED = ["iris", "wine", "breast_cancer", "digits"]


def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:300]
    return x[order], y[order]


@pytest.mark.parametrize("name", BUNDLED)
def test_pipeline_search_and_calibration(name):
    x, y = data(name)
    model = make_pipeline(StandardScaler(), bp.SoftmaxClassifier(epochs=25, learning_rate=0.01, random_state=0))
    grid = {"softmaxclassifier__hidden": [(), (16,)], "softmaxclassifier__l2": [0.0, 1e-2]}
    search = GridSearchCV(model, grid, cv=3).fit(x, y)
    known = cross_validate(make_pipeline(StandardScaler(), LogisticRegression()), x, y, cv=3)["test_score"].mean()
    least = known - 2 * np.sqrt(known * (1 - known) / len(y))  # two standard errors of a share among so many
    assert search.best_score_ >= least
    calibrated = CalibratedClassifierCV(search.best_estimator_, method="temperature", cv=3).fit(x, y)
    assert calibrated.score(x, y) >= least


def test_logits_calibrate_an_overconfident_network():
    """Temperature scaling divides the logits by a number found on held-out data; it must help a network that has learnt noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    y = (x[:, 0] + rng.normal(size=600) > 0).astype(int) + (x[:, 1] > 1)
    model = bp.SoftmaxClassifier(hidden=(64,), epochs=150, batch_size=64, learning_rate=0.02, random_state=0)
    plain = clone(model).fit(x[:300], y[:300])
    scaled = CalibratedClassifierCV(model, method="temperature", ensemble=False, cv=3).fit(x[:300], y[:300])
    before, after = (log_loss(y[300:], estimator.predict_proba(x[300:])) for estimator in (plain, scaled))
    assert after < 0.8 * before


def test_processes_and_threads_find_the_same():
    x, y = data("wine")
    model = bp.SoftmaxClassifier(hidden=(8,), optimizer=bp.adam(bp.cosine(0.01, 50)), epochs=5, dropout=0.1, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model)
    scores = [cross_validate(pipeline, x, y, cv=4)["test_score"]]
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend=backend, n_jobs=2):
            scores.append(cross_validate(pipeline, x, y, cv=4)["test_score"])
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


def test_stacking_and_voting():
    x, y = data("wine")
    model = make_pipeline(StandardScaler(), bp.SoftmaxClassifier(hidden=(8,), epochs=20, learning_rate=0.01, random_state=0))
    for ensemble in (
        StackingClassifier([("network", model)], LogisticRegression(), stack_method="decision_function", cv=3),
        VotingClassifier([("network", model), ("other", clone(model))], voting="soft"),
    ):
        assert ensemble.fit(x, y).score(x, y) > 0.95


@pytest.mark.parametrize("outputs", [1, 2, 3, 5])
@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd", "adam", "adamw", "rmsprop"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gradient_of_a_regressor_is_that_of_its_loss(outputs, optimizer):
    x, y = make_regression(n_samples=20, n_features=4, n_targets=outputs, random_state=0)
    y = (y / y.std()).reshape(20, outputs)
    model = bp.NetworkRegressor(hidden=(5,), activation="tanh", optimizer=optimizer, l2=1e-2, epochs=5, random_state=0).fit(x, y)
    report = bp.check(model.network_, x, y)
    report.raise_if_failed()
    # and the loss that is reported is what the gradient is of: half the squares summed over the outputs, mean over the examples
    weights = sum(float(np.sum(w**2)) for name, w in model.network_.named_parameters().items() if name.endswith("weight"))
    by_hand = np.sum((model.predict(x) - y) ** 2) / (2 * len(x)) + 0.5e-2 * weights
    assert model.network_.loss(x, y) == pytest.approx(by_hand, rel=1e-12)
    if optimizer == "lbfgs":
        assert model.history_["loss"][-1] == pytest.approx(by_hand, rel=1e-12)
