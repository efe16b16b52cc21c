"""Losses: gradients against numerical ones, values against torch and mpmath, and the one reduction that all share."""

from __future__ import annotations

import dataclasses

import mpmath
import numpy as np
import pytest
import torch

import backproof as bp
from tests.numerical import along, jacobian, relative_error

RNG = np.random.default_rng(5)
N, C = 5, 4
Z = RNG.normal(size=(N, C)) * 2
LABELS = np.array([0, 3, 1, 1, 2])
PROBABILITIES = RNG.dirichlet(np.ones(C), size=N)
BITS = (RNG.random((N, C)) > 0.5).astype(float)
REALS = RNG.normal(size=(N, C))

# (loss, targets). A new loss is one line.
CASES = [
    (bp.CrossEntropy(), LABELS),
    (bp.CrossEntropy(reduction="sum"), LABELS),
    (bp.CrossEntropy(), PROBABILITIES),
    (bp.CrossEntropy(), 3 * PROBABILITIES),
    (bp.CrossEntropy(label_smoothing=0.1), LABELS),
    (bp.CrossEntropy(class_weight=[1, 2, 0, 0.5]), LABELS),
    (bp.CrossEntropy(class_weight=[1, 2, 3, 0.5], label_smoothing=0.2), LABELS),
    (bp.CrossEntropy(class_weight=[1, 2, 3, 0.5]), PROBABILITIES),
    (bp.CrossEntropy(ignore_index=1), LABELS),
    (bp.CrossEntropy(ignore_index=1, label_smoothing=0.3, class_weight=[1, 2, 3, 4]), LABELS),
    (bp.KLDivergence(), PROBABILITIES),
    (bp.KLDivergence(reduction="sum"), 2 * PROBABILITIES),
    (bp.BinaryCrossEntropy(), BITS),
    (bp.BinaryCrossEntropy(class_weight=[1, 2, 3, 4]), PROBABILITIES),
    (bp.SquaredError(), REALS),
    (bp.SquaredError(reduction="sum"), REALS),
    (bp.Huber(), REALS),
    (bp.Huber(delta=0.5), REALS),
]
every_case = pytest.mark.parametrize(("loss", "t"), [pytest.param(*case, id=f"{case[0]!r}-{i}") for i, case in enumerate(CASES)])
WEIGHTS = np.array([1.0, 0.5, 0.0, 2.0, 3.0])


@every_case
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 1)], ids=["batch", "one"])
def test_gradient_and_hessian_product_equal_the_numerical_ones(loss, t, sample_weight, rows):
    z, t = Z[rows], t[rows]
    weight = None if sample_weight is None else sample_weight[rows]
    _, gradient = loss.value_and_gradient(z, t, weight)
    assert relative_error(gradient, jacobian(lambda v: loss(v, t, weight), z)) <= 1e-7
    v = np.random.default_rng(2).normal(size=z.shape)
    expected = along(lambda u: loss.value_and_gradient(u, t, weight)[1], z, v)
    assert relative_error(loss.hessian_product(z, t, v, weight), expected) <= 1e-7


@every_case
def test_the_reduction_is_one(loss, t):
    """The loss is the weighted sum of `each`, and the gradient is that of the same sum."""
    each = loss.each(Z, t)
    assert each.shape == (N,)
    weights = [loss.value_and_gradient(Z, t, np.eye(N)[n])[1] for n in range(N)]
    summed = dataclasses.replace(loss, reduction="sum")
    assert summed(Z, t) == pytest.approx(each.sum(), rel=1e-14)
    if loss.reduction == "sum":
        assert relative_error(sum(weights), loss.value_and_gradient(Z, t)[1]) <= 1e-14


