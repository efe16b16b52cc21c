"""Wrong use of the upstream gradient: left out, bent, negated, given to the wrong input; softmax and cross-entropy fused twice."""

from __future__ import annotations

import math

import numpy as np

from .tables import Case, draw, length, log_softmax, one_hot, sigmoid, softmax, standardise, uniform

LABELS = np.array([2, 0, 3, 1, 1])
TARGETS = draw(40, 5, 3)
BITS = (draw(41, 4, 6) > 0).astype(float)
WEIGHTS = draw(42, 3, 5, scale=2.0)
SOFT = softmax(draw(43, 5, 4))
MATRIX = draw(39, 3, 3)
erf = np.vectorize(math.erf)


def huber(x):
    r = x - TARGETS
    return np.where(np.abs(r) <= 1, 0.5 * r**2, np.abs(r) - 0.5).mean()


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def gelu_slope(x):
    return 0.5 * (1 + erf(x / np.sqrt(2))) + x * np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)


def cross_entropy(z):
    return -log_softmax(z)[np.arange(len(LABELS)), LABELS].mean()


def losses(z):
    return -log_softmax(z)[np.arange(len(LABELS)), LABELS]


def through_softmax(h, g):
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def get_rows(x):
    return x[[4, 1, 2]]


def get_rows_backward(g, x):
    dx = np.zeros_like(x)
    dx[[4, 1, 2]] = x[[4, 1, 2]]
    return dx


def top_two(g):
    keep = np.abs(g) >= np.sort(np.abs(g), axis=-1)[:, -2:-1]
    return g * keep


def double_softmax(g, z):
    h = softmax(z)
    return g * through_softmax(h, (h - one_hot(LABELS, 4)) / len(LABELS))


def double_softmax_rows(g, z):
    h = softmax(z)
    return through_softmax(h, g[:, None] * (h - one_hot(LABELS, 4)))


def soft_cross_entropy(z):
    return -(SOFT * log_softmax(z)).sum()


def token_loss(z):
    return -(log_softmax(z) * one_hot(LABELS[:3], 4)[None]).sum() / 6


def token_loss_backward(g, z):
    h = softmax(z)
    dz = through_softmax(h, h - one_hot(LABELS[:3], 4)[None])
    return g * dz / 6


def bce(z):
    return (np.logaddexp(0, z) - BITS * z).mean()


def norm_affine(x, gamma, beta):
    return standardise(x) * gamma + beta


def norm_affine_backward(g, x, gamma, beta):
    xhat, dxhat = standardise(x), g * gamma
    sd = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    dx = (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)) / sd
    return dx, g.sum(axis=0), (g * xhat).sum(axis=0)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=1)


