"""The right derivative at another point: at the output, at an input before the bias, at an earlier one."""

from __future__ import annotations

import numpy as np

from .tables import Case, draw, sigmoid, softmax, uniform

WEIGHTS, BIAS = draw(141, 4, 3), draw(142, 3, shift=1.0)
INNER = draw(143, 3, 3)


def dense_tanh(x):
    return np.tanh(x @ WEIGHTS + BIAS)


def dense_tanh_backward(g, x):
    return (g * (1 - np.tanh(x @ WEIGHTS) ** 2)) @ WEIGHTS.T


def elu(x):
    return np.where(x > 0, x, 1.5 * np.expm1(np.minimum(x, 0)))


def elu_backward(g, x):
    return g * np.where(x > 0, 1.0, 1.5 * np.exp(np.minimum(elu(x), 0)))


def silu_slope(x):
    return sigmoid(x) * (1 + x * sigmoid(-x))


def softmax_of_output(g, z):
    """The Jacobian is built from softmax(h), h the output, as if h were still z."""
    p = softmax(softmax(z))
    return p * (g - (g * p).sum(axis=-1, keepdims=True))


def mish(x):
    return x * np.tanh(np.logaddexp(0, x))


def mish_slope(x):
    t = np.tanh(np.logaddexp(0, x))
    return t + x * (1 - t**2) * sigmoid(x)


def two_layers(x):
    return np.sin(np.tanh(x) @ INNER)


def two_layers_backward(g, x):
    """cos is taken of x's product, not of the hidden layer's."""
    return ((g * np.cos(x @ INNER)) @ INNER.T) * (1 - np.tanh(x) ** 2)


POINT = "derivative-at-wrong-point"
CASES = [
    Case(
        "sigmoid: h (1 - h) of the input",
        POINT,
        sigmoid,
        (draw(144, 4, 5),),
        lambda g, x: g * x * (1 - x),
        source="BoltzmannEntropy/interviews.ai#15",
    ),
    Case(
        "sigmoid: derivative of the output",
        POINT,
        sigmoid,
        (draw(145, 4, 5, scale=2.0),),
        lambda g, x: g * sigmoid(sigmoid(x)) * sigmoid(-sigmoid(x)),
        source="dwhitena/gophernet#6",
    ),
    Case("tanh: 1 - h^2 of the input", POINT, np.tanh, (draw(146, 3, 6),), lambda g, x: g * (1 - x**2)),
    Case(
        "softplus: sigmoid of the output",
        POINT,
        lambda x: np.logaddexp(0, x),
        (draw(147, 4, 3),),
        lambda g, x: g * sigmoid(np.logaddexp(0, x)),
    ),
    Case("log: 1 / output", POINT, np.log, (uniform(148, 3, 4, low=1.5, high=6),), lambda g, x: g / np.log(x)),
    Case("cube: 3 y^2", POINT, lambda x: x**3, (draw(149, 3, 4),), lambda g, x: g * 3 * (x**3) ** 2),
    Case("ELU: exp of the output", POINT, elu, (draw(150, 4, 5, shift=-0.5),), elu_backward, also=("wrong-at-some-entries",)),
    Case("linear + tanh: before the bias", POINT, dense_tanh, (draw(151, 5, 4),), dense_tanh_backward, also=("missing-factor",)),
    Case("softmax: Jacobian at the output", POINT, softmax, (draw(152, 4, 5),), softmax_of_output),
    Case(
        "SiLU: derivative of the output",
        POINT,
        lambda x: x * sigmoid(x),
        (draw(153, 4, 4, scale=1.5),),
        lambda g, x: g * silu_slope(x * sigmoid(x)),
    ),
    Case("mish: derivative of the output", POINT, mish, (draw(154, 4, 4, scale=1.5),), lambda g, x: g * mish_slope(mish(x))),
    Case("sine: cosine of the output", POINT, np.sin, (draw(155, 3, 5, scale=2.0),), lambda g, x: g * np.cos(np.sin(x))),
    Case("reciprocal: -y^2 of the input", POINT, lambda x: 1 / x, (uniform(156, 3, 4),), lambda g, x: -g * x**2),
    Case(
        "two layers: at the first layer's input",
        POINT,
        two_layers,
        (draw(157, 4, 3),),
        two_layers_backward,
        also=("missing-factor", "unknown"),
    ),
]
