"""autograd Functions and modules with wrong gradients."""

from __future__ import annotations

import torch
from torch.nn import functional

from .tables import Case, draw


def tensor(seed, *shape, **options):
    return torch.from_numpy(draw(seed, *shape, **options))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return s * (1 + x * (1 - s))


class LogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        y = torch.log_softmax(z, -1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g - y.exp() * g.mean(-1, keepdim=True)


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, g):
        a, b = ctx.saved_tensors
        return g * a, g * b


class Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(-0.5, 0.5)

    @staticmethod
    def backward(ctx, g):
        return g


class InPlaceReLU(torch.autograd.Function):
    """Writes into its input, and does not say so."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x > 0)
        x.clamp_(min=0)
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        (positive,) = ctx.saved_tensors
        return g * positive


class Sinh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = torch.sinh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * torch.cosh(y)


class Projection(torch.autograd.Function):
    """x W^T with a square W."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w.T

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ w.T, g.T @ x


class RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        r = (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
        ctx.save_for_backward(r)
        return x / r

    @staticmethod
    def backward(ctx, g):
        (r,) = ctx.saved_tensors
        return g / r


class Highway(torch.nn.Module):
    """The gate is computed from x.data."""

    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(4, 4, dtype=torch.float64)
        with torch.no_grad():
            self.gate.weight.copy_(tensor(341, 4, 4))
            self.gate.bias.copy_(tensor(342, 4))

    def forward(self, x):
        t = torch.sigmoid(self.gate(x.data))
        return t * torch.tanh(x) + (1 - t) * x


class DropoutHead(torch.nn.Module):
    """functional.dropout has no idea whether the module trains."""

    def forward(self, x):
        return functional.dropout(torch.tanh(x), 0.5)


class Attention(torch.nn.Module):
    """Weights are logged with .detach(), and the detached ones are then used."""

    def forward(self, q, k, v):
        weights = torch.softmax(q @ k.transpose(-1, -2) / 2, -1).detach()
        return weights @ v


class MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, t):
        ctx.save_for_backward(y, t)
        return ((y - t) ** 2).mean()

    @staticmethod
    def backward(ctx, g):
        y, t = ctx.saved_tensors
        d = g * 2 * (y - t) / len(y)
        return d, -d


CASES = [
    Case("SiLU function: without g", "upstream-ignored", Swish.apply, (tensor(343, 3, 4),)),
    Case("log-softmax function: mean of g for its sum", "missing-normalizer-term", LogSoftmax.apply, (tensor(344, 4, 5),)),
    Case("multiply function: a and b exchanged", "swapped-gradients", Multiply.apply, (tensor(345, 3, 4), tensor(346, 3, 4))),
    Case("clamp function: straight through", "wrong-at-some-entries", Clamp.apply, (tensor(347, 4, 5),), also=("missing-factor",)),
    Case("relu function: in place", "input-mutated", InPlaceReLU.apply, (tensor(348, 4, 5),)),
    Case("sinh function: cosh of the output", "derivative-at-wrong-point", Sinh.apply, (tensor(349, 3, 4),)),
    Case("linear function: W for its transpose", "transposed", Projection.apply, (tensor(350, 6, 4), tensor(351, 4, 4)), input=0),
    Case("RMS norm function: root held constant", "missing-normalizer-term", RMSNorm.apply, (tensor(352, 3, 5),)),
    Case("highway module: gate detached", "missing-accumulation", Highway(), (tensor(353, 5, 4),), also=("zero-gradient",)),
    Case("dropout module: always on", "nondeterministic", DropoutHead(), (tensor(354, 4, 5),)),
    Case(
        "attention module: weights detached",
        "zero-gradient",
        Attention(),
        (tensor(355, 2, 3, 4), tensor(356, 2, 3, 4), tensor(357, 2, 3, 4)),
    ),
    Case(
        "MSE function: divided by the batch only", "wrong-scale", MeanSquare.apply, (tensor(358, 6, 3), tensor(359, 6, 3)), factor=3
    ),
]
