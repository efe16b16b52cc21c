"""Right, in awkward shapes and memory: strided, 0-d, empty, one entry, large; several inputs and outputs; indices and views."""

from __future__ import annotations

import numpy as np

from tests.broken.tables import Case, draw, log_softmax, one_hot, sigmoid, softmax, standardise, uniform

LABELS = np.array([2, 0, 1, 2])
PLACES = np.array([3, 1, 1, 0])
KERNEL = draw(431, 2, 3, 3)
FIRST, SECOND = draw(432, 20, 8), draw(433, 8, 3)
MASK = (draw(434, 3, 5) > 0).astype(float)


def softmax_backward(g, z):
    h = softmax(z)
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def polar(x, y):
    r = np.hypot(x, y)
    return r, np.arctan2(y, x)


def polar_backward(g, x, y):
    r = np.hypot(x, y)
    return g[0] * x / r - g[1] * y / r**2, g[0] * y / r + g[1] * x / r**2


def summary(x):
    """A number and a vector."""
    return x.sum(), x.max(axis=1), x[:, 0] * 2


def summary_backward(g, x):
    dx = np.full_like(x, g[0])
    dx[np.arange(len(x)), x.argmax(axis=1)] += g[1]
    dx[:, 0] += 2 * g[2]
    return dx


def losses(z, labels):
    return -log_softmax(z)[np.arange(len(labels)), labels]


def losses_backward(g, z, labels):
    return g[:, None] * (softmax(z) - one_hot(labels, z.shape[1])), None


def masked_mean(x, mask):
    return (x * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)


def masked_mean_backward(g, x, mask):
    return g[:, None] * mask / np.maximum(mask.sum(axis=1, keepdims=True), 1), None


def conv2d(x):
    """(H, W) with two 3x3 filters, no padding."""
    h, w = x.shape
    out = np.zeros((2, h - 2, w - 2))
    for i in range(3):
        for j in range(3):
            out += KERNEL[:, i, j, None, None] * x[i : i + h - 2, j : j + w - 2]
    return out


def conv2d_backward(g, x):
    h, w = x.shape
    dx = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            dx[i : i + h - 2, j : j + w - 2] += (g * KERNEL[:, i, j, None, None]).sum(axis=0)
    return dx


def einsum_backward(g, q, k):
    return np.einsum("bhqk,bkhd->bqhd", g, k), np.einsum("bhqk,bqhd->bkhd", g, q)


def large(x):
    return np.tanh(x @ FIRST) @ SECOND


def large_backward(g, x):
    return ((g @ SECOND.T) * (1 - np.tanh(x @ FIRST) ** 2)) @ FIRST.T


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def add_backward(g, a, b, c):
    return tuple(unbroadcast(g, x.shape) for x in (a, b, c))


def take_backward(g, x):
    dx = np.zeros_like(x)
    np.add.at(dx, PLACES, g)
    return dx


def embed_backward(g, tokens, table):
    dtable = np.zeros_like(table)
    np.add.at(dtable, tokens, g)
    return None, dtable


def batch_norm_backward(g, x):
    xhat, sd = standardise(x, 0), np.sqrt(x.var(axis=0) + 1e-5)
    return (g - g.mean(axis=0) - xhat * (g * xhat).mean(axis=0)) / sd


def concatenate_backward(g, a, b):
    return g[:, : a.shape[1]], g[:, a.shape[1] :]


def bilinear_backward(g, x, a, y):
    return np.einsum("n,ij,nj->ni", g, a, y), np.einsum("n,ni,nj->ij", g, x, y), np.einsum("n,ij,ni->nj", g, a, x)


def norm_slope(x):
    return x / np.sqrt((x**2).sum())


