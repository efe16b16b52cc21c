"""Right functions and objects that keep something: caches, memos, seeded masks, scratch space of their own, accumulated gradients."""

from __future__ import annotations

import numpy as np

from tests.broken.tables import Case, draw, sigmoid, softmax

WEIGHTS = draw(501, 4, 3)
MEMO: dict[bytes, np.ndarray] = {}


def remembered(x):
    """The softmax of x, computed once for each value of x."""
    key = x.tobytes() + str(x.shape).encode()
    if key not in MEMO:
        MEMO[key] = softmax(x)
    return MEMO[key].copy()


def remembered_backward(g, x):
    h = remembered(x)
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def seeded_mask(x):
    return (np.random.default_rng(11).random(x.shape) < 0.7) / 0.7


def in_place_on_a_copy(x):
    y = x.copy()
    y[y < 0] *= 0.1
    y += 1
    return y


def scratch(g, x):
    g = g.copy()
    g *= np.where(x < 0, 0.1, 1.0)
    return g


class Dense:
    def __init__(self):
        self.params = {"W": draw(502, 4, 3), "b": draw(503, 3)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        self.a = sigmoid(x @ self.params["W"] + self.params["b"])
        return self.a

    def backward(self, g):
        dz = g * self.a * (1 - self.a)
        self.grads = {"W": self.x.T @ dz, "b": dz.sum(axis=0)}
        return dz @ self.params["W"].T


class SeededDropout:
    """The mask depends on the shape alone."""

    def forward(self, x):
        self.mask = seeded_mask(x)
        return x * self.mask

    def backward(self, g):
        return g * self.mask


class Recurrent:
    """Three steps over (N, T, D); the hidden state starts at zero in every call."""

    def __init__(self):
        self.params = {"Wx": draw(504, 2, 3), "Wh": draw(505, 3, 3)}
        self.grads = {}

    def forward(self, x):
        self.x, self.h = x, [np.zeros((len(x), 3))]
        for t in range(x.shape[1]):
            self.h.append(np.tanh(x[:, t] @ self.params["Wx"] + self.h[-1] @ self.params["Wh"]))
        return self.h[-1]

    def backward(self, g):
        dx, dh = np.zeros_like(self.x), g
        self.grads = {name: np.zeros_like(p) for name, p in self.params.items()}
        for t in reversed(range(self.x.shape[1])):
            dz = dh * (1 - self.h[t + 1] ** 2)
            self.grads["Wx"] += self.x[:, t].T @ dz
            self.grads["Wh"] += self.h[t].T @ dz
            dx[:, t] = dz @ self.params["Wx"].T
            dh = dz @ self.params["Wh"].T
        return dx


class MaxPool:
    def forward(self, x):
        self.shape, self.places = x.shape, x.reshape(len(x), -1, 2).argmax(axis=2)
        return x.reshape(len(x), -1, 2).max(axis=2)

    def backward(self, g):
        dx = np.zeros((len(g), g.shape[1], 2))
        np.put_along_axis(dx, self.places[:, :, None], g[:, :, None], axis=2)
        return dx.reshape(self.shape)


CASES = [
    Case("softmax: a memo by value", "", remembered, (draw(506, 3, 4),), remembered_backward),
    Case("dropout: a seeded mask", "", lambda x: x * seeded_mask(x), (draw(507, 4, 5),), lambda g, x: g * seeded_mask(x)),
    Case("leaky relu: in place on a copy", "", in_place_on_a_copy, (draw(508, 3, 4),), scratch),
    Case("sigmoid layer: a cache in self", "", Dense(), (draw(509, 5, 4),)),
    Case("dropout layer: seeded by shape", "", SeededDropout(), (draw(510, 4, 5),)),
    Case("RNN layer: three steps", "", Recurrent(), (draw(511, 2, 3, 2),)),
    Case("max pool layer: places in self", "", MaxPool(), (draw(512, 3, 6),)),
]