@every_case
def test_single_precision_stays_single(loss, t):
    value, gradient = loss.value_and_gradient(Z.astype(np.float32), t)
    expected, expected_gradient = loss.value_and_gradient(Z, t)
    assert gradient.dtype == np.float32
    assert value == pytest.approx(expected, rel=1e-6)
    assert relative_error(gradient, expected_gradient) <= 1e-6


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("ours", "t"),
    [
        ({}, LABELS),
        ({"label_smoothing": 0.1}, LABELS),
        ({"ignore_index": 1}, LABELS),
        ({"class_weight": [1.0, 2.0, 3.0, 0.5]}, LABELS),
        ({"class_weight": [1.0, 2.0, 3.0, 0.5], "label_smoothing": 0.2, "ignore_index": 3}, LABELS),
        ({}, PROBABILITIES),
        ({"class_weight": [1.0, 2.0, 3.0, 0.5], "label_smoothing": 0.2}, PROBABILITIES),
    ],
)
def test_cross_entropy_is_torchs(ours, t, reduction):
    z = torch.tensor(Z, requires_grad=True)
    theirs = {
        ("weight" if k == "class_weight" else k): torch.tensor(v, dtype=torch.float64) if k == "class_weight" else v
        for k, v in ours.items()
    }
    expected = torch.nn.functional.cross_entropy(z, torch.tensor(t), reduction=reduction, **theirs)
    expected.backward()
    value, gradient = bp.CrossEntropy(**ours, reduction=reduction).value_and_gradient(Z, t)
    assert value == pytest.approx(expected.item(), rel=1e-13)
    assert relative_error(gradient, z.grad.numpy()) <= 1e-13


def test_the_other_losses_are_torchs():
    z, functional = torch.tensor(Z), torch.nn.functional
    pairs = [
        (bp.BinaryCrossEntropy(), BITS, functional.binary_cross_entropy_with_logits(z, torch.tensor(BITS), reduction="sum") / N),
        (bp.SquaredError(), REALS, functional.mse_loss(z, torch.tensor(REALS), reduction="sum") / (2 * N)),
        (bp.Huber(0.7), REALS, functional.huber_loss(z, torch.tensor(REALS), reduction="sum", delta=0.7) / N),
        (
            bp.KLDivergence(),
            PROBABILITIES,
            functional.kl_div(z.log_softmax(-1), torch.tensor(PROBABILITIES), reduction="batchmean"),
        ),
    ]
    for loss, t, expected in pairs:
        assert loss(Z, t) == pytest.approx(expected.item(), rel=1e-13)


def test_token_shaped_logits_give_a_row_a_token():
    z, t = RNG.normal(size=(2, 3, 4)), RNG.integers(0, 4, (2, 3))
    expected = torch.nn.functional.cross_entropy(torch.tensor(z).reshape(6, 4), torch.tensor(t).reshape(6))
    assert bp.CrossEntropy().each(z, t).shape == (2, 3)
    assert bp.CrossEntropy()(z, t) == pytest.approx(expected.item(), rel=1e-13)


@pytest.mark.parametrize("gap", [1.5, 17.0, 40.0, 300.0])
def test_a_confident_prediction_keeps_its_gradient_and_loss(gap):
    """The rounded h - t would be exactly 0 from a gap of 37 on; -s / (1 + s) is right to the last digits."""
    z = np.array([[gap, 0.0, 0.0]])
    value, gradient = bp.CrossEntropy().value_and_gradient(z, [0])
    s = 2 * mpmath.exp(-gap)
    assert value == pytest.approx(float(mpmath.log1p(s)), rel=1e-15)
    assert gradient[0, 0] == pytest.approx(float(-s / (1 + s)), rel=1e-15)
    assert abs(gradient.sum()) <= 1e-15 * np.abs(gradient).sum()


def test_kl_is_zero_at_the_optimum_and_never_negative():
    log_p = np.log(PROBABILITIES)
    assert bp.KLDivergence()(log_p, PROBABILITIES) <= 1e-31
    for size in (1e-3, 1e-6, 1e-8):
        shift = size * RNG.normal(size=log_p.shape)
        value = bp.KLDivergence()(log_p + shift, PROBABILITIES)
        # to second order KL = 1/2 shift^T (diag p - p p^T) shift; the third order is smaller by `size`
        centred = shift - np.sum(PROBABILITIES * shift, axis=1, keepdims=True)
        expected = np.mean(np.sum(PROBABILITIES * centred**2, axis=1)) / 2
        assert value >= 0
        assert value == pytest.approx(expected, rel=3 * size + 1e-15 / size)


