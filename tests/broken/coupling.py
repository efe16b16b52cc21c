"""Wrong where the outputs are coupled: only the diagonal, a statistic held constant, J for its transpose, J summed."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, length, log_softmax, mean, root_mean_square, softmax, standardise, total, uniform

CAUSAL = np.where(np.tril(np.ones((4, 4))) > 0, 0.0, -np.inf)
TAPS = np.array([0.1, -0.7, 1.3, 0.4, 0.9])
MIX = draw(1, 4, 4)
ORDER = np.array([3, 0, 5, 1, 4, 2])
GRAPH = np.array([[0, 1, 0, 0, 1], [0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 1, 1, 0, 0]]) / 2


def masked_softmax(scores):
    return softmax(scores + CAUSAL)


def masked_softmax_backward(g, scores):
    weights = masked_softmax(scores)
    return g * weights * (1 - weights)


def stick_breaking(v):
    """y_i = v_i times what the earlier breaks left of the stick."""
    left = np.cumprod(np.concatenate([np.ones_like(v[:, :1]), 1 - v[:, :-1]], axis=1), axis=1)
    return v * left


def stick_breaking_backward(g, v):
    return g * stick_breaking(v) / v


def running_mean(x):
    return np.cumsum(x, axis=1) / np.arange(1, x.shape[1] + 1)


def smooth(x):
    """A filter of odd length along each row, zeros outside."""
    return np.stack([np.convolve(row, TAPS, mode="same") for row in x])


def min_max(x):
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    return (x - low) / (high - low)


def instance_norm(x):
    return standardise(x, axis=(2, 3))


def instance_norm_backward(g, x):
    """The path through the mean is there, the one through the variance is not."""
    spread = np.sqrt(x.var(axis=(2, 3), keepdims=True) + 1e-5)
    return (g - g.mean(axis=(2, 3), keepdims=True)) / spread


def cosine(u, v):
    return (u * v).sum(axis=-1) / (length(u) * length(v))[:, 0]


def cosine_backward(g, u, v):
    both = length(u) * length(v)
    slope = cosine(u, v)[:, None]
    return g[:, None] * v / both, g[:, None] * (u / both - slope * v / length(v) ** 2)


def inverse_backward(g, a):
    inverse = np.linalg.inv(a)
    return -inverse @ g @ inverse


def moving_average(x):
    return np.stack([np.convolve(row, np.ones(3) / 3, mode="same") for row in x])


def moving_average_backward(g, x):
    touched = np.full(x.shape[1], 3)
    touched[[0, -1]] = 2
    return g * touched / 3


def log_softmax_jacobians(z):
    return np.eye(z.shape[1]) - softmax(z)[:, None, :]


def unit_jacobians(x):
    y, n = x / length(x), length(x)[..., None]
    return (np.eye(x.shape[1]) - y[:, :, None] * y[:, None, :]) / n


def rms_jacobians(x):
    r = root_mean_square(x)[..., None]
    return np.eye(x.shape[1]) / r - x[:, :, None] * x[:, None, :] / (x.shape[1] * r**3)


CROSS = "missing-cross-terms"
STATISTIC = "missing-normalizer-term"
CASES = [
    Case(
        "softmax: diagonal only",
        CROSS,
        softmax,
        (draw(2, 4, 5),),
        lambda g, z: g * softmax(z) * (1 - softmax(z)),
        source="deeplearning4j/libnd4j#440",
    ),
    Case("softmax: diagonal only, one sample", CROSS, softmax, (draw(3, 7),), lambda g, z: g * softmax(z) * (1 - softmax(z))),
    Case(
        "softmax with temperature: diagonal only",
        CROSS,
        lambda z: softmax(z / 0.6),
        (draw(4, 3, 6),),
        lambda g, z: g * softmax(z / 0.6) * (1 - softmax(z / 0.6)) / 0.6,
    ),
    Case("log-softmax: diagonal only", CROSS, log_softmax, (draw(5, 5, 4),), lambda g, z: g * (1 - softmax(z))),
    Case("masked softmax: diagonal only", CROSS, masked_softmax, (draw(6, 2, 2, 4, 4),), masked_softmax_backward),
    Case(
        "RMS norm: diagonal only",
        CROSS,
        lambda x: x / root_mean_square(x),
        (draw(7, 3, 6),),
        lambda g, x: g * (1 / root_mean_square(x) - x**2 / (x.shape[1] * root_mean_square(x) ** 3)),
    ),
    Case("stick breaking: own break only", CROSS, stick_breaking, (uniform(8, 3, 5, low=0.2, high=0.8),), stick_breaking_backward),
    Case(
        "running mean: own term only",
        CROSS,
        running_mean,
        (draw(9, 3, 6),),
        lambda g, x: g / np.arange(1, x.shape[1] + 1),
        also=("missing-accumulation",),
    ),
    Case(
        "softmax: no inner product",
        STATISTIC,
        softmax,
        (draw(10, 4, 6),),
        lambda g, z: softmax(z) * g,
        source="HomericIntelligence/Odyssey#2134",
    ),
    Case(
        "layer norm: mean and variance held constant",
        STATISTIC,
        standardise,
        (draw(11, 4, 6),),
        lambda g, x: g / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5),
    ),
    Case("instance norm: variance held constant", STATISTIC, instance_norm, (draw(12, 2, 3, 2, 3),), instance_norm_backward),
    Case(
        "L2 normalise: length held constant",
        STATISTIC,
        lambda x: x / length(x),
        (draw(13, 3, 5),),
        lambda g, x: g / length(x),
        source="wy1iu/sphereface#24",
    ),
    Case("shares: row sum held constant", STATISTIC, lambda x: x / total(x), (uniform(14, 4, 5),), lambda g, x: g / total(x)),
    Case("centring of each row: mean forgotten", STATISTIC, lambda x: x - mean(x), (draw(15, 5, 4),), lambda g, x: g),
    Case(
        "cosine similarity: first length held constant",
        STATISTIC,
        cosine,
        (draw(16, 4, 5), draw(17, 4, 5)),
        cosine_backward,
        input=0,
    ),
    Case(
        "min-max scaling: minimum and range held constant",
        STATISTIC,
        min_max,
        (draw(18, 3, 6),),
        lambda g, x: g / np.ptp(x, axis=1, keepdims=True),
    ),
    Case("linear: W for its transpose", "transposed", lambda x: x @ MIX.T, (draw(19, 6, 4),), lambda g, x: g @ MIX.T),
    Case(
        "matmul: B for its transpose",
        "transposed",
        lambda a, b: a @ b,
        (draw(20, 3, 5), draw(21, 5, 5)),
        lambda g, a, b: (g @ b, a.T @ g),
        input=0,
    ),
    Case(
        "linear: weight gradient transposed",
        "transposed",
        lambda x, w: x @ w,
        (draw(22, 6, 4), draw(23, 4, 4)),
        lambda g, x, w: (g @ w.T, g.T @ x),
        input=1,
    ),
    Case("conv1d: filter not flipped", "transposed", smooth, (draw(24, 3, 9),), lambda g, x: smooth(g)),
    Case("matrix inverse: transposes forgotten", "transposed", np.linalg.inv, (draw(25, 3, 3) + 3 * np.eye(3),), inverse_backward),
    Case("take: the permutation for its inverse", "transposed", lambda x: x[:, ORDER], (draw(26, 3, 6),), lambda g, x: g[:, ORDER]),
    Case(
        "graph convolution: directed edges run forward",
        "transposed",
        lambda x: GRAPH @ x,
        (draw(27, 5, 3),),
        lambda g, x: GRAPH @ g,
    ),
    Case(
        "log-softmax: Jacobian summed, then times g",
        "rows-summed",
        log_softmax,
        (draw(28, 4, 5),),
        lambda g, z: g * log_softmax_jacobians(z).sum(axis=1),
    ),
    Case(
        "L2 normalise: Jacobian summed, then times g",
        "rows-summed",
        lambda x: x / length(x),
        (draw(29, 3, 5),),
        lambda g, x: g * unit_jacobians(x).sum(axis=1),
    ),
    Case(
        "RMS norm: Jacobian summed, upstream unused",
        "rows-summed",
        lambda x: x / root_mean_square(x, eps=0),
        (draw(30, 3, 5),),
        lambda g, x: np.sum(rms_jacobians(x), axis=1),
        also=("upstream-ignored",),
    ),
    Case(
        "linear: weights summed",
        "rows-summed",
        lambda x: x @ MIX.T[:, :3],
        (draw(31, 5, 4),),
        lambda g, x: np.tile(MIX.T[:, :3].sum(axis=1), (len(x), 1)),
        also=("upstream-ignored",),
    ),
    Case(
        "moving average: windows counted, then times g", "rows-summed", moving_average, (draw(32, 3, 7),), moving_average_backward
    ),
]
