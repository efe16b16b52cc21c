"""scikit-learn's own checks of an estimator pass whole: none is skipped on purpose, none is expected to fail."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import backproof as bp

ESTIMATORS = [
    bp.SoftmaxClassifier(),
    bp.SoftmaxClassifier(hidden=(), optimizer="lbfgs"),
    bp.SoftmaxClassifier(hidden=(16, bp.Residual(bp.Linear(16), bp.Tanh())), learning_rate=0.01, l2=1e-3, epochs=50),
    bp.NetworkRegressor(),
    bp.NetworkRegressor(hidden=(), optimizer="lbfgs", loss="huber"),
]


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