CASES = [
    Case("tanh: every second column", "", np.tanh, (draw(435, 4, 10)[:, ::2],), lambda g, x: g * (1 - np.tanh(x) ** 2)),
    Case("softmax: a transposed input", "", softmax, (draw(436, 5, 3).T,), softmax_backward),
    Case("sine: a reversed input", "", np.sin, (draw(437, 6)[::-1],), lambda g, x: g * np.cos(x)),
    Case("cube: 0-d", "", lambda x: x**3, (np.array(1.3),), lambda g, x: 3 * g * x**2),
    Case(
        "product of two numbers: 0-d",
        "",
        lambda a, b: a * np.exp(b),
        (np.array(0.7), np.array(-0.4)),
        lambda g, a, b: (g * np.exp(b), g * a * np.exp(b)),
    ),
    Case("exp: empty batch", "", np.exp, (np.zeros((0, 4)),), lambda g, x: g * np.exp(x)),
    Case("sum: empty", "", np.sum, (np.zeros(0),), lambda g, x: np.full_like(x, g)),
    Case("matmul: empty batch", "", lambda x, w: x @ w, (np.zeros((0, 4)), draw(438, 4, 3)), lambda g, x, w: (g @ w.T, x.T @ g)),
    Case("log: one entry", "", np.log, (np.array([2.5]),), lambda g, x: g / x),
    Case("softmax: one class", "", softmax, (draw(439, 4, 1),), softmax_backward),
    Case("softmax: one sample", "", softmax, (draw(440, 1, 5),), softmax_backward),
    Case("batch norm: one sample", "", lambda x: standardise(x, 0), (draw(441, 1, 4),), batch_norm_backward),
    Case("batch norm: two samples", "", lambda x: standardise(x, 0), (draw(442, 2, 4),), batch_norm_backward),
    Case("two layers: 300 by 20", "", large, (draw(443, 300, 20),), large_backward),
    Case("norm: of 6000 numbers", "", lambda x: np.sqrt((x**2).sum()), (draw(444, 300, 20),), lambda g, x: g * norm_slope(x)),
    Case("polar coordinates: two inputs, two outputs", "", polar, (uniform(445, 3, 4), draw(446, 3, 4)), polar_backward),
    Case("summary: a number and two vectors", "", summary, (draw(447, 4, 5),), summary_backward),
    Case("cross-entropy: integer labels", "", losses, (draw(448, 4, 3), LABELS), losses_backward),
    Case("masked mean: float mask without a gradient", "", masked_mean, (draw(449, 3, 5), MASK), masked_mean_backward),
    Case("conv2d: two filters", "", conv2d, (draw(450, 5, 6),), conv2d_backward),
    Case(
        "attention scores: einsum with heads",
        "",
        lambda q, k: np.einsum("bqhd,bkhd->bhqk", q, k),
        (draw(451, 2, 3, 2, 4), draw(452, 2, 5, 2, 4)),
        einsum_backward,
    ),
    Case(
        "add: three broadcast inputs",
        "",
        lambda a, b, c: a + b + c,
        (draw(453, 2, 3, 4), draw(454, 3, 1), draw(455, 4)),
        add_backward,
    ),
    Case("take: repeated", "", lambda x: x[PLACES], (draw(456, 5, 2),), take_backward),
    Case(
        "embedding: repeated tokens",
        "",
        lambda tokens, table: table[tokens],
        (np.array([[1, 4, 1], [0, 1, 3]]), draw(457, 6, 3)),
        embed_backward,
    ),
    Case("identity: the upstream itself", "", lambda x: x, (draw(458, 3, 4),), lambda g, x: g),
    Case("transpose: a view", "", lambda x: x.T, (draw(459, 3, 4),), lambda g, x: g.T),
    Case("flatten: a view", "", lambda x: x.reshape(-1), (draw(460, 2, 3, 2),), lambda g, x: g.reshape(x.shape)),
    Case(
        "broadcast: a read-only gradient",
        "",
        lambda x: x.sum(axis=1),
        (draw(461, 3, 4),),
        lambda g, x: np.broadcast_to(g[:, None], x.shape),
    ),
    Case(
        "concatenate: slices of the upstream",
        "",
        lambda a, b: np.concatenate([a, b], axis=1),
        (draw(462, 3, 2), draw(463, 3, 4)),
        concatenate_backward,
    ),
    Case(
        "bilinear: three inputs",
        "",
        lambda x, a, y: np.einsum("ni,ij,nj->n", x, a, y),
        (draw(464, 4, 3), draw(465, 3, 2), draw(466, 4, 2)),
        bilinear_backward,
    ),
    Case(
        "linear: one-hot input",
        "",
        lambda x, w: sigmoid(x @ w),
        (one_hot(LABELS, 3), draw(467, 3, 4)),
        lambda g, x, w: ((g * sigmoid(x @ w) * sigmoid(-x @ w)) @ w.T, x.T @ (g * sigmoid(x @ w) * sigmoid(-x @ w))),
    ),
    Case("roll: five axes", "", lambda x: np.roll(x, 1, axis=3), (draw(468, 1, 2, 1, 3, 2),), lambda g, x: np.roll(g, -1, axis=3)),
]
