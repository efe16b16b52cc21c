"""Calibration and metrics against scikit-learn, and against temperatures that are known."""

import math

import numpy as np
import pytest
from sklearn.metrics import f1_score, log_loss, roc_auc_score, top_k_accuracy_score

import backproof
from backproof import calibration, metrics
from backproof.functional import softmax


def drawn(n=4000, classes=6, scale=2.0, seed=0):
    """Logits, and labels drawn from their softmax."""
    rng = np.random.default_rng(seed)
    z = scale * rng.normal(size=(n, classes))
    return z, (z + rng.gumbel(size=z.shape)).argmax(axis=1)


def test_metrics_are_those_of_scikit_learn():
    z, t = drawn()
    h, found = softmax(z), z.argmax(axis=1)
    assert metrics.log_loss(z, t) == pytest.approx(log_loss(t, h), rel=1e-12)
    for k in (1, 2, 5):
        assert metrics.top_k_accuracy(k)(z, t) == top_k_accuracy_score(t, z, k=k)
    for average in ("macro", "micro", "weighted"):
        assert metrics.f1(average)(z, t) == f1_score(t, found, average=average)
    assert metrics.roc_auc(z, t) == pytest.approx(roc_auc_score(t, h, multi_class="ovr"), rel=1e-12)
    two, labels = drawn(classes=2)
    assert metrics.roc_auc(two, labels) == pytest.approx(roc_auc_score(labels, softmax(two)[:, 1]), rel=1e-12)
    assert metrics.top_k_accuracy(1)(z, t) == metrics.accuracy(z, t)
    soft = np.eye(6)[t]
    assert metrics.top_k_accuracy(2)(z, soft) == metrics.top_k_accuracy(2)(z, t)


def test_a_tie_with_the_label_is_no_hit():
    assert metrics.top_k_accuracy(1)(np.zeros((1, 3)), np.array([0])) == 0.0
    assert metrics.top_k_accuracy(3)(np.zeros((1, 3)), np.array([0])) == 1.0


def test_auc_without_one_of_the_classes_is_nan():
    assert math.isnan(metrics.roc_auc(np.zeros((4, 3)), np.array([0, 1, 1, 0])))


def test_reliability_by_hand():
    z, t = drawn(500, 4)
    h = softmax(z)
    top, right = h.max(axis=1), h.argmax(axis=1) == t
    found = calibration.reliability(z, t, bins=10)
    assert found.examples.sum() == 500
    error = 0.0
    for i in range(10):
        inside = (top > i / 10) & (top <= (i + 1) / 10)
        assert found.examples[i] == inside.sum()
        if inside.any():
            assert found.confidence[i] == pytest.approx(top[inside].mean())
            assert found.accuracy[i] == pytest.approx(right[inside].mean())
            error += inside.mean() * abs(top[inside].mean() - right[inside].mean())
    assert found.expected_error == pytest.approx(error)
    assert calibration.expected_calibration_error(z, t, bins=10) == found.expected_error
    assert found.largest_error == pytest.approx(np.nanmax(np.abs(found.accuracy - found.confidence)))


def test_certain_classifiers_fall_into_the_last_bin():
    found = calibration.reliability(np.array([[800.0, 0.0], [0.0, 800.0]]), [0, 0])
    assert found.examples[-1] == 2
    assert found.expected_error == 0.5


@pytest.mark.parametrize("true", [0.2, 1.0, 7.0])
def test_a_known_temperature_is_found(true):
    """The estimate's standard deviation from the curvature of the loss: 1 / sqrt(N var_h(z)) relative; 5 of them are allowed."""
    z, t = drawn(20000, 5, 1.5)
    h = softmax(z)
    spread = ((h * z**2).sum(axis=1) - (h * z).sum(axis=1) ** 2).sum()
    found = calibration.fit_temperature(true * z, t)
    assert abs(found / true - 1) < 5 / math.sqrt(spread)
    before, after = (calibration.expected_calibration_error(true * z / c, t) for c in (1.0, found))
    assert after < 0.02
    assert after <= before + 0.005


def test_the_ends_of_the_range():
    z = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert calibration.fit_temperature(z, [0, 1]) < 2**-9
    assert calibration.fit_temperature(z, [1, 0]) > 2**9


@pytest.mark.parametrize(
    ("z", "t", "message"),
    [
        (np.zeros((2, 3, 1)), [0, 1], "expected logits"),
        (np.zeros((2, 3)), [0], "expected logits"),
        (np.zeros((0, 3)), np.zeros(0, int), "at least one example"),
        (np.zeros((2, 3)), [0, 3], "from 0 to 2"),
        (np.zeros((2, 3)), [0.0, 1.0], "whole-number labels"),
        (np.full((2, 3), np.nan), [0, 1], "finite"),
    ],
)
def test_bad_input(z, t, message):
    for function in (calibration.reliability, calibration.fit_temperature):
        with pytest.raises(backproof.BackproofError, match=message):
            function(z, t)
    with pytest.raises(backproof.BackproofError, match="macro"):
        metrics.f1("mean")
