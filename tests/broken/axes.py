"""Wrong axes: coupled along another one, not summed over a broadcast one, samples mixed or kept apart, shapes that do not fit."""

from __future__ import annotations

import numpy as np

from .tables import Case, deviation, draw, length, logsumexp, one_hot, sigmoid, softmax, standardise

WEIGHTS = draw(161, 4, 3)
LABELS = np.array([0, 2, 1, 2])


def softmax_backward(g, h, axis):
    return h * (g - (g * h).sum(axis=axis, keepdims=True))


def norm_backward(g, x, axis, eps=1e-5):
    xhat = standardise(x, axis)
    return (g - g.mean(axis=axis, keepdims=True) - xhat * (g * xhat).mean(axis=axis, keepdims=True)) / deviation(x, axis, eps)


def layer_norm_block(g, x):
    """The sums of the backward run over the block of all rows."""
    xhat = standardise(x)
    return (g - g.mean() - xhat * (g * xhat).mean()) / deviation(x)


def unit_rows(x):
    return x / length(x)


def unit_backward(g, x, axis):
    y = unit_rows(x)
    return (g - y * (g * y).sum(axis=axis)) / length(x)


def reverse_cumsum(g, axis):
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


def dense(x, w, b):
    return x @ w + b


def scale_channels(x, gamma):
    return x * gamma[None, :, None, None]


def relu_layer(x):
    return np.maximum(x @ WEIGHTS, 0)


def relu_layer_backward(g, x):
    dz = g * (x @ WEIGHTS > 0)
    return np.broadcast_to(dz.mean(axis=0) @ WEIGHTS.T, x.shape).copy()


def conv_valid(x, k):
    return np.stack([np.convolve(row, k[::-1], mode="valid") for row in x])


def conv_valid_backward(g, x, k):
    dx = np.stack([np.convolve(row, k) for row in g])
    return dx, sum(np.convolve(row, v[::-1], mode="valid") for row, v in zip(x, g, strict=True))[:, None]


def padded(x):
    return np.pad(x, ((0, 0), (2, 1)))


