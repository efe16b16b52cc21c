"""Wrong at some entries: masked, padded, at a boundary, clipped, tied; and gradients that are nan, inf, or nothing but zeros."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, log_softmax, one_hot, sigmoid, softmax

LABELS = np.array([1, 0, -1, 2, -1])
TARGETS = draw(261, 4, 5)
TOKENS = np.array([3, 0, 2, 0, 1])
LENGTHS = np.array([5, 2, 3])
EXPONENTS = np.array([2, 0, 3, 1, 0])


def kept_losses(z):
    return -(log_softmax(z) * one_hot(LABELS, 4)).sum(axis=1) * (LABELS >= 0)


def kept_losses_backward(g, z):
    return g[:, None] * (softmax(z) - one_hot(LABELS, 4))


def smooth_l1(x):
    d = x - TARGETS
    return np.where(np.abs(d) < 1, 0.5 * d * d, np.abs(d) - 0.5)


def smooth_l1_backward(g, x):
    d = x - TARGETS
    return g * np.where(d < 1, d, np.sign(d))


def first_patch_only(g, x):
    dx = np.zeros_like(x)
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            patch = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            dx[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = (patch == patch.max()) * g[i, j]
            if j == 1:
                return dx
    return dx


def max_pool(x):
    h, w = x.shape
    return x.reshape(h // 2, 2, w // 2, 2).max(axis=(1, 3))


def padding_lookup(table):
    """Token 0 is padding: it gives zeros."""
    return table[TOKENS] * (TOKENS > 0)[:, None]


def padding_lookup_backward(g, table):
    dtable = np.zeros_like(table)
    np.add.at(dtable, TOKENS, g)
    return dtable


def same_conv(x):
    wide = np.pad(x, ((0, 0), (1, 1)))
    return 0.5 * wide[:, :-2] - wide[:, 1:-1] + 2 * wide[:, 2:]


def same_conv_backward(g, x):
    """Neighbours wrap around, as the zeros outside do not."""
    return 0.5 * np.roll(g, -1, axis=1) - g + 2 * np.roll(g, 1, axis=1)


def sequence_mean(x):
    mask = np.arange(5) < LENGTHS[:, None]
    return (x * mask).sum(axis=1) / LENGTHS


def zeta(x):
    return np.logaddexp(0, x)


def zeta_backward(g, x):
    """Made of abs and max, each with the derivative 0 at 0."""
    return g * ((x > 0) - np.sign(x) * np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def cumprod_backward(g, x):
    y = np.cumprod(x, axis=1)
    return np.cumsum((g * y)[:, ::-1], axis=1)[:, ::-1] / x


def max_ties_all(g, x):
    return g[:, None] * (x == x.max(axis=1, keepdims=True))


def sinc(x):
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.sin(safe) / safe)


def tanh_by_exponentials(g, x):
    e = np.exp(2 * x)
    return g * 4 * e / (e + 1) ** 2


def confident(z):
    return -log_softmax(z)[:, 0]


def confident_backward(g, z):
    """-1/h, then the softmax's Jacobian: h is zero where the logits are far apart."""
    h = softmax(z)
    dh = -g[:, None] * one_hot(np.zeros(len(z), int), z.shape[1]) / h
    return h * (dh - (dh * h).sum(axis=1, keepdims=True))


def half_norm(x):
    """In float32 inside, as it should be."""
    return np.sqrt((x.astype(np.float32) ** 2).sum(axis=1)).astype(x.dtype)


def half_norm_backward(g, x):
    """In float16: the sum of squares overflows."""
    return (g[:, None] * x / np.sqrt((x**2).sum(axis=1, keepdims=True))).astype(x.dtype)


def dense_bias(g, x, w, b):
    db = np.zeros_like(b)
    return g @ w.T, x.T @ g, db


