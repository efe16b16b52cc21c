"""Where a nan or an infinity first shows: the layer whose output, or whose gradient, is the first that is not finite."""

from __future__ import annotations

import numpy as np

from backproof.arrays import Array
from backproof.layers.base import Params
from backproof.network import Network


def first_not_finite(
    network: Network, x: Array, t: Array, sample_weight: object = None, rng: np.random.Generator | None = None
) -> str | None:
    """Name it, for inputs x as `predict` takes them; None if everything is finite.

    Walks forward and then backward as training does, with dropout if `rng` is given.
    """
    if not np.isfinite(x).all():
        return "the input x"
    x = network.prepared(x)
    if not np.isfinite(x).all():
        return f"the input x as {network.dtype}"
    with np.errstate(all="ignore"):
        trunk, kept, values = network.trunk, [], x
        tree = network.parameter_tree
        for i, layer in enumerate(trunk.layers):
            if not _all_finite(tree[str(i)]):
                return f"a parameter of layer {i}, {layer!r}"
            values, keep = layer.forward(tree[str(i)], values, train=rng is not None, rng=rng)
            kept.append(keep)
            if not np.isfinite(values).all():
                return f"the output of layer {i}, {layer!r}"
        loss, upstream = network.objective.reduced(values, t, sample_weight)
        if not np.isfinite(loss):
            return f"the loss {network.objective!r}"
        for i in reversed(range(len(trunk.layers))):
            if not np.isfinite(upstream).all():
                return f"the gradient at the output of layer {i}, {trunk.layers[i]!r}"
            upstream, dparams = trunk.layers[i].backward(tree[str(i)], kept[i], upstream)
            if not _all_finite(dparams):
                return f"the parameter gradient of layer {i}, {trunk.layers[i]!r}"
    return None


def _all_finite(tree: Params) -> bool:
    return all(_all_finite(value) if isinstance(value, dict) else bool(np.isfinite(value).all()) for value in tree.values())
