"""`backproof.check` as a whole: what it finds that other checkers pass, large problems, bad use, forward mode and second order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import backproof as bp

RNG = np.random.default_rng(0)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_the_learners_question_is_answered():
    report = bp.check(softmax, RNG.normal(size=(4, 5)), backward=lambda g, x: softmax(x) * (1 - softmax(x)) * g)
    first = report.findings[0]
    assert (first.cause, first.input) == ("missing-cross-terms", 0)
    assert "h_i (delta_ij - h_j) = [[" in first.message
    assert "h * (upstream - (h * upstream).sum(axis, keepdims=True))" in first.fix
    with pytest.raises(AssertionError, match="missing-cross-terms"):
        report.raise_if_failed()


def test_one_wrong_entry_of_a_million():
    """torch's fast mode misses an error of 10 at this size."""

    def backward(g, x):
        dx = 2 * g
        dx[3] += 1e-3 * g[700]
        return dx

    report = bp.check(lambda x: 2 * x, RNG.normal(size=1000), backward=backward)
    assert report.findings[0].cause == "wrong-at-some-entries"
    assert report.findings[0].evidence["indices"] == [[3]]


def test_an_upstream_gradient_written_to():
    """torch's gradcheck passes it."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g.mul_(2 * ctx.saved_tensors[0])

    x = torch.randn(7, dtype=torch.float64)
    assert torch.autograd.gradcheck(Square.apply, (x.clone().requires_grad_(),))
    report = bp.check(Square.apply, x)
    assert not report.ok
    assert report.findings[0].cause == "input-mutated"


class Planted(bp.Linear):
    """A linear layer with one wrong weight gradient."""

    def backward(self, params, kept, dy):
        dx, d = super().backward(params, kept, dy)
        return dx, self.plant(d)

    def parameter_gradient(self, params, kept, dy):
        return self.plant(super().parameter_gradient(params, kept, dy))

    @staticmethod
    def plant(d):
        weight = d["weight"].copy()
        weight[2, 3] += 0.01
        return {**d, "weight": weight}


@pytest.mark.parametrize("width", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_faulty_layer_and_weight_of_a_network_are_named(width):
    """With width 2000: five million parameters."""
    x, t = RNG.normal(size=(32, width // 2)), RNG.integers(0, 10, 32)
    layers = [bp.Linear(width), bp.Tanh(), Planted(3 * width // 4), bp.Tanh(), bp.Linear(10)]
    network = bp.Network(layers, bp.CrossEntropy()).initialise(x, seed=0)
    report = bp.check(network, x, t)
    assert not report.ok
    first = report.findings[0]
    assert "Planted" in first.name
    assert "weight" in first.name
    assert [2, 3] in first.evidence["indices"]
    assert report.seconds < 60


def test_a_right_network_passes():
    x, t = RNG.normal(size=(8, 6)), RNG.integers(0, 3, 8)
    layers = [bp.Linear(12), bp.ReLU(), bp.Linear(5), bp.Softmax(), bp.Linear(3)]
    assert bp.check(bp.Network(layers, bp.CrossEntropy()).initialise(x, seed=0), x, t, order=2).ok


@pytest.mark.parametrize("layer", [bp.Linear(3), bp.Softmax(), bp.LogSoftmax(), bp.GELU(), bp.Dropout(0.4), bp.Residual(bp.Tanh())])
def test_our_layers_pass(layer):
    report = bp.check(layer, RNG.normal(size=(4, 5)))
    assert report.ok, str(report)


def test_forward_mode_is_checked_against_both():
    x = RNG.normal(size=(3, 4))
    right = bp.check(np.sin, x, backward=lambda g, x: g * np.cos(x), jvp=lambda t, x: t * np.cos(x))
    assert right.ok
    assert right.calls["jvp"] >= 1
    wrong = bp.check(np.sin, x, jvp=lambda t, x: -t * np.cos(x))
    assert wrong.findings[0].cause == "sign-flipped"


def test_second_order():
    x = RNG.normal(size=5)
    assert bp.check(torch.tanh, torch.tensor(x), order=2).ok
    report = bp.check(lambda x: (x**3).sum(), x, backward=lambda g, x: 3 * g * x**2, order=2)
    assert report.ok
    assert any("symmetric" in note for note in report.notes)

    class Detached(torch.autograd.Function):
        """pytorch#99523: the first derivative is right, the second is cut off."""

        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return g * 3 * ctx.saved_tensors[0].detach() ** 2

    assert bp.check(Detached.apply, torch.tensor(x)).ok
    second = bp.check(Detached.apply, torch.tensor(x), order=2)
    assert not second.ok
    assert "second" in second.findings[0].where


