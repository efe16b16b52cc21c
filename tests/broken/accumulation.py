"""An input reaches the output along several paths or indices, and one contribution is counted instead of their sum."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, sigmoid, softmax

TOKENS = np.array([[1, 4, 1], [0, 1, 3]])
PAIRS = (np.array([0, 2, 2, 1]), np.array([1, 0, 0, 2]))
W, U, V = draw(211, 4, 4), draw(212, 4, 4), draw(213, 3, 4)
FORM = draw(214, 5, 5)
KERNEL = np.array([0.5, -1.0, 2.0])


def take(x):
    return x[[2, 0, 2, 2]]


def take_backward(g, x):
    dx = np.zeros_like(x)
    dx[[2, 0, 2, 2]] = g
    return dx


def embed(tokens, table):
    return table[tokens]


def embed_backward(g, tokens, table):
    dtable = np.zeros_like(table)
    dtable[tokens] += g
    return None, dtable


def gather(x):
    return x[PAIRS]


def gather_backward(g, x):
    dx = np.zeros_like(x)
    dx[PAIRS] += g
    return dx


def conv(x):
    return np.stack([x[:, i : i + 3] @ KERNEL for i in range(x.shape[1] - 2)], axis=1)


def conv_backward(g, x):
    dx = np.zeros_like(x)
    for i in range(g.shape[1]):
        dx[:, i : i + 3] = g[:, i, None] * KERNEL
    return dx


def max_pool(x):
    return np.stack([x[:, i : i + 3].max(axis=1) for i in range(0, x.shape[1] - 2, 2)], axis=1)


def max_pool_backward(g, x):
    dx = np.zeros_like(x)
    rows = np.arange(len(x))
    for j, i in enumerate(range(0, x.shape[1] - 2, 2)):
        dx[rows, i + x[:, i : i + 3].argmax(axis=1)] = g[:, j]
    return dx


def residual(x):
    return x + np.tanh(x @ W)


def rnn(h, x0, x1):
    """Two steps; the output of each is read."""
    h1 = np.tanh(h @ U + x0 @ V)
    h2 = np.tanh(h1 @ U + x1 @ V)
    return h1, h2


def rnn_backward(g, h, x0, x1):
    """The first step gets its own gradient only, nothing back from the second."""
    h1, h2 = rnn(h, x0, x1)
    d2 = g[1] * (1 - h2**2)
    d1 = g[0] * (1 - h1**2)
    return d1 @ U.T, d1 @ V.T, d2 @ V.T


def tied(x, w):
    return np.tanh(x @ w) @ w.T


def tied_backward(g, x, w):
    h = np.tanh(x @ w)
    dh = (g @ w) * (1 - h**2)
    return dh @ w.T, x.T @ dh


def highway(x):
    gate = sigmoid(x @ W)
    return gate * np.tanh(x @ U) + (1 - gate) * x


def highway_backward(g, x):
    gate, h = sigmoid(x @ W), np.tanh(x @ U)
    dgate = g * (h - x) * gate * (1 - gate)
    return dgate @ W.T + (g * gate * (1 - h**2)) @ U.T


def self_attention(x):
    weights = softmax(x @ x.transpose(0, 2, 1) / 2)
    return weights @ x


def self_attention_backward(g, x):
    """Query and value paths; x as the key is forgotten."""
    weights = softmax(x @ x.transpose(0, 2, 1) / 2)
    dw = g @ x.transpose(0, 2, 1)
    ds = weights * (dw - (dw * weights).sum(axis=-1, keepdims=True)) / 2
    return weights.transpose(0, 2, 1) @ g + ds @ x


def edge_pad(x):
    return np.pad(x, ((0, 0), (2, 2)), mode="edge")


PATHS = "missing-accumulation"
CASES = [
    Case("take: repeated indices overwritten", PATHS, take, (draw(215, 4, 3),), take_backward),
    Case(
        "embedding: repeated tokens",
        PATHS,
        embed,
        (TOKENS, draw(216, 6, 3)),
        embed_backward,
        input=1,
        source="pymc-devs/pytensor#2242",
    ),
    Case("gather: repeated pairs", PATHS, gather, (draw(217, 3, 3),), gather_backward, source="apache/mxnet#9172"),
    Case("conv1d: overlapping windows overwritten", PATHS, conv, (draw(218, 3, 7),), conv_backward),
    Case(
        "max pool: overlapping windows overwritten",
        PATHS,
        max_pool,
        (np.array([[0.1, 0.3, 2.0, 0.4, 0.2, 1.5, 0.7], [1.0, -0.5, 0.9, 0.3, 3.0, 0.2, -1.0]]),),
        max_pool_backward,
    ),
    Case("residual: the skip", PATHS, residual, (draw(219, 5, 4),), lambda g, x: (g * (1 - np.tanh(x @ W) ** 2)) @ W.T),
    Case("residual: the branch", PATHS, residual, (draw(220, 5, 4),), lambda g, x: g.copy()),
    Case(
        "RNN: nothing back through time",
        PATHS,
        rnn,
        (draw(221, 2, 4), draw(222, 2, 3), draw(223, 2, 3)),
        rnn_backward,
        source="qixianbiao/RNN#2",
    ),
    Case("tied weights: the decoder's use", PATHS, tied, (draw(224, 4, 5), draw(225, 5, 3)), tied_backward, input=1),
    Case(
        "quadratic form: one of its two sides",
        PATHS,
        lambda x: ((x @ FORM) * x).sum(axis=1),
        (draw(226, 3, 5),),
        lambda g, x: g[:, None] * (x @ FORM.T),
    ),
    Case("outer with itself: one of its two sides", PATHS, lambda x: np.outer(x, x), (draw(227, 5),), lambda g, x: g @ x),
    Case("highway: the carried input", PATHS, highway, (draw(228, 5, 4),), highway_backward),
    Case("self-attention: the keys", PATHS, self_attention, (draw(229, 2, 3, 4),), self_attention_backward),
    Case(
        "pad with the edge: only the inside",
        PATHS,
        edge_pad,
        (draw(230, 3, 5),),
        lambda g, x: g[:, 2:-2].copy(),
        also=("wrong-at-some-entries",),
    ),
]
