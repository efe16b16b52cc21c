"""State: caches of another call, writes into inputs or upstream, random numbers drawn anew."""

from __future__ import annotations

import numpy as np

from .tables import Case, deviation, draw, sigmoid, softmax, standardise

WEIGHTS = draw(241, 4, 3)


class KeepsFirst:
    """The cache is filled once and never again."""

    def __init__(self):
        self.x = None

    def forward(self, x):
        if self.x is None:
            self.x = x.copy()
        return np.tanh(x @ WEIGHTS)

    def backward(self, g):
        return (g * (1 - np.tanh(self.x @ WEIGHTS) ** 2)) @ WEIGHTS.T


class OldestOfList:
    """Every forward appends, the backward reads the oldest entry."""

    def __init__(self):
        self.outputs = []

    def forward(self, z):
        self.outputs.append(softmax(z))
        return self.outputs[-1]

    def backward(self, g):
        h = self.outputs[0]
        return h * (g - (g * h).sum(axis=-1, keepdims=True))


class RunningStatistics:
    """Batch norm that normalises with the batch's statistics, and goes back with the running average of all batches so far."""

    def __init__(self):
        self.mean, self.deviation = 0.0, 1.0

    def forward(self, x):
        self.x = x
        self.mean = 0.9 * self.mean + 0.1 * x.mean(axis=0)
        self.deviation = 0.9 * self.deviation + 0.1 * deviation(x, 0)
        return standardise(x, 0)

    def backward(self, g):
        xhat = (self.x - self.mean) / self.deviation
        return (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / self.deviation


class ByShape:
    """A memo whose key is the shape."""

    def __init__(self):
        self.memo = {}

    def forward(self, x):
        self.memo.setdefault(x.shape, sigmoid(x))
        return sigmoid(x)

    def backward(self, g):
        h = self.memo[g.shape]
        return g * h * (1 - h)


class SharedBuffer:
    """The product's left factor is kept from the call before."""

    def __init__(self):
        self.now = self.before = None

    def forward(self, x):
        self.before, self.now = self.now if self.now is not None else x.copy(), x.copy()
        return x**3

    def backward(self, g):
        return 3 * g * self.before**2


def relu_in_place(x):
    x[x < 0] = 0
    return x * 1.0


def softmax_in_place(z):
    z -= z.max(axis=-1, keepdims=True)
    e = np.exp(z)
    return e / e.sum(axis=-1, keepdims=True)


def softmax_backward(g, z):
    h = softmax(z)
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def tanh_backward(g, x):
    g *= 1 - np.tanh(x) ** 2
    return g


def add_one(g, x):
    dx = g * np.cos(x)
    g += 1
    return dx


def dense_scratch(g, x, w):
    dw = x.T @ g
    np.matmul(g, w.T, out=x)
    return x.copy(), dw


def normalise_table(tokens, table):
    table /= np.sqrt((table**2).sum(axis=1, keepdims=True))
    return table[tokens] * 2.0


def normalise_table_backward(g, tokens, table):
    n = np.sqrt((table**2).sum(axis=1, keepdims=True))
    y = table / n
    dy = np.zeros_like(table)
    np.add.at(dy, tokens, 2 * g)
    return None, (dy - y * (dy * y).sum(axis=1, keepdims=True)) / n


class Dropout:
    def forward(self, x):
        self.mask = (np.random.default_rng().random(x.shape) < 0.5) / 0.5
        return x * self.mask

    def backward(self, g):
        return g * self.mask


def fixed_mask(shape):
    return (np.random.default_rng(7).random(shape) < 0.6) / 0.6


def fresh_mask_backward(g, x):
    return g * (np.random.default_rng().random(x.shape) < 0.6) / 0.6


def global_noise(x):
    return np.tanh(x) + 0.1 * np.random.standard_normal(x.shape)  # noqa: NPY002 - the global state is the mistake


def sampled_loss(x):
    """Mean over a random half of the rows."""
    rows = np.random.default_rng().permutation(len(x))[: len(x) // 2]
    return (x[rows] ** 2).mean()


def stochastic_depth(x):
    return x + np.tanh(x) if np.random.default_rng().random() < 0.5 else x * 1.0


def slope(x):
    return 1 - np.tanh(x) ** 2


STALE, WRITES, RANDOM = "stale-state", "input-mutated", "nondeterministic"
CASES = [
    Case("linear + tanh: the first call's input", STALE, KeepsFirst(), (draw(242, 5, 4),)),
    Case("softmax: the oldest output of a list", STALE, OldestOfList(), (draw(243, 3, 5),)),
    Case(
        "batch norm: running statistics",
        STALE,
        RunningStatistics(),
        (draw(244, 6, 3, scale=2.0, shift=1.0),),
        also=("derivative-at-wrong-point",),
    ),
    Case("sigmoid: a memo by shape", STALE, ByShape(), (draw(245, 4, 3),)),
    Case("cube: the call before", STALE, SharedBuffer(), (draw(246, 3, 4),)),
    Case("relu: forward in place", WRITES, relu_in_place, (draw(247, 4, 5),), lambda g, x: g * (x > 0), input=0),
    Case("softmax: shifted in place", WRITES, softmax_in_place, (draw(248, 3, 5),), softmax_backward, input=0),
    Case("tanh: upstream multiplied in place", WRITES, np.tanh, (draw(249, 3, 4),), tanh_backward),
    Case("sine: one added to upstream", WRITES, np.sin, (draw(250, 3, 4),), add_one, source="pytorch/pytorch#81417"),
    Case(
        "matmul: the input used as scratch space",
        WRITES,
        lambda x, w: x @ w,
        (draw(251, 5, 4), draw(252, 4, 3)),
        dense_scratch,
        input=0,
    ),
    Case(
        "embedding: table normalised in place",
        WRITES,
        normalise_table,
        (np.array([1, 0, 1, 3]), draw(253, 5, 3)),
        normalise_table_backward,
        input=1,
    ),
    Case("dropout: unseeded layer", RANDOM, Dropout(), (draw(254, 5, 6),)),
    Case("dropout: another mask in backward", RANDOM, lambda x: x * fixed_mask(x.shape), (draw(255, 5, 6),), fresh_mask_backward),
    Case("noise: from the global generator", RANDOM, global_noise, (draw(256, 3, 4),), lambda g, x: g * slope(x)),
    Case("sampled mean: rows drawn anew", RANDOM, sampled_loss, (draw(257, 8, 3),), lambda g, x: g * 2 * x / x.size),
    Case(
        "stochastic depth: drawn in the forward",
        RANDOM,
        stochastic_depth,
        (draw(258, 4, 3),),
        lambda g, x: g * (1 + 0.5 * slope(x)),
    ),
]
