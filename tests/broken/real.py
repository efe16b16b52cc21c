"""Mistakes from public threads, each with its thread; the formulas are written anew."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, log_softmax, one_hot, sigmoid, softmax, uniform

SAMPLES, TARGETS = draw(301, 6, 4), draw(302, 6, 3)
LABELS = np.array([2, 0, 5, 1, 2])
TRUTHS = one_hot(np.array([1, 0, 2, 1, 3]), 4)
KEEP = np.random.default_rng(303).random((5, 4)) >= 0.4
BITS = (draw(304, 4, 3) > 0).astype(float)
SPARSE = np.where(np.random.default_rng(305).random((4, 5)) < 0.3, 0.0, draw(306, 4, 5))
KALDI = np.where(SPARSE == 0, 0.0, (np.random.default_rng(307).random((4, 5)) < 0.7) / 0.7)


def regressor(w0, b0, w1, b1):
    """The loss is a mean over samples and outputs, halved."""
    prediction = np.maximum(SAMPLES @ w0 + b0, 0) @ w1 + b1
    return ((prediction - TARGETS) ** 2).mean() / 2


def regressor_backward(g, w0, b0, w1, b1):
    """Divided by the number of samples only."""
    hidden = np.maximum(SAMPLES @ w0 + b0, 0)
    delta = hidden @ w1 + b1 - TARGETS
    below = (delta @ w1.T) * (hidden > 0)
    n = len(SAMPLES)
    return g * (SAMPLES.T @ below) / n, g * below.mean(axis=0), g * (hidden.T @ delta) / n, g * delta.mean(axis=0)


def dropout_dense(x, w):
    """A dropout wrapper around a dense layer: masks its input, scales its output."""
    return ((x * KEEP) @ w) / 0.6


def dropout_dense_backward(g, x, w):
    g = g * (1.0 / 0.6)
    return g @ w.T, (x * KEEP).T @ g


def dropout_dense_in_place(g, x, w):
    g *= 1.0 / 0.6
    return g @ w.T, (x * KEEP).T @ g


def reported_loss(guesses):
    """The sum of squares of the gradient stands for the loss."""
    return (((guesses - TRUTHS) / len(guesses)) ** 2).sum()


def probabilities_loss(guesses):
    return -(TRUTHS * np.log(guesses)).sum() / len(guesses)


def token_losses(x, w, labels):
    return -log_softmax(x @ w.T)[np.arange(len(labels)), labels]


def first_upstream(g, x, w, labels):
    """Gradients were made in the forward; the backward scales all of them with the first token's upstream."""
    dz = softmax(x @ w.T) - one_hot(labels, len(w))
    return dz @ w * g[0], dz.T @ x * g[0], None


def repeated(x):
    return x[[0, 0]]


def repeated_backward(g, x):
    dx = np.zeros_like(x)
    dx[[0, 0]] += g
    return dx


def binary(z):
    return ((np.logaddexp(0, z) - BITS * z).mean(axis=1)).sum()


def softmax_regression(z, b):
    return -(log_softmax(z + b) * TRUTHS).sum()


def cumulative_product_backward(g, x):
    """0/0 is replaced by 0."""
    y = np.cumprod(x)
    safe = np.where(x == 0, 1, x)
    return np.where(x == 0, 0.0, np.cumsum((g * y)[::-1])[::-1] / safe)


def layer_norm(x, gamma):
    return gamma * (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)


def layer_norm_backward(g, x, gamma):
    """The gradient of gamma is summed in blocks of four rows; the last, shorter block is left out."""
    sd = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    xhat, d = (x - x.mean(axis=-1, keepdims=True)) / sd, g * gamma
    dx = (d - d.mean(axis=-1, keepdims=True) - xhat * (d * xhat).mean(axis=-1, keepdims=True)) / sd
    whole = len(x) // 4 * 4
    return dx, (g * xhat)[:whole].sum(axis=0)


def pooled(x):
    """Average over windows of three; the last hangs over the end and is divided by what it holds."""
    return np.stack([x[:, i : i + 3].mean(axis=1) for i in range(0, x.shape[1], 3)], axis=1)


def pooled_backward(g, x):
    return g.repeat(3, axis=1)[:, : x.shape[1]] / 3


def kaldi_backward(g, x):
    y = x * KALDI
    return np.where(x == 0, g, y / np.where(x == 0, 1, x) * g)