def truncated(g, x):
    return g[:, None] * (x > 0) * (x // 100)


ENTRIES, BAD, ZERO = "wrong-at-some-entries", "non-finite", "zero-gradient"
ZEROS = np.array([[0.5, 0.0, -1.2, 2.0], [0.0, 1.3, 0.7, -0.4]])
CASES = [
    Case(
        "cross-entropy: ignored labels",
        ENTRIES,
        kept_losses,
        (draw(262, 5, 4),),
        kept_losses_backward,
        source="PaddlePaddle/Paddle#28622",
    ),
    Case(
        "smooth L1: branch on d, not |d|",
        ENTRIES,
        smooth_l1,
        (draw(263, 4, 5, scale=2.0),),
        smooth_l1_backward,
        source="BobMcDear/attorch#13",
    ),
    Case(
        "max pool: returns inside the loop",
        ENTRIES,
        max_pool,
        (draw(264, 4, 6),),
        first_patch_only,
        source="riccardoandreoni0/CNN-from-scratch#1",
    ),
    Case("embedding: padding token", ENTRIES, padding_lookup, (draw(265, 4, 3),), padding_lookup_backward),
    Case("conv1d: wraps around at the border", ENTRIES, same_conv, (draw(266, 3, 9),), same_conv_backward),
    Case(
        "sequence mean: beyond the length",
        ENTRIES,
        sequence_mean,
        (draw(267, 3, 5),),
        lambda g, x: np.tile((g / LENGTHS)[:, None], (1, 5)),
    ),
    Case("relu6: above 6", ENTRIES, lambda x: np.clip(x, 0, 6), (draw(268, 4, 5, scale=5.0, shift=3.0),), lambda g, x: g * (x > 0)),
    Case("softplus: at zero", ENTRIES, zeta, (ZEROS,), zeta_backward, source="jax-ml/jax#2107"),
    Case(
        "power: exponent zero",
        ENTRIES,
        lambda x: x**EXPONENTS,
        (draw(269, 3, 5),),
        lambda g, x: g * np.where(EXPONENTS == 0, 1, EXPONENTS * x ** np.maximum(EXPONENTS - 1, 0)),
        source="jax-ml/jax#17996",
    ),
    Case(
        "max: the whole gradient to every tie",
        ENTRIES,
        lambda x: x.max(axis=1),
        (np.array([[1.0, 3.0, 3.0, 0.0], [2.0, -1.0, 0.5, 1.0]]),),
        max_ties_all,
        source="apache/mxnet#18563",
    ),
    Case(
        "leaky relu: nothing below zero",
        ENTRIES,
        lambda x: np.where(x > 0, x, 0.2 * x),
        (draw(270, 4, 5),),
        lambda g, x: g * (x > 0),
        also=("missing-factor",),
    ),
    Case(
        "cumprod: divided by a zero",
        BAD,
        lambda x: np.cumprod(x, axis=1),
        (np.array([[2.0, 0.0, 3.0], [1.0, 2.0, -1.0]]),),
        cumprod_backward,
        source="tensorflow/tensorflow#3862",
    ),
    Case(
        "prod: divided by a zero",
        BAD,
        lambda x: x.prod(axis=1),
        (np.array([[4.0, 0.0], [1.0, 2.0]]),),
        lambda g, x: (g * x.prod(axis=1))[:, None] / x,
        source="apache/mxnet#18078",
    ),
    Case("sinc: at zero", BAD, sinc, (ZEROS,), lambda g, x: g * (x * np.cos(x) - np.sin(x)) / x**2),
    Case(
        "tanh: exponentials overflow",
        BAD,
        np.tanh,
        (np.array([0.3, -2.0, 190.0, 1.0], np.float32),),
        tanh_by_exponentials,
        source="jax-ml/jax#764",
    ),
    Case(
        "cross-entropy: confidently wrong", BAD, confident, (np.array([[0.0, 800.0, 1.0], [0.2, -0.3, 0.5]]),), confident_backward
    ),
    Case("cube: 3 y / x at zero", BAD, lambda x: x**3, (ZEROS,), lambda g, x: 3 * g * x**3 / x),
    Case(
        "sigmoid: exponentials overflow",
        BAD,
        sigmoid,
        (np.array([-800.0, 0.4, 2.0]),),
        lambda g, x: g * np.exp(-x) / (1 + np.exp(-x)) ** 2,
    ),
    Case(
        "norm: half precision overflows",
        ZERO,
        half_norm,
        (draw(271, 3, 8, scale=200.0, dtype=np.float16),),
        half_norm_backward,
        source="jax-ml/jax#39899",
    ),
    Case(
        "linear: bias never filled in",
        ZERO,
        lambda x, w, b: x @ w + b,
        (draw(272, 5, 4), draw(273, 4, 3), draw(274, 3)),
        dense_bias,
        input=2,
    ),
    Case("variance: detached", ZERO, lambda x: x.var(axis=1), (draw(275, 3, 6),), lambda g, x: np.zeros_like(x)),
    Case("abs: whole-number division", ZERO, lambda x: np.abs(x).sum(axis=1), (draw(276, 3, 5),), truncated),
]
