"""Learners' layers: classes with forward and backward, a cache in self, parameters and gradients in dicts."""

from __future__ import annotations

import numpy as np

from .tables import Case, deviation, draw, log_softmax, one_hot, sigmoid, softmax, standardise


class Dense:
    """The weight gradient is divided by the batch, as if the loss had not been a mean already."""

    def __init__(self):
        self.params = {"W": draw(361, 4, 3), "b": draw(362, 3)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, g):
        self.grads = {"W": self.x.T @ g / len(g), "b": g.sum(axis=0)}
        return g @ self.params["W"].T


class SigmoidLayer:
    """A dense layer and its sigmoid; the bias gets the gradient of what comes out."""

    def __init__(self):
        self.params = {"W": draw(363, 4, 3), "b": draw(364, 3)}
        self.grads = {}

    def forward(self, x):
        self.x = x
        self.a = sigmoid(x @ self.params["W"] + self.params["b"])
        return self.a

    def backward(self, g):
        dz = g * self.a * (1 - self.a)
        self.grads = {"W": self.x.T @ dz, "b": g.sum(axis=0)}
        return dz @ self.params["W"].T


class SoftmaxLoss:
    def __init__(self, labels):
        self.targets = one_hot(labels, 4)

    def forward(self, z):
        self.h = softmax(z)
        return -(log_softmax(z) * self.targets).sum() / len(z)

    def backward(self, g):
        d = (self.h - self.targets) / len(self.h)
        return g * self.h * (d - (d * self.h).sum(axis=1, keepdims=True))


class LayerNorm:
    def __init__(self):
        self.params = {"gamma": draw(365, 5), "beta": draw(366, 5)}
        self.grads = {}

    def forward(self, x):
        self.xhat, self.sd = standardise(x), deviation(x)
        return self.xhat * self.params["gamma"] + self.params["beta"]

    def backward(self, g):
        d = g * self.params["gamma"]
        self.grads = {"gamma": g.sum(axis=0), "beta": (g * self.xhat).sum(axis=0)}
        return (d - d.mean(axis=-1, keepdims=True) - self.xhat * (d * self.xhat).mean(axis=-1, keepdims=True)) / self.sd


class BatchNorm:
    def __init__(self):
        self.params = {"gamma": draw(367, 3, shift=1.0), "beta": draw(368, 3)}
        self.grads = {}

    def forward(self, x):
        self.xhat, self.sd = standardise(x, 0), deviation(x, 0)
        return self.xhat * self.params["gamma"] + self.params["beta"]

    def backward(self, g):
        self.grads = {"gamma": (g * self.xhat).sum(axis=0), "beta": g.sum(axis=0)}
        return g * self.params["gamma"] / self.sd


class Embedding:
    def __init__(self):
        self.params = {"table": draw(369, 6, 3)}
        self.grads = {}

    def forward(self, tokens):
        self.tokens = tokens
        return self.params["table"][tokens]

    def backward(self, g):
        self.grads = {"table": np.zeros_like(self.params["table"])}
        for token, row in zip(self.tokens.ravel(), g.reshape(-1, 3), strict=True):
            self.grads["table"][token] = row


class Flatten:
    def forward(self, x):
        return x.reshape(len(x), -1)

    def backward(self, g):
        return g.reshape(len(g), -1)


class OutputGate:
    """h = o tanh(c) of an LSTM; the derivative of tanh is left out."""

    def __init__(self):
        self.o = sigmoid(draw(370, 3, 4))

    def forward(self, c):
        return self.o * np.tanh(c)

    def backward(self, g):
        return g * self.o


class ResidualBlock:
    def __init__(self):
        self.w = draw(371, 4, 4)

    def forward(self, x):
        self.h = np.maximum(x @ self.w, 0)
        return x + self.h

    def backward(self, g):
        return (g * (self.h > 0)) @ self.w.T


class Conv1D:
    """x (N, C, L) with filters (F, C, K); the input gradient takes the filter the wrong way round."""

    def __init__(self):
        self.params = {"w": draw(372, 2, 3, 3)}
        self.grads = {}

    def forward(self, x):
        self.x, w = x, self.params["w"]
        return np.stack([np.einsum("nck,fck->nf", x[:, :, i : i + 3], w) for i in range(x.shape[2] - 2)], axis=2)

    def backward(self, g):
        w, dx, dw = self.params["w"], np.zeros_like(self.x), np.zeros_like(self.params["w"])
        for i in range(g.shape[2]):
            dx[:, :, i : i + 3] += np.einsum("nf,fck->nck", g[:, :, i], w[:, :, ::-1])
            dw += np.einsum("nf,nck->fck", g[:, :, i], self.x[:, :, i : i + 3])
        self.grads = {"w": dw}
        return dx


class Softplus:
    def forward(self, x):
        self.y = np.logaddexp(0, x)
        return self.y

    def backward(self, g):
        return g * sigmoid(self.y)


class Bias:
    """The gradient of the bias keeps the batch."""

    def __init__(self):
        self.params = {"b": draw(373, 4)}
        self.grads = {}

    def forward(self, x):
        return x + self.params["b"]

    def backward(self, g):
        self.grads = {"b": g.copy()}
        return g


class MeanPool:
    def forward(self, x):
        self.shape = x.shape
        return x.mean(axis=1)

    def backward(self, g):
        return np.repeat(g[:, None, :], self.shape[1], axis=1)


CASES = [
    Case("dense layer: weights divided by the batch", "wrong-scale", Dense(), (draw(374, 5, 4),), factor=0.2),
    Case("sigmoid layer: bias without the derivative", "missing-factor", SigmoidLayer(), (draw(375, 5, 4),)),
    Case("softmax loss layer: twice", "fused-twice", SoftmaxLoss(np.array([2, 0, 3, 1, 1])), (draw(376, 5, 4),)),
    Case("layer norm layer: gamma and beta exchanged", "swapped-gradients", LayerNorm(), (draw(377, 4, 5),)),
    Case("batch norm layer: statistics held constant", "missing-batch-coupling", BatchNorm(), (draw(378, 6, 3),)),
    Case("embedding layer: repeated tokens", "missing-accumulation", Embedding(), (np.array([[1, 4, 1], [0, 1, 5]]),)),
    Case("flatten layer: stays flat", "wrong-shape", Flatten(), (draw(379, 3, 2, 2),)),
    Case("LSTM output gate: tanh'", "missing-factor", OutputGate(), (draw(380, 3, 4),)),
    Case("residual block: skip", "missing-accumulation", ResidualBlock(), (draw(381, 5, 4),)),
    Case("conv1d layer: filter turned round", "unknown", Conv1D(), (draw(382, 2, 3, 7),), also=("transposed",)),
    Case("softplus layer: sigmoid of the output", "derivative-at-wrong-point", Softplus(), (draw(383, 4, 3),)),
    Case("bias layer: batch not summed", "missing-broadcast-sum", Bias(), (draw(384, 5, 4),)),
    Case("mean over time: 1/T", "wrong-scale", MeanPool(), (draw(385, 2, 5, 3),), factor=5),
]
