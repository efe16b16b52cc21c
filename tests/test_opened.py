"""Networks are looked into: a mistake behind several layers is named as if its layer stood alone."""

from __future__ import annotations

import numpy as np
import pytest

import backproof as bp

RNG = np.random.default_rng(11)
X, W1, B1, W2 = (RNG.normal(size=s) for s in [(5, 3), (3, 4), (4,), (4, 3)])
LABELS = np.array([2, 0, 1, 1, 0])


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss(x, w1, b1, w2, labels):
    h = softmax(np.tanh(x @ w1 + b1) @ w2)
    return -np.mean(np.log(h[np.arange(len(labels)), labels]))


def gradients(error, slope):
    """The backward pass with the given error at the logits and the given slope of the hidden layer."""

    def backward(upstream, x, w1, b1, w2, labels):
        z = x @ w1 + b1
        a = np.tanh(z)
        h = softmax(a @ w2)
        d2 = error(h, np.eye(3)[labels]) * upstream / len(labels)
        d1 = d2 @ w2.T * slope(z, a)
        return d1 @ w1.T, x.T @ d1, d1.sum(axis=0), a.T @ d2, None

    return backward


def fused(h, t):
    return h - t


def tanh_slope(z, a):
    return 1 - a * a


def check(error=fused, slope=tanh_slope):
    return bp.check(loss, X, W1, B1, W2, LABELS, backward=gradients(error, slope))


def test_the_right_one_passes():
    assert check().ok


@pytest.mark.parametrize(
    ("cause", "weight", "wrong"),
    [
        ("fused-twice", "w2", {"error": lambda h, t: h * ((h - t) - (h * (h - t)).sum(axis=1, keepdims=True))}),
        ("missing-cross-terms", "w2", {"error": lambda h, t: -t * (1 - h)}),
        ("missing-factor", "w1", {"slope": lambda z, a: np.ones_like(a)}),
        ("derivative-at-wrong-point", "w1", {"slope": lambda z, a: 1 - np.tanh(a) ** 2}),
    ],
)
def test_a_mistake_inside_is_named_and_placed(cause, weight, wrong):
    first = check(**wrong).findings[0]
    assert (first.cause, first.name) == (cause, weight)
    assert first.where.startswith(f"behind {weight}")


def test_weights_that_stand_the_other_way_round():
    def forward(x, w, v):
        return np.tanh(x @ w.T) @ v.T

    def backward(g, x, w, v):
        a = np.tanh(x @ w.T)
        d = g @ v * (1 - np.tanh(a) ** 2)
        return d @ w, d.T @ x, g.T @ a

    report = bp.check(forward, X, W1.T.copy(), W2.T.copy(), backward=backward)
    assert report.findings[0].cause == "derivative-at-wrong-point"


def test_a_weight_used_at_every_time_step():
    def forward(x, w):
        h = np.zeros((1, 4))
        for row in x:
            h = np.tanh(h @ w + row)
        return h

    def backward(g, x, w):
        states = [np.zeros((1, 4))]
        for row in x:
            states.append(np.tanh(states[-1] @ w + row))
        dx, dw = np.zeros_like(x), np.zeros_like(w)
        for t in reversed(range(len(x))):
            d = g * (1 - states[t + 1] ** 2)
            dx[t], dw = d[0], states[t].T @ d  # the last time step that is visited overwrites the others
            if t == 1:
                return dx, dw
            g = d @ w.T
        return dx, dw

    report = bp.check(forward, RNG.normal(size=(3, 4)), RNG.normal(size=(4, 4)), backward=backward, wrt=[1])
    assert report.findings[0].cause == "missing-accumulation"
