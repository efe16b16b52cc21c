"""Optimisers take the same steps as torch's; schedules and clipping do what they say."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch

import backproof as bp
from tests.numerical import relative_error

THETA = np.random.default_rng(0).normal(size=40000)  # longer than two blocks
GRADIENTS = np.random.default_rng(1).normal(size=(6, THETA.size)) * np.geomspace(1e-6, 1e3, THETA.size)


def ours(optimizer: bp.Optimizer, theta: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    theta, state = theta.copy(), optimizer.init(theta)
    for gradient in gradients:
        step, state = optimizer.update(gradient, state, theta)
        theta += step
    return theta


@pytest.mark.parametrize(
    ("optimizer", "twin"),
    [
        (bp.sgd(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (bp.sgd(0.1, momentum=0.9), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (bp.sgd(0.1, momentum=0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True)),
        (bp.adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
        (bp.adam(0.01, b1=0.8, b2=0.95, eps=1e-4), lambda p: torch.optim.Adam(p, 0.01, betas=(0.8, 0.95), eps=1e-4)),
        (bp.adamw(0.01, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1)),
        (bp.rmsprop(0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_steps_are_torchs(optimizer, twin):
    parameter = torch.nn.Parameter(torch.tensor(THETA))
    other = twin([parameter])
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient)
        other.step()
    moved = ours(optimizer, THETA, GRADIENTS) - THETA
    assert relative_error(moved, parameter.detach().numpy() - THETA) <= 1e-12


@pytest.mark.parametrize("make", [bp.sgd, bp.adam, bp.adamw, bp.rmsprop])
def test_single_precision_stays_single_and_inputs_stay_as_they_are(make):
    optimizer = make(1e-3)
    theta, gradient = THETA.astype(np.float32), GRADIENTS[0].astype(np.float32)
    theta.flags.writeable = gradient.flags.writeable = False
    step, _ = optimizer.update(gradient, optimizer.init(theta), theta)
    assert step.dtype == np.float32


def test_schedules():
    lr = bp.warm_up(bp.cosine(1.0, 10), 5)
    assert [round(lr(s), 6) for s in (0, 4, 5, 10, 15, 99)] == [0.2, 1.0, 1.0, 0.5, 0.0, 0.0]
    assert [bp.step_decay(1.0, 3, 0.5)(s) for s in (0, 2, 3, 6)] == [1.0, 1.0, 0.5, 0.25]
    assert bp.constant(0.3)(1000) == 0.3
    moved = ours(bp.sgd(bp.step_decay(1.0, 1, 0.5)), np.zeros(1), np.ones((3, 1)))
    assert moved.item() == -1.75


def test_the_norm_survives_squares_that_overflow():
    from backproof.optimisers import norm_of

    assert norm_of(np.array([3e25, 4e25], dtype=np.float32)) == pytest.approx(5e25, rel=1e-6)
    assert norm_of(np.array([3e200, 4e200])) == pytest.approx(5e200, rel=1e-15)
    assert not np.isfinite(norm_of(np.array([1.0, np.inf])))
    assert np.isnan(norm_of(np.array([1.0, np.nan])))


def test_clipping_shortens_long_gradients_and_leaves_short_ones():
    clip = bp.clip_by_norm(1.0)
    long, short = np.array([3.0, 4.0]), np.array([0.3, 0.4])
    assert np.allclose(clip.update(long, {}, long)[0], [0.6, 0.8], rtol=1e-15)
    assert np.array_equal(clip.update(short, {}, short)[0], short)
    moved = ours(bp.chain(clip, bp.sgd(1.0)), np.zeros(2), np.array([[30.0, 40.0]]))
    assert math.isclose(np.linalg.norm(moved), 1.0, rel_tol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.sgd(-1), "learning_rate"),
        (lambda: bp.sgd(0.1, momentum=1.0), "momentum"),
        (lambda: bp.adam(b1=2), "b1"),
        (lambda: bp.clip_by_norm(0), "limit"),
        (lambda: bp.sgd(0.1, nesterov=True), "momentum above 0"),
        (lambda: bp.step_decay(0.1, 0), "every"),
        (lambda: bp.lbfgs(memory=0), "memory"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(bp.ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    "optimizer",
    [
        bp.sgd(0.1, momentum=0.9, nesterov=True),
        bp.adam(bp.warm_up(bp.cosine(0.01, 4), 2), b1=0.8),
        bp.adamw(bp.constant(0.01), weight_decay=0.1),
        bp.rmsprop(bp.step_decay(0.01, 3)),
        bp.chain(bp.clip_by_norm(1.0), bp.adam(0.01)),
    ],
    ids=lambda value: value.name,
)
def test_an_optimizer_comes_back_from_a_pickle_and_takes_the_same_steps(optimizer):
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.name == optimizer.name
    assert np.array_equal(ours(again, THETA, GRADIENTS), ours(optimizer, THETA, GRADIENTS))


def test_an_optimizer_of_someone_else_keeps_its_functions_in_a_pickle():
    other = bp.Optimizer(init=np.zeros_like, update=max, name="adam")
    again = pickle.loads(pickle.dumps(other))
    assert (again.init, again.update, again.name) == (np.zeros_like, max, "adam")
