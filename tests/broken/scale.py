"""Right but for a constant factor, or for a factor that differs from entry to entry."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, log_softmax, logsumexp, one_hot, root_mean_square, sigmoid, softmax, uniform

TARGETS = draw(101, 6, 4)
WEIGHTS = draw(102, 3, 5)
GAMMA = draw(103, 6, shift=0.5)
LABELS = np.array([1, 3, -1, 0, 2, -1])
KEPT = LABELS >= 0
CLASS_WEIGHTS = np.array([0.2, 1.0, 3.0, 0.5])
CLASSES = np.array([3, 0, 2, 2, 1])
POWERS = np.array([2.0, 3.0, 1.5, 0.5])


def valid_cross_entropy(z):
    """Mean over the labels that are not ignored."""
    return -(log_softmax(z) * one_hot(LABELS, 4))[KEPT].sum() / KEPT.sum()


def valid_cross_entropy_backward(g, z):
    dz = (softmax(z) - one_hot(LABELS, 4)) * KEPT[:, None]
    return g * dz / len(LABELS)


def attention_scores(q, k):
    return q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])


def average_pool(x):
    n, length = x.shape
    return x.reshape(n, length // 3, 3).mean(axis=2)


def upsample(x):
    return x.repeat(2, axis=2).repeat(2, axis=3)


def upsample_backward(g, x):
    n, c, h, w = x.shape
    return g.reshape(n, c, h, 2, w, 2).mean(axis=(3, 5))


def dense_bias_mean(g, x, w, b):
    return g @ w.T, x.T @ g, g.mean(axis=0)


def weighted_losses(z):
    return -CLASS_WEIGHTS[CLASSES] * log_softmax(z)[np.arange(5), CLASSES]


def rms_norm(x):
    return GAMMA * x / root_mean_square(x)


def rms_norm_backward(g, x):
    r = root_mean_square(x)
    return g / r - x * (g * x).mean(axis=-1, keepdims=True) / r**3


def forget_gate(pre, cell):
    """What an LSTM keeps of its cell."""
    return sigmoid(pre) * cell


def dense_relu_backward(g, x, w):
    return g @ w.T, x.T @ g


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3)))


def gelu_tanh_backward(g, x):
    """The inner derivative, 3 * 0.044715 x^2, is forgotten."""
    t = np.tanh(0.7978845608 * (x + 0.044715 * x**3))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * 0.7978845608)


def silu(x):
    return x * sigmoid(x)


def silu_no_parentheses(g, x):
    e = np.exp(-x)
    return g * (1 + e + x * e / (1 + e) ** 2)


SCALE, FACTOR = "wrong-scale", "missing-factor"
CASES = [
    Case(
        "MSE: the 2",
        SCALE,
        lambda y: ((y - TARGETS) ** 2).mean(),
        (draw(104, 6, 4),),
        lambda g, y: g * (y - TARGETS) / y.size,
        factor=0.5,
    ),
    Case(
        "MSE: divided by the batch, summed in the loss",
        SCALE,
        lambda y: ((y - TARGETS) ** 2).sum() / 2,
        (draw(105, 6, 4),),
        lambda g, y: g * (y - TARGETS) / len(y),
        factor=1 / 6,
    ),
    Case(
        "mean: 1/N", SCALE, np.mean, (draw(106, 3, 7),), lambda g, x: np.full_like(x, g), factor=21, source="kakaobrain/trident#66"
    ),
    Case(
        "linear: bias gradient averaged",
        SCALE,
        lambda x, w, b: x @ w + b,
        (draw(107, 4, 3), draw(108, 3, 5), draw(109, 5)),
        dense_bias_mean,
        input=2,
        factor=0.25,
        source="kvfrans/notes#5",
    ),
    Case(
        "attention scores: 1/sqrt(d)",
        SCALE,
        attention_scores,
        (draw(110, 2, 3, 5), draw(111, 2, 4, 5)),
        lambda g, q, k: (g @ k, g.transpose(0, 2, 1) @ q),
        factor=np.sqrt(5),
    ),
    Case(
        "logsumexp with temperature: 1/T",
        SCALE,
        lambda z: logsumexp(z / 0.7),
        (draw(112, 4, 5),),
        lambda g, z: g[:, None] * softmax(z / 0.7),
        factor=0.7,
    ),
    Case("weight penalty: twice", SCALE, lambda w: 0.005 * (w**2).sum(), (draw(113, 3, 5),), lambda g, w: g * 0.02 * w, factor=2),
    Case("average pool: 1/k", SCALE, average_pool, (draw(114, 2, 9),), lambda g, x: g.repeat(3, axis=1), factor=3),
    Case(
        "variance: n for n - 1",
        SCALE,
        lambda x: x.var(axis=1, ddof=1),
        (draw(115, 4, 6),),
        lambda g, x: 2 * g[:, None] * (x - x.mean(axis=1, keepdims=True)) / 6,
        factor=5 / 6,
    ),
    Case(
        "cross-entropy: ignored tokens counted",
        SCALE,
        valid_cross_entropy,
        (draw(116, 6, 4),),
        valid_cross_entropy_backward,
        factor=4 / 6,
    ),
    Case("upsample: mean for sum", SCALE, upsample, (draw(117, 2, 2, 3, 2),), upsample_backward, factor=0.25),
    Case(
        "multiply by a constant: the constant",
        SCALE,
        lambda x: x * 5,
        (draw(118, 3, 4),),
        lambda g, x: g.copy(),
        factor=0.2,
        source="zergtant/pytorch-handbook#69",
    ),
    Case(
        "scaled residual: the branch's 1/2",
        SCALE,
        lambda x: 0.5 * np.tanh(x @ WEIGHTS),
        (draw(119, 4, 3),),
        lambda g, x: (g * (1 - np.tanh(x @ WEIGHTS) ** 2)) @ WEIGHTS.T,
        factor=2,
    ),
    Case(
        "norm: twice",
        SCALE,
        lambda x: np.sqrt((x**2).sum()),
        (draw(120, 8),),
        lambda g, x: 2 * g * x / np.sqrt((x**2).sum()),
        factor=2,
    ),
    Case("RMS norm: gamma", FACTOR, rms_norm, (draw(121, 4, 6),), rms_norm_backward, source="karpathy/llm.c#763"),
    Case(
        "LSTM forget gate: sigma for its derivative",
        FACTOR,
        forget_gate,
        (draw(122, 4, 5), draw(123, 4, 5)),
        lambda g, pre, cell: (g * cell * sigmoid(pre), g * sigmoid(pre)),
        input=0,
        source="CaptainE/RNN-LSTM-in-numpy#1",
    ),
    Case(
        "linear + relu: relu's derivative",
        FACTOR,
        lambda x, w: np.maximum(x @ w, 0),
        (draw(124, 5, 3), draw(125, 3, 6)),
        dense_relu_backward,
    ),
    Case(
        "weighted cross-entropy: class weights",
        FACTOR,
        weighted_losses,
        (draw(126, 5, 4),),
        lambda g, z: g[:, None] * (softmax(z) - one_hot(CLASSES, 4)),
    ),
    Case(
        "square root: 2y for 1 / 2y",
        FACTOR,
        np.sqrt,
        (uniform(127, 3, 4),),
        lambda g, x: g * 2 * np.sqrt(x),
        source="tensorflow/tensorflow#22117",
    ),
    Case("power: the exponent", FACTOR, lambda x: x**POWERS, (uniform(128, 5, 4),), lambda g, x: g * x ** (POWERS - 1)),
    Case(
        "GELU: product rule's second half",
        FACTOR,
        gelu_tanh,
        (draw(129, 3, 5),),
        lambda g, x: g * 0.5 * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x**3))),
        also=("missing-accumulation", "unknown"),
    ),
    Case("GELU: inner derivative", FACTOR, gelu_tanh, (draw(130, 3, 5, scale=1.5),), gelu_tanh_backward, also=("unknown",)),
    Case(
        "SiLU: parentheses", FACTOR, silu, (draw(131, 3, 5),), silu_no_parentheses, source="chelsea0x3b/dfdx#915", also=("unknown",)
    ),
    Case("exp: nothing", FACTOR, np.exp, (draw(132, 4, 3),), lambda g, x: g.copy()),
    Case(
        "per-feature scale: left out",
        FACTOR,
        lambda x: (x * GAMMA).sum(axis=-1),
        (draw(133, 2, 3, 6),),
        lambda g, x: np.broadcast_to(g[..., None], x.shape).copy(),
    ),
    Case("softsign: the square", FACTOR, lambda x: x / (1 + np.abs(x)), (draw(134, 3, 4),), lambda g, x: g / (1 + np.abs(x))),
]