def test_a_declared_surrogate_is_no_failure():
    x = RNG.normal(size=6) * 3
    assert not bp.check(np.round, x, backward=lambda g, x: g).ok
    assert bp.check(np.round, x, backward=lambda g, x: g, surrogate=True).ok


def test_several_faults_are_each_reported_for_its_input():
    a, b = RNG.normal(size=(3, 4)), RNG.normal(size=(3, 4))
    report = bp.check(lambda a, b: a * b, a, b, backward=lambda g, a, b: (-g * b, 2 * g * a))
    firsts = {f.input: f.cause for f in reversed(report.findings)}
    assert firsts == {0: "sign-flipped", 1: "wrong-scale"}


def test_bugs_at_special_points_only():
    def prod(x):
        return np.prod(x)

    report = bp.check(prod, np.array([2.0, 3.0, 4.0]), backward=lambda g, x: g * np.prod(x) / x)
    assert report.findings[0].cause == "non-finite"
    assert "with a zero" in report.findings[0].where
    assert bp.check(prod, np.array([2.0, 3.0, 4.0]), backward=lambda g, x: g * np.prod(x) / x, special_points=False).ok


def test_bad_use_is_told():
    x = np.ones(3)
    with pytest.raises(bp.ArgumentError, match="floating-point input"):
        bp.check(np.sin, np.arange(3), backward=lambda g, x: g)
    with pytest.raises(bp.ArgumentError, match="gradients"):
        bp.check(lambda a, b: a * b, x, x, backward=lambda g, a, b: (g, g, g))
    with pytest.raises(bp.ArgumentError, match="order"):
        bp.check(np.sin, x, backward=lambda g, x: g, order=3)
    with pytest.raises(bp.ArgumentTypeError, match="backward"):
        bp.check(np.sin, x)

    def raises(x):
        raise RuntimeError("no such thing")

    with pytest.raises(bp.ArgumentError, match="no such thing"):
        bp.check(raises, x, backward=lambda g, x: g)


def test_the_users_arrays_are_left_alone():
    x = RNG.normal(size=(3, 4))
    before = x.copy()
    bp.check(np.tanh, x, backward=lambda g, x: g * (1 - np.tanh(x) ** 2))
    assert np.array_equal(x, before)


@pytest.mark.parametrize(
    ("features", "said"),
    [(4, "the square root (and half) of the size of axis 1 of q (4)"), (9, "the square root of the size of axis 1 of q (9)")],
)
def test_a_forgotten_root_is_named(features, said):
    def scores(q, k):
        return q @ k.T / np.sqrt(q.shape[-1])

    def backward(g, q, k):
        return g @ k, g.T @ q / np.sqrt(q.shape[-1])

    report = bp.check(scores, RNG.normal(size=(7, features)), RNG.normal(size=(5, features)), backward=backward)
    assert (report.findings[0].cause, report.findings[0].evidence["named"]) == ("wrong-scale", said)


def test_a_wrong_formula_of_one_entry_is_shown_where_it_is_worst():
    """SiLU with y (1 - y) in the place of y (1 - sigmoid(x))."""

    def silu(x):
        return x / (1 + np.exp(-x))

    def backward(g, x):
        s, y = 1 / (1 + np.exp(-x)), silu(x)
        return g * (s + y * (1 - y))

    x = RNG.normal(size=(3, 4))
    finding = bp.check(silu, x, backward=backward).findings[0]
    s, y = 1 / (1 + np.exp(-x)), silu(x)
    worst = np.unravel_index(np.abs(y * (1 - y) - y * (1 - s)).argmax(), x.shape)
    assert finding.cause == "missing-factor"
    assert finding.evidence["at"] == x[worst]
    assert finding.evidence["true"] == pytest.approx((s + y * (1 - s))[worst])
    assert finding.evidence["yours"] == pytest.approx((s + y * (1 - y))[worst])
    assert f"x[{worst[0]}, {worst[1]}]" in finding.message
