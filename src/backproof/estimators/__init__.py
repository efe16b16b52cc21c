"""Estimators with scikit-learn's interface over networks of this library."""

from backproof.estimators.classifier import SoftmaxClassifier as SoftmaxClassifier
from backproof.estimators.regressor import NetworkRegressor as NetworkRegressor

__all__ = ["NetworkRegressor", "SoftmaxClassifier"]