AXIS, SUM, APART, MIXED, SHAPE = (
    "wrong-axis",
    "missing-broadcast-sum",
    "missing-batch-coupling",
    "spurious-batch-coupling",
    "wrong-shape",
)
CASES = [
    Case(
        "softmax: inner product down the columns",
        AXIS,
        softmax,
        (draw(162, 4, 5),),
        lambda g, z: softmax_backward(g, softmax(z), 0),
    ),
    Case(
        "softmax over channels: inner product over the last axis",
        AXIS,
        lambda z: softmax(z, 1),
        (draw(163, 2, 3, 4),),
        lambda g, z: softmax_backward(g, softmax(z, 1), -1),
    ),
    Case("sum over columns: spread over rows", AXIS, lambda x: x.sum(axis=1), (draw(164, 4, 4),), lambda g, x: np.tile(g, (4, 1))),
    Case("logsumexp: softmax over the other axis", AXIS, logsumexp, (draw(165, 4, 5),), lambda g, z: g[:, None] * softmax(z, 0)),
    Case("layer norm: means over the batch", AXIS, standardise, (draw(166, 5, 4),), lambda g, x: norm_backward(g, x, 0)),
    Case(
        "cumsum: reversed along the other axis",
        AXIS,
        lambda x: np.cumsum(x, axis=1),
        (draw(167, 3, 5),),
        lambda g, x: reverse_cumsum(g, 0),
    ),
    Case("L2 normalise: inner product down the columns", AXIS, unit_rows, (draw(168, 4, 5),), lambda g, x: unit_backward(g, x, 0)),
    Case(
        "roll: along the other axis",
        AXIS,
        lambda x: np.roll(x, 1, axis=2),
        (draw(169, 2, 3, 4),),
        lambda g, x: np.roll(g, -1, axis=1),
    ),
    Case(
        "add: row",
        SUM,
        lambda x, r: x + r,
        (draw(170, 3, 4), draw(171, 1, 4)),
        lambda g, x, r: (g.copy(), g.copy()),
        input=1,
        source="deeplearning4j/nd4j#2424",
    ),
    Case(
        "linear: bias",
        SUM,
        dense,
        (draw(172, 5, 4), draw(173, 4, 3), draw(174, 3)),
        lambda g, x, w, b: (g @ w.T, x.T @ g, g.copy()),
        input=2,
        source="jimfleming/differentiation#1",
    ),
    Case(
        "multiply: mask over heads",
        SUM,
        lambda x, m: x * m,
        (draw(175, 2, 1, 3, 4), draw(176, 2, 1, 3, 1)),
        lambda g, x, m: (g * m, g * x),
        input=1,
        source="tenstorrent/tt-metal#40008",
    ),
    Case(
        "temperature: a number", SUM, lambda x, s: x * s, (draw(177, 3, 5), np.array(0.7)), lambda g, x, s: (g * s, g * x), input=1
    ),
    Case(
        "positional embedding: only the first sequence",
        SUM,
        lambda x, p: x + p,
        (draw(178, 3, 4, 2), draw(179, 4, 2)),
        lambda g, x, p: (g.copy(), g[0].copy()),
        input=1,
    ),
    Case(
        "scale of channels: last image only",
        SUM,
        scale_channels,
        (draw(180, 2, 3, 2, 2), draw(181, 3)),
        lambda g, x, c: (g * c[None, :, None, None], (g * x)[-1].sum(axis=(1, 2))),
        input=1,
    ),
    Case(
        "linear: bias of a sequence, summed over the batch only",
        SUM,
        dense,
        (draw(182, 2, 5, 4), draw(183, 4, 3), draw(184, 3)),
        lambda g, x, w, b: (g @ w.T, np.einsum("nti,nto->io", x, g), g.sum(axis=0)),
        input=2,
    ),
    Case(
        "subtract: column",
        SUM,
        lambda x, c: x - c,
        (draw(185, 4, 3), draw(186, 4, 1)),
        lambda g, x, c: (g.copy(), -g),
        input=1,
        source="apache/tvm#2465",
    ),
    Case(
        "batch norm: statistics held constant",
        APART,
        lambda x: standardise(x, 0),
        (draw(187, 6, 3),),
        lambda g, x: g / deviation(x, 0),
    ),
    Case(
        "batch norm of images: statistics held constant",
        APART,
        lambda x: standardise(x, (0, 2, 3)),
        (draw(188, 3, 2, 2, 2),),
        lambda g, x: g / deviation(x, (0, 2, 3)),
    ),
    Case(
        "batch norm of images: each image's own sums",
        APART,
        lambda x: standardise(x, (0, 2, 3)),
        (draw(189, 3, 2, 2, 3),),
        lambda g, x: norm_backward(g, x, (2, 3)) * deviation(x, (2, 3)) / deviation(x, (0, 2, 3)),
    ),
    Case(
        "centring of features: mean held constant", APART, lambda x: x - x.mean(axis=0), (draw(190, 5, 3),), lambda g, x: g.copy()
    ),
    Case("feature length: held constant", APART, lambda x: x / length(x, 0), (draw(191, 5, 3),), lambda g, x: g / length(x, 0)),
    Case(
        "softmax: inner product over everything",
        MIXED,
        softmax,
        (draw(192, 4, 5),),
        lambda g, z: softmax(z) * (g - (g * softmax(z)).sum()),
        also=("wrong-axis",),
    ),
    Case(
        "layer norm: sums over the block",
        MIXED,
        standardise,
        (draw(193, 4, 6),),
        layer_norm_block,
        source="flagos-ai/FlagGems#59",
        also=("wrong-axis",),
    ),
    Case("linear + relu: gradient averaged over the batch", MIXED, relu_layer, (draw(194, 5, 4),), relu_layer_backward),
    Case(
        "sigmoid: batch mean of the gradient",
        MIXED,
        sigmoid,
        (draw(195, 4, 3),),
        lambda g, x: g.mean(axis=0) * sigmoid(x) * sigmoid(-x),
    ),
    Case(
        "L2 normalise: inner product over everything",
        MIXED,
        unit_rows,
        (draw(196, 4, 5),),
        lambda g, x: unit_backward(g, x, None),
        also=("wrong-axis",),
    ),
    Case(
        "cross-entropy: every sample times the sum of g",
        MIXED,
        lambda z: logsumexp(z) - z[np.arange(4), LABELS],
        (draw(197, 4, 3),),
        lambda g, z: g.sum() * (softmax(z) - one_hot(LABELS, 3)),
    ),
    Case(
        "linear: weight gradient transposed",
        SHAPE,
        lambda x, w: x @ w,
        (draw(198, 5, 4), draw(199, 4, 3)),
        lambda g, x, w: (g @ w.T, g.T @ x),
        input=1,
    ),
    Case("flatten: gradient stays flat", SHAPE, lambda x: x.reshape(len(x), -1), (draw(200, 3, 2, 4),), lambda g, x: g.copy()),
    Case("mean over rows: not spread", SHAPE, lambda x: x.mean(axis=1), (draw(201, 4, 3),), lambda g, x: g / 3),
    Case("pad: gradient keeps the padding", SHAPE, padded, (draw(202, 3, 4),), lambda g, x: g.copy()),
    Case(
        "conv1d: filter gradient has an axis too many",
        SHAPE,
        conv_valid,
        (draw(203, 3, 8), draw(204, 3)),
        conv_valid_backward,
        input=1,
    ),
    Case(
        "mean over an axis: tiled",
        SHAPE,
        lambda x: x.mean(axis=1, keepdims=True),
        (draw(205, 2, 3),),
        lambda g, x: np.tile(g, (1, 9)) / 3,
        source="facebookresearch/shumai#74",
    ),
]