CASES = [
    Case(
        "MLP regressor: mean over outputs",
        "wrong-scale",
        regressor,
        (draw(308, 4, 5), draw(309, 5), draw(310, 5, 3), draw(311, 3)),
        regressor_backward,
        factor=3,
        source="scikit-learn/scikit-learn#8349",
    ),
    Case(
        "dropout around a dense layer: mask",
        "missing-factor",
        dropout_dense,
        (draw(312, 5, 4), draw(313, 4, 3)),
        dropout_dense_backward,
        input=0,
        source="ddbourgin/numpy-ml#94",
        also=("wrong-at-some-entries",),
    ),
    Case(
        "dropout around a dense layer: mask, and upstream scaled in place",
        "missing-factor",
        dropout_dense,
        (draw(314, 5, 4), draw(315, 4, 3)),
        dropout_dense_in_place,
        source="ddbourgin/numpy-ml#94",
        also=("input-mutated", "wrong-at-some-entries"),
    ),
    Case(
        "cross-entropy as thinc reports it: gradient of another loss",
        "wrong-scale",
        reported_loss,
        (softmax(draw(316, 5, 4)),),
        lambda g, p: g * (p - TRUTHS) / len(p),
        factor=2.5,
        source="explosion/thinc#647",
    ),
    Case(
        "cross-entropy of probabilities: h - t",
        "fused-twice",
        probabilities_loss,
        (softmax(draw(317, 5, 4)),),
        lambda g, p: g * (p - TRUTHS) / len(p),
        source="explosion/thinc#901",
    ),
    Case(
        "linear + cross-entropy of each token: all times g[0]",
        "spurious-batch-coupling",
        token_losses,
        (draw(318, 5, 4), draw(319, 6, 4), LABELS),
        first_upstream,
        source="linkedin/Liger-Kernel#1298",
        also=("unknown",),
    ),
    Case(
        "take: the same index twice",
        "missing-accumulation",
        repeated,
        (draw(320, 3),),
        repeated_backward,
        source="HIPS/autograd#39",
    ),
    Case(
        "mean along an axis: all entries counted",
        "wrong-scale",
        lambda x: x.mean(axis=1),
        (draw(321, 3, 5),),
        lambda g, x: np.broadcast_to(g[:, None], x.shape) / x.size,
        factor=1 / 3,
        source="tensorflow/swift#23033",
    ),
    Case(
        "squared difference: the operands",
        "upstream-ignored",
        lambda x, y: (x - y) ** 2,
        (draw(322, 3, 4), draw(323, 3, 4)),
        lambda g, x, y: (x.copy(), y.copy()),
        source="SciSharp/TensorFlow.NET#787",
    ),
    Case(
        "x x x / 10: one path",
        "missing-accumulation",
        lambda x: 0.1 * x * x * x,
        (uniform(324, 4),),
        lambda g, x: g * 0.1 * x * x,
        source="SciSharp/TensorFlow.NET#303",
        also=("wrong-scale",),
    ),
    Case(
        "subtract: second operand",
        "sign-flipped",
        lambda a, b: a - b,
        (draw(325, 4), draw(326, 4)),
        lambda g, a, b: (g.copy(), g.copy()),
        input=1,
        source="KhawajaAbaid/micrograd_c#1",
    ),
    Case(
        "sigmoid: of the upstream",
        "not-linear-in-upstream",
        sigmoid,
        (draw(327, 4, 3),),
        lambda g, x: sigmoid(x) * (1 - sigmoid(g)),
        source="yizt/numpy_neural_network#3",
    ),
    Case(
        "BCE: mean over outputs",
        "wrong-scale",
        binary,
        (draw(328, 4, 3),),
        lambda g, z: g * (sigmoid(z) - BITS),
        factor=3,
        source="oysteijo/simd_neuralnet#1",
    ),
    Case(
        "softmax regression: one number for the bias",
        "wrong-shape",
        softmax_regression,
        (draw(329, 5, 4), draw(330, 4)),
        lambda g, z, b: (g * (softmax(z + b) - TRUTHS), (g * (softmax(z + b) - TRUTHS)).sum()),
        input=1,
        source="rasbt/stat453-deep-learning-ss21#5",
        also=("missing-broadcast-sum",),
    ),
    Case(
        "cumprod: zeros give zeros",
        "wrong-at-some-entries",
        np.cumprod,
        (np.array([2.0, 0.5, 0.0, 2.0, 3.0]),),
        cumulative_product_backward,
        source="tracel-ai/burn#5141",
    ),
    Case(
        "layer norm: last block of rows",
        "missing-accumulation",
        layer_norm,
        (draw(331, 6, 4), draw(332, 4)),
        layer_norm_backward,
        input=1,
        source="BobMcDear/attorch#18",
        also=("missing-broadcast-sum", "unknown"),
    ),
    Case(
        "average pool: overhanging window",
        "wrong-at-some-entries",
        pooled,
        (draw(333, 3, 8),),
        pooled_backward,
        source="tracel-ai/burn#5604",
    ),
    Case(
        "dropout: passes where a zero was dropped",
        "wrong-at-some-entries",
        lambda x: x * KALDI,
        (SPARSE,),
        kaldi_backward,
        source="kaldi-asr/kaldi#3890",
    ),
]
