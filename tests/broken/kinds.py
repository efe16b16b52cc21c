"""Precision and kind of the gradient; kinks and rounding, which are no bugs; and what no other cause explains."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, root_mean_square, sigmoid, softmax, standardise

HALF, SINGLE = np.float16, np.float32
FEEDBACK = draw(281, 3, 4)
WEIGHTS = draw(282, 4, 3)
FIRST, SECOND = draw(283, 5, 5), draw(284, 5, 5)
TARGETS = np.array([[0.5, 1.0, -0.3], [2.0, 0.0, 1.0]])
BAND = np.array([0.3, 1.0, -0.5])


def spectrum(x):
    """A low-pass filter through the Fourier transform."""
    return np.fft.ifft(np.fft.fft(x, axis=1) * (np.abs(np.fft.fftfreq(x.shape[1])) < 0.3), axis=1).real


def spectrum_backward(g, x):
    return np.fft.ifft(np.fft.fft(g, axis=1) * (np.abs(np.fft.fftfreq(x.shape[1])) < 0.3), axis=1)


def take(x):
    return x[[2, 0, 2]]


def take_backward(g, x):
    dx = np.zeros(x.shape, dtype=int)
    np.add.at(dx, [2, 0, 2], g.astype(int))
    return dx


def softmax_backward(g, z):
    h = softmax(z)
    return h * (g - (g * h).sum(axis=-1, keepdims=True))


def softmax_half(g, z):
    return softmax_backward(g, z).astype(HALF)


def norm_backward(g, x):
    xhat = standardise(x)
    sd = np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(1e-5))
    return (g - g.mean(axis=-1, keepdims=True) - xhat * (g * xhat).mean(axis=-1, keepdims=True)) / sd


def max_shared(g, x):
    top = x == x.max(axis=1, keepdims=True)
    return g[:, None] * top / top.sum(axis=1, keepdims=True)


def two_layers(x):
    return np.tanh(x @ FIRST) @ SECOND


def two_layers_backward(g, x):
    """The two weights are confused."""
    return ((g @ FIRST.T) * (1 - np.tanh(x @ FIRST) ** 2)) @ SECOND.T


def strided_conv(x):
    return np.stack([x[:, 2 * i : 2 * i + 3] @ BAND for i in range((x.shape[1] - 1) // 2)], axis=1)


def strided_conv_backward(g, x):
    """The window starts at i where it should start at i times the stride."""
    dx = np.zeros_like(x)
    for i in range(g.shape[1]):
        dx[:, i : i + 3] += g[:, i, None] * BAND
    return dx


def interpolate(x):
    """To nine points, the ends held."""
    at = np.linspace(0, x.shape[1] - 1, 9)
    return np.stack([np.interp(at, np.arange(x.shape[1]), row) for row in x])


def interpolate_backward(g, x):
    """The step is in / out, where it should be (in - 1) / (out - 1)."""
    dx = np.zeros_like(x)
    for j in range(9):
        at = j * x.shape[1] / 9
        low = min(int(at), x.shape[1] - 2)
        dx[:, low] += g[:, j] * (1 - (at - low))
        dx[:, low + 1] += g[:, j] * (at - low)
    return dx


CAUSAL = np.where(np.tril(np.ones((4, 4))) > 0, 0.0, -np.inf)
KEYS, VALUES = draw(285, 4, 3), draw(286, 4, 2)


def causal_attention(q):
    return softmax(q @ KEYS.T + CAUSAL) @ VALUES


def causal_attention_backward(g, q):
    """Recomputes the weights without the mask."""
    p = softmax(q @ KEYS.T)
    dp = g @ VALUES.T
    return (p * (dp - (dp * p).sum(axis=1, keepdims=True))) @ KEYS


DTYPE, KINK, ROUNDING, NONE = "wrong-dtype", "kink", "precision", "unknown"
ZEROS = np.array([[0.0, 1.2, -0.7, 0.0], [2.0, 0.0, -1.5, 0.3]])
TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, 0.5, 2.0]])
CASES = [
    Case(
        "sigmoid: float32 from float64",
        DTYPE,
        sigmoid,
        (draw(287, 3, 4),),
        lambda g, x: (g * sigmoid(x) * sigmoid(-x)).astype(SINGLE),
    ),
    Case("softmax: float16 from float32", DTYPE, softmax, (draw(288, 3, 5, dtype=SINGLE),), softmax_half),
    Case("take: a buffer of whole numbers", DTYPE, take, (draw(289, 4, 3, scale=3.0),), take_backward),
    Case("low-pass filter: complex", DTYPE, spectrum, (draw(290, 3, 8),), spectrum_backward),
    Case(
        "matmul: weight gradient in float32",
        DTYPE,
        lambda x, w: x @ w,
        (draw(291, 5, 4), draw(292, 4, 3)),
        lambda g, x, w: (g @ w.T, (x.T @ g).astype(SINGLE)),
        input=1,
    ),
    Case("relu: 0 at zero", KINK, lambda x: np.maximum(x, 0), (ZEROS,), lambda g, x: g * (x > 0)),
    Case("relu: 1 at zero", KINK, lambda x: np.maximum(x, 0), (ZEROS,), lambda g, x: g * (x >= 0)),
    Case("abs: 1 at zero", KINK, np.abs, (ZEROS,), lambda g, x: g * np.where(x >= 0, 1, -1), source="KhawajaAbaid/micrograd_c#4"),
    Case("max: shared among ties", KINK, lambda x: x.max(axis=1), (TIES,), max_shared),
    Case(
        "total variation: -1/2 where equal",
        KINK,
        lambda x: 0.5 * np.abs(x - TARGETS).sum(),
        (TARGETS + [[0, 0.4, -1.0], [0.2, 0, 0]],),
        lambda g, x: g * np.where(x > TARGETS, 0.5, -0.5),
        source="linkedin/Liger-Kernel#1373",
    ),
    Case(
        "hinge: at the margin", KINK, lambda x: np.maximum(0, 1 - x), (np.array([1.0, 0.3, 2.0, 1.0]),), lambda g, x: -g * (x < 1)
    ),
    Case(
        "clip: at its bound",
        KINK,
        lambda x: np.clip(x, -1, 1),
        (np.array([[1.0, 0.2], [-1.0, 3.0]]),),
        lambda g, x: g * (np.abs(x) <= 1),
    ),
    Case(
        "tanh: 1 - h^2 in float32 far out",
        ROUNDING,
        np.tanh,
        (np.array([5.5, -6.0, 6.3, 5.8], SINGLE),),
        lambda g, x: g * (1 - np.tanh(x) ** 2),
    ),
    Case("softmax: float16", ROUNDING, softmax, (draw(293, 4, 6, dtype=HALF),), softmax_backward),
    Case(
        "layer norm: float32 with a large mean",
        ROUNDING,
        lambda x: standardise(x, eps=SINGLE(1e-5)),
        (draw(294, 3, 6, shift=3000.0, dtype=SINGLE),),
        norm_backward,
    ),
    Case(
        "sigmoid: h (1 - h) in float32 far out",
        ROUNDING,
        sigmoid,
        (np.array([9.0, 10.5, 11.2, 8.7], SINGLE),),
        lambda g, x: g * sigmoid(x) * (1 - sigmoid(x)),
    ),
    Case(
        "linear: random feedback weights",
        NONE,
        lambda x: x @ WEIGHTS,
        (draw(295, 6, 4),),
        lambda g, x: g @ FEEDBACK,
        source="feedback alignment",
    ),
    Case("two layers: their weights confused", NONE, two_layers, (draw(296, 4, 5),), two_layers_backward),
    Case(
        "conv1d: stride forgotten",
        NONE,
        strided_conv,
        (draw(297, 3, 9),),
        strided_conv_backward,
        source="Kulbear/deep-learning-coursera#34",
    ),
    Case(
        "interpolation: another grid", NONE, interpolate, (draw(298, 3, 5),), interpolate_backward, source="flagos-ai/FlagGems#5218"
    ),
    Case(
        "attention: mask forgotten",
        NONE,
        causal_attention,
        (draw(299, 4, 3),),
        causal_attention_backward,
        source="triton-lang/triton#4541, the other way round",
    ),
    Case(
        "RMS norm: mean subtracted as in layer norm",
        "missing-normalizer-term",
        lambda x: x / root_mean_square(x),
        (draw(300, 4, 5),),
        lambda g, x: (
            (g - g.mean(axis=-1, keepdims=True)) / root_mean_square(x)
            - x * (g * x).mean(axis=-1, keepdims=True) / root_mean_square(x) ** 3
        ),
        also=(NONE,),
    ),
]
