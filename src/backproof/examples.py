"""Examples as the layers take them, whole or a batch at a time: shuffled batches of them, loss and metrics on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from backproof.arrays import Array, require_finite
from backproof.kernels import blas
from backproof.metrics import Metric
from backproof.network import Network
from backproof.source import Source
from backproof.sparse import SparseRows

_BYTES_AT_ONCE, _ROWS_AT_ONCE = 16 << 20, 8192

Batch: TypeAlias = tuple[Array, Array, Array | None]


class Prepared:
    """A source as the layers of `network` take it: checked, standardised, in the precision of its parameters.

    A network without parameters gets some for such examples, drawn from `rng`.
    """

    def __init__(self, network: Network, source: Source, rng: np.random.Generator) -> None:
        self.network, self.source = network, source
        if not network.is_initialised:
            network.initialise(next(iter(source.batches(1)))[0], rng)

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        """One pass. Raises `ArgumentError` for what is not finite."""
        for x, t in self.source.batches(size, rng):
            prepared = self.network.prepared(x)
            require_finite(prepared, f"x as {self.network.dtype}")
            yield prepared, t


Data: TypeAlias = tuple[Array | SparseRows, Array, Array | None] | Prepared
"""(x, t, weights or None), or a source of batches."""


def count(data: Data) -> int:
    """How many examples there are."""
    return len(data[0] if isinstance(data, tuple) else data)


def fingerprint(data: Data) -> tuple[Any, ...]:
    """What tells these data from others: all of the arrays, of a source how many examples there are and the first of them."""
    if not isinstance(data, tuple):
        return (len(data), *next(iter(data.batches(_ROWS_AT_ONCE // 8))))
    x, *others = data
    return (*x.arrays, *others) if isinstance(x, SparseRows) else data


def batches_of(data: Data, size: int, rng: np.random.Generator) -> Iterator[Batch]:
    """One pass over the examples in random order: (x, t, weights). A source has no weights.

    The order depends on the generator's state at the first batch alone, whatever is drawn between two batches: a source, which
    draws as it goes, gets a generator of its own. So a pass can be made again from its beginning.
    """
    if not isinstance(data, tuple):
        own = np.random.default_rng(rng.integers(2**63, size=4))
        yield from ((x, t, None) for x, t in data.batches(size, own))
        return
    x, t, weights = data
    order = rng.permutation(len(x))
    for start in range(0, len(x), size):
        rows = order[start : start + size]
        batch = x.take(rows, axis=0) if isinstance(x, np.ndarray) else x[rows]  # the former takes half the time
        yield batch, t[rows], None if weights is None else weights[rows]


def evaluate(
    network: Network, data: Data, metrics: Mapping[str, Metric], diverged: Callable[[Array, Array], object] | None
) -> tuple[float, dict[str, float]]:
    """(loss, metrics). `diverged` is called with examples whose loss is not finite.

    On a source they are the means of what they are on some thousand examples at a time: the same, for everything that is itself a
    mean over examples (accuracy, a loss without class weights).
    """
    if isinstance(data, tuple):
        return _on(network, *data, metrics, diverged)
    rows = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE // (8 * math.prod(network.in_shape))))
    mean = network.objective.reduction == "mean"
    total, seen, sums = 0.0, 0, dict.fromkeys(metrics, 0.0)
    for x, t in data.batches(rows):
        loss, values = _on(network, x, t, None, metrics, diverged)
        total += loss * (len(x) if mean else 1)
        seen += len(x)
        sums = {name: sums[name] + value * len(x) for name, value in values.items()}
    return total / (seen if mean else 1), {name: value / seen for name, value in sums.items()}


def _on(
    network: Network,
    x: Array | SparseRows,
    t: Array,
    weights: Array | None,
    metrics: Mapping[str, Metric],
    diverged: Callable[[Array, Array], object] | None,
) -> tuple[float, dict[str, float]]:
    with np.errstate(all="ignore"), blas.few(2.0 * min(len(x), _ROWS_AT_ONCE) * network.parameters.size):
        z = np.concatenate([network.logits(x[i : i + _ROWS_AT_ONCE]) for i in range(0, len(x), _ROWS_AT_ONCE)])
    values = {name: metric(z, t) for name, metric in metrics.items()}
    loss = network.objective.reduced(z, t, weights)[0]
    if not math.isfinite(loss) and diverged is not None:
        diverged(x[:], t)
    return loss, values
