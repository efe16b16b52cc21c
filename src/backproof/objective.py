"""Loss and gradient of layers with a loss behind them: by way of their whole outputs, or never holding all of these at a time.

The second is for a linear layer and cross-entropy at the end, with so many classes that the logits would fill the memory
(`kernels.linear_entropy`). The loss's own checks, weights and reduction are used, so the results differ by rounding only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from backproof.arrays import Array
from backproof.kernels.linear_entropy import Gradients, entropy_of_linear
from backproof.kernels.reference_losses import Options
from backproof.layers.base import Params
from backproof.layers.combine import Chain
from backproof.layers.linear import Linear
from backproof.losses.base import Loss
from backproof.losses.softmax import CrossEntropy
from backproof.parameters import ParameterVector

LARGE = 32 << 20  # bytes of logits that are not held whole


def loss_of(
    trunk: Chain, loss: Loss, tree: Params, x: Array, t: object, sample_weight: object, train: bool, rng: np.random.Generator | None
) -> float:
    """The reduced loss of the trunk's outputs for x."""
    head = _large_head(trunk, loss, tree, x)
    if head is None:
        z, _ = trunk.forward(tree, x, train=train, rng=rng)
        return loss.reduced(z, t, sample_weight)[0]
    h = x if head.body is None else head.body.forward(tree, x, train=train, rng=rng)[0]
    return head.value(tree, h, t, sample_weight, None)


def loss_and_gradient_of(
    trunk: Chain,
    loss: Loss,
    store: ParameterVector,
    tree: Params,
    x: Array,
    t: object,
    sample_weight: object,
    train: bool,
    rng: np.random.Generator | None,
    gradient: Array,
) -> float:
    """The same, and its gradient to the flat vector `gradient`."""
    head = _large_head(trunk, loss, tree, x)
    if head is None:
        z, kept = trunk.forward(tree, x, train=train, rng=rng)
        value, dz = loss.reduced(z, t, sample_weight)
        store.layout.pack(trunk.parameter_gradient(tree, kept, dz), gradient)
        return value
    h, kept = (x, None) if head.body is None else head.body.forward(tree, x, train=train, rng=rng)
    own = store.tree_of(gradient)[head.key]  # dW is summed in its place in the flat vector
    dx = np.empty((math.prod(h.shape[:-1]), h.shape[-1]), h.dtype)
    db = np.empty(len(own["weight"])) if "bias" in own else None
    value = head.value(tree, h, t, sample_weight, Gradients(dx, own["weight"], db))
    if db is not None:
        own["bias"][...] = db
    dparams = {} if head.body is None else head.body.parameter_gradient(tree, kept, dx.reshape(h.shape))
    store.layout.pack({**dparams, head.key: own}, gradient)
    return value


class _Head(NamedTuple):
    """The last linear layer with the loss on its outputs, and the layers before."""

    body: Chain | None
    key: str  # of the linear layer's parameters
    loss: CrossEntropy

    def value(self, tree: Params, h: Array, target: object, sample_weight: object, to: Gradients | None) -> float:
        """The loss for the linear layer's inputs h, and its gradients, if there is somewhere for them to go."""
        weight, bias = tree[self.key]["weight"], tree[self.key].get("bias")
        shape = (*h.shape[:-1], weight.shape[0])
        like = np.broadcast_to(np.zeros((), h.dtype), shape)  # the loss looks at the shape of its logits, not at them
        t = self.loss.targets(like, target)
        scale = self.loss.row_weights(shape[:-1], sample_weight, self.loss.counts(like, t)).reshape(-1)
        given = t.reshape(-1, shape[-1]) if t.shape == shape else t.reshape(-1).astype(np.int64, copy=False)
        factors = None if self.loss.class_weight is None else np.asarray(self.loss.class_weight)
        options = Options(factors, self.loss.ignore_index, self.loss.label_smoothing)
        values = entropy_of_linear(h.reshape(-1, h.shape[-1]), weight, bias, given, options, scale, to, None)
        return float(np.sum(np.where(scale == 0, 0.0, scale * values)))


def _large_head(trunk: Chain, loss: Loss, tree: Params, x: Array) -> _Head | None:
    """The end of the trunk with the loss, if together they can spare logits too large to be held whole."""
    *before, last = trunk.layers
    if type(loss) is not CrossEntropy or type(last) is not Linear:
        return None
    head = _Head(Chain(*before) if before else None, str(len(before)), loss)
    inner = x.shape[1:] if head.body is None else head.body.out_shape(x.shape[1:])
    size = len(x) * math.prod(inner[:-1]) * last.outputs * x.itemsize
    return head if size >= LARGE and x.dtype == tree[head.key]["weight"].dtype and x.dtype.char in "fd" else None