def test_far_logits_and_infinities():
    ce = bp.CrossEntropy()
    assert ce(np.array([[-np.inf, 0.0]]), [1]) == 0.0
    assert ce(np.array([[-np.inf, 0.0]]), [0]) == np.inf
    assert ce(np.array([[1e300, -1e300]]), [0]) == 0.0
    value, gradient = ce.value_and_gradient(np.array([[-np.inf, -np.inf], [0.0, 0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert value == pytest.approx(np.log(2) / 2)
    assert gradient.tolist() == [[0.0, 0.0], [-0.25, 0.25]]
    value, gradient = bp.CrossEntropy(ignore_index=-100).value_and_gradient(np.array([[np.nan, 0.0], [0.0, 0.0]]), [-100, 1])
    assert value == pytest.approx(np.log(2))
    assert gradient.tolist() == [[0.0, 0.0], [0.5, -0.5]]
    assert bp.BinaryCrossEntropy()(np.array([np.inf, -np.inf]), [1, 0]) == 0.0


def test_a_mean_over_nothing_is_zero_with_a_zero_gradient():
    for loss, t, weight in ((bp.CrossEntropy(ignore_index=0), np.zeros(N, int), None), (bp.SquaredError(), REALS, np.zeros(N))):
        value, gradient = loss.value_and_gradient(Z, t, weight)
        assert value == 0.0
        assert not gradient.any()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: bp.CrossEntropy()(Z, [0, 1, 2, 3, 4]), IndexError, "labels from 0 to 3, received 4"),
        (lambda: bp.CrossEntropy()(Z, [0, 1, 2, 3, -1]), IndexError, "labels from 0 to 3, received -1"),
        (lambda: bp.CrossEntropy()(Z, LABELS.astype(float)), TypeError, "whole-number labels (dtype int), received dtype float64"),
        (
            lambda: bp.CrossEntropy()(Z, LABELS[:3]),
            ValueError,
            "labels of shape (5,) or probabilities of shape (5, 4), received (3,)",
        ),
        (lambda: bp.CrossEntropy()(Z, -PROBABILITIES), ValueError, "not negative"),
        (lambda: bp.CrossEntropy(class_weight=[1, 2])(Z, LABELS), ValueError, "expected 4 entries"),
        (lambda: bp.CrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing"),
        (lambda: bp.CrossEntropy(reduction="avg"), ValueError, "received 'avg'"),
        (lambda: bp.CrossEntropy()(Z, LABELS, [1, 2]), ValueError, "sample_weight: expected shape (5,), received (2,)"),
        (lambda: bp.CrossEntropy()(Z, LABELS, -WEIGHTS), ValueError, "not negative"),
        (lambda: bp.SquaredError()(Z, REALS[:, :2]), ValueError, "expected shape (5, 4), received (5, 2)"),
        (lambda: bp.BinaryCrossEntropy()(Z, 2 * BITS), ValueError, "from 0 to 1"),
        (lambda: bp.Huber(delta=0), ValueError, "delta"),
        (lambda: bp.SquaredError()(Z, np.full((N, C), np.nan)), ValueError, "target: expected finite numbers, received nan"),
        (lambda: bp.SquaredError()(Z, REALS, np.full(N, np.inf)), ValueError, "sample_weight: expected finite numbers"),
        (
            lambda: bp.BinaryCrossEntropy(class_weight=[1, -2, 3, 4]),
            ValueError,
            "class_weight: expected finite numbers that are not",
        ),
        (lambda: bp.BinaryCrossEntropy(class_weight=[1, 2])(Z, BITS), ValueError, "expected one a label"),
        (lambda: bp.BinaryCrossEntropy(class_weight=np.ones((N, 1))), ValueError, "shape (classes,), received (5, 1)"),
        (lambda: bp.CrossEntropy()(np.array([["a"]]), [0]), TypeError, "expected numbers"),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert isinstance(caught.value, bp.BackproofError)


def test_probabilities_given_as_logits_are_announced():
    with pytest.warns(bp.DoubleSoftmaxWarning, match="second softmax"):
        bp.CrossEntropy()(PROBABILITIES, LABELS)