IGNORED, BENT, SIGN, SWAP, TWICE = "upstream-ignored", "not-linear-in-upstream", "sign-flipped", "swapped-gradients", "fused-twice"
CASES = [
    Case(
        "prod: without g",
        IGNORED,
        lambda x: x.prod(axis=1),
        (uniform(44, 4, 3),),
        lambda g, x: x.prod(axis=1, keepdims=True) / x,
        source="pytorch/pytorch#995",
    ),
    Case(
        "Huber: without g",
        IGNORED,
        huber,
        (draw(45, 5, 3, scale=2.0),),
        lambda g, x: np.clip(x - TARGETS, -1, 1) / x.size,
        source="chainer/chainer#1175",
    ),
    Case("GELU: without g", IGNORED, gelu, (draw(46, 3, 4),), lambda g, x: gelu_slope(x)),
    Case(
        "multiply: the other factor, without g",
        IGNORED,
        lambda x, y: x * y,
        (draw(47, 3, 4), draw(48, 4)),
        lambda g, x, y: (np.broadcast_to(y, x.shape).copy(), x.sum(axis=0)),
        source="deeplearning4j/deeplearning4j#5978",
    ),
    Case(
        "getitem: rows of the input come back",
        IGNORED,
        get_rows,
        (draw(49, 6, 3),),
        get_rows_backward,
        source="explosion/thinc#492",
    ),
    Case(
        "cross-entropy: h - t, without g",
        IGNORED,
        cross_entropy,
        (draw(50, 5, 4),),
        lambda g, z: (softmax(z) - one_hot(LABELS, 4)) / 5,
    ),
    Case(
        "linear: gradient clipped to [-1, 1]",
        BENT,
        lambda x: x @ WEIGHTS,
        (draw(51, 4, 3),),
        lambda g, x: np.clip(g @ WEIGHTS.T, -1, 1),
    ),
    Case(
        "tanh: upstream normalised to length one",
        BENT,
        np.tanh,
        (draw(52, 4, 5),),
        lambda g, x: (1 - np.tanh(x) ** 2) * g / (np.sqrt((g**2).sum()) + 1e-12),
    ),
    Case("sigmoid: sign of the gradient", BENT, sigmoid, (draw(53, 3, 4),), lambda g, x: np.sign(g) * sigmoid(x) * sigmoid(-x)),
    Case(
        "softmax: taken of the upstream",
        BENT,
        softmax,
        (draw(54, 3, 5),),
        lambda g, z: through_softmax(softmax(g), g),
        source="Stack Overflow, 'Understanding backpropagation with softmax'",
    ),
    Case(
        "matmul: weight decay in the gradient",
        BENT,
        lambda x, w: x @ w,
        (draw(55, 6, 3), draw(56, 3, 4)),
        lambda g, x, w: (g @ w.T, x.T @ g + 0.1 * w),
        input=1,
    ),
    Case(
        "linear: the two largest of upstream", BENT, lambda x: x @ WEIGHTS, (draw(57, 4, 3),), lambda g, x: top_two(g) @ WEIGHTS.T
    ),
    Case(
        "log-softmax: softmax added to g",
        BENT,
        log_softmax,
        (draw(58, 2, 5),),
        lambda g, z: g + softmax(z),
        source="mlpack/mlpack#2360",
    ),
    Case(
        "sin(x) y: minus sin(x)",
        SIGN,
        lambda x, y: np.sin(x) * y,
        (draw(59, 4, 3), draw(60, 4, 3)),
        lambda g, x, y: (g * np.cos(x) * y, -g * np.sin(x)),
        input=1,
        source="jax-ml/jax#3213",
    ),
    Case("BCE: t - p", SIGN, bce, (draw(61, 4, 6),), lambda g, z: g * (BITS - sigmoid(z)) / z.size),
    Case(
        "KL divergence: p / q",
        SIGN,
        kl,
        (softmax(draw(62, 4, 5)), softmax(draw(63, 4, 5))),
        lambda g, p, q: (g[:, None] * (np.log(p / q) + 1), g[:, None] * p / q),
        input=1,
    ),
    Case(
        "division: denominator",
        SIGN,
        lambda x, y: x / y,
        (draw(64, 3, 5), uniform(65, 3, 5)),
        lambda g, x, y: (g / y, g * x / y**2),
        input=1,
    ),
    Case(
        "hinge: margin violated",
        SIGN,
        lambda x: np.maximum(0, 1 - x * (2 * BITS - 1)).sum(axis=1),
        (draw(66, 4, 6),),
        lambda g, x: g[:, None] * (2 * BITS - 1) * (x * (2 * BITS - 1) < 1),
    ),
    Case(
        "distance: between two points",
        SIGN,
        lambda x: np.sqrt(((TARGETS - x) ** 2).sum(axis=1)),
        (draw(67, 5, 3),),
        lambda g, x: g[:, None] * (TARGETS - x) / length(TARGETS - x),
    ),
    Case(
        "hypot: x and y exchanged",
        SWAP,
        np.hypot,
        (uniform(68, 4, 3), draw(69, 4, 3)),
        lambda g, x, y: (g * y / np.hypot(x, y), g * x / np.hypot(x, y)),
    ),
    Case(
        "layer norm: gamma and beta exchanged", SWAP, norm_affine, (draw(70, 6, 4), draw(71, 4), draw(72, 4)), norm_affine_backward
    ),
    Case(
        "interpolation: 1 - w and w exchanged",
        SWAP,
        lambda a, b: 0.8 * a + 0.2 * b,
        (draw(73, 5), draw(74, 5)),
        lambda g, a, b: (0.2 * g, 0.8 * g),
    ),
    Case(
        "atan2: x and y exchanged",
        SWAP,
        np.arctan2,
        (draw(75, 3, 4), uniform(76, 3, 4)),
        lambda g, y, x: (-g * y / (x * x + y * y), g * x / (x * x + y * y)),
    ),
    Case(
        "outer: x and y exchanged",
        SWAP,
        np.outer,
        (draw(77, 4), draw(78, 3)),
        lambda g, x, y: (g.T @ x, g @ y),
        also=("wrong-shape",),
    ),
    Case(
        "bilinear: x and y exchanged",
        SWAP,
        lambda x, y: ((x @ MATRIX) * y).sum(axis=1),
        (draw(79, 5, 3), draw(80, 5, 3)),
        lambda g, x, y: (g[:, None] * (x @ MATRIX), g[:, None] * (y @ MATRIX.T)),
    ),
    Case("softmax cross-entropy: mean", TWICE, cross_entropy, (draw(81, 5, 4),), double_softmax),
    Case("softmax cross-entropy: each sample", TWICE, losses, (draw(82, 5, 4),), double_softmax_rows),
    Case(
        "softmax cross-entropy: soft targets",
        TWICE,
        soft_cross_entropy,
        (draw(83, 5, 4),),
        lambda g, z: g * through_softmax(softmax(z), softmax(z) - SOFT),
    ),
    Case("softmax cross-entropy: tokens of sequences", TWICE, token_loss, (draw(84, 2, 3, 4),), token_loss_backward),
    Case(
        "sigmoid cross-entropy: mean",
        TWICE,
        bce,
        (draw(85, 4, 6),),
        lambda g, z: g * (sigmoid(z) - BITS) * sigmoid(z) * sigmoid(-z) / z.size,
        also=("missing-factor",),
    ),
    Case(
        "softmax cross-entropy: gradient for h, handed to z",
        TWICE,
        soft_cross_entropy,
        (draw(86, 5, 4),),
        lambda g, z: -g * SOFT / softmax(z),
        also=("unknown",),
    ),
]
