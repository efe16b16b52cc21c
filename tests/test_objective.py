"""A network of many classes never holds its logits whole: the same loss and gradient, in less memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from backproof import objective
from backproof.layers import Dropout, Linear, Softmax, Standardize, Tanh
from backproof.losses import CrossEntropy
from backproof.network import Network

CLASSES = 700


def data(shape=(40, 5), seed=0):
    r = np.random.default_rng(seed)
    return r.normal(size=shape), r.integers(0, CLASSES, shape[:-1])


NETWORKS = {
    "softmax": lambda **o: Network([Linear(7), Tanh(), Linear(CLASSES), Softmax()], CrossEntropy(**o), l2=0.1),
    "logits, no bias": lambda **o: Network(
        [Standardize(np.ones(5), np.ones(5)), Tanh(), Linear(CLASSES, bias=False)], CrossEntropy(**o)
    ),
    "nothing before": lambda **o: Network([Linear(CLASSES)], CrossEntropy(**o)),
    "dropout": lambda **o: Network([Linear(7), Dropout(0.3), Linear(CLASSES), Softmax()], CrossEntropy(**o)),
}
OPTIONS = [{}, {"reduction": "sum", "label_smoothing": 0.1}, {"class_weight": np.linspace(0, 1, CLASSES), "ignore_index": -1}]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "smooth", "weights"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_to_rounding(name, options, dtype, monkeypatch):
    x, t = data()
    if "ignore_index" in options:
        t[:3] = -1
    x = x.astype(dtype)
    network = NETWORKS[name](**options).initialise(x, seed=0)
    weights = np.random.default_rng(1).uniform(size=40)

    def results(large):
        monkeypatch.setattr(objective, "LARGE", large)
        drawn = {"train": True, "rng": np.random.default_rng(2)}
        value, gradient = network.loss_and_gradient(x, t, weights, **drawn)
        drawn["rng"] = np.random.default_rng(2)
        return value, gradient, network.loss(x, t, weights, **drawn)

    calls = []
    spied = objective.entropy_of_linear
    monkeypatch.setattr(objective, "entropy_of_linear", lambda *a: calls.append(1) or spied(*a))
    (value, gradient, loss), (want, expected, _) = results(0), results(1 << 60)
    assert len(calls) == 2
    eps = float(np.finfo(dtype).eps)
    assert value == pytest.approx(want, rel=16 * eps)
    assert loss == pytest.approx(want, rel=16 * eps)
    assert np.abs(gradient - expected).max() <= 16 * eps * np.abs(expected).max()


def test_examples_of_more_axes_and_probabilities(monkeypatch):
    x, t = data((6, 4, 5))
    network = NETWORKS["softmax"]().initialise(x, seed=0)
    dense = np.random.default_rng(3).dirichlet(np.ones(CLASSES), (6, 4))
    for target in (t, dense):
        monkeypatch.setattr(objective, "LARGE", 1 << 60)
        want = network.loss_and_gradient(x, target)
        monkeypatch.setattr(objective, "LARGE", 0)
        got = network.loss_and_gradient(x, target)
        assert got[0] == pytest.approx(want[0], rel=1e-13)
        np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-13)


def test_mistakes_are_the_loss_functions_own(monkeypatch):
    monkeypatch.setattr(objective, "LARGE", 0)
    x, t = data()
    network = NETWORKS["softmax"]().initialise(x, seed=0)
    with pytest.raises(IndexError, match="target: expected labels from 0 to 699, received 700"):
        network.loss_and_gradient(x, t * 0 + CLASSES)
    with pytest.raises(ValueError, match="sample_weight: expected shape"):
        network.loss(x, t, np.ones(3))


def test_less_memory(monkeypatch):
    """2,000 examples of 8,000 classes: logits of 61 MiB and as much again for their gradient, in single precision."""
    r = np.random.default_rng(0)
    x, t = r.normal(size=(2000, 4)).astype(np.float32), r.integers(0, 8000, 2000)
    network = Network([Linear(8000), Softmax()], CrossEntropy()).initialise(x, seed=0)
    gradient = np.empty_like(network.parameters)

    def peak():
        network.loss_and_gradient(x[:2], t[:2], out=gradient)
        tracemalloc.start()
        network.loss_and_gradient(x, t, out=gradient)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / 2**20

    spared = peak()
    assert spared <= 58
    monkeypatch.setattr(objective, "LARGE", 1 << 60)
    assert peak() >= 120
