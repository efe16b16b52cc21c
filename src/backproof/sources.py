"""Training and evaluation on a `Source`, which gives its examples a batch at a time and never whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from backproof.arrays import Array, require_finite
from backproof.data.mixing import Source
from backproof.metrics import Metric
from backproof.network import Network

_BYTES_AT_ONCE, _ROWS_AT_ONCE = 16 << 20, 8192


def initialise(network: Network, source: Source, rng: np.random.Generator) -> None:
    """Give `network` parameters, drawn from `rng`, if it has none."""
    if not network.is_initialised:
        network.initialise(next(iter(source.batches(1)))[0], rng)


def shuffled(source: Source, size: int, network: Network, rng: np.random.Generator) -> Iterator[tuple[Array, Array, None]]:
    """One pass in random order, (x, t, no weights): each batch is looked through for what is not finite."""
    for x, t in source.batches(size, rng):
        require_finite(x, "x")
        prepared = network.prepared(x)
        if prepared is not x:
            require_finite(prepared, f"x as {network.dtype}")
        yield x, t, None


def evaluate(
    network: Network, source: Source, metrics: Mapping[str, Metric], diverged: Callable[[Array, Array], object]
) -> tuple[float, dict[str, float]]:
    """(loss, metrics) over one pass: the means of what they are on some thousand examples at a time.

    That is what they are on all, for everything that is itself a mean over examples (accuracy, a loss without class weights).
    `diverged` is called with the first examples whose loss is not finite.
    """
    size = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE // (8 * math.prod(network.in_shape))))
    mean = network.objective.reduction == "mean"
    loss, seen, values = 0.0, 0, dict.fromkeys(metrics, 0.0)
    for x, t in source.batches(size):
        with np.errstate(all="ignore"):
            z = network.logits(x)
            part = network.objective.reduced(z, t)[0]
        if not math.isfinite(part):
            diverged(x, t)
        loss += part * (len(x) if mean else 1)
        for name, metric in metrics.items():
            values[name] += metric(z, t) * len(x)
        seen += len(x)
    return loss / (seen if mean else 1), {name: value / seen for name, value in values.items()}
