"""The doctor: looks at a training run now and then, and says each thing once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from backproof.arrays import Array
from backproof.doctor.rules import DATA_RULES, RULES, Examples, Remark, baseline
from backproof.doctor.vitals import Prefix, Vitals, measure
from backproof.layers.base import require_count, require_number
from backproof.losses import CrossEntropy
from backproof.network import Network
from backproof.sparse import SparseRows

HEAD_START = 0.05  # seconds
EXAMPLES = 4096  # the data rules look at so many at most


@dataclass
class Doctor:
    """Watches a run of `train(..., doctor=Doctor())`; what it says comes with the records, as `Record.remarks`.

    sample : examples that are looked at, always the same. share : of the time that training takes, what looking at the network may
    take: a look is put off until so much time has passed (0.05 seconds more than it has, so that short runs are looked at, too).
    `vitals` holds all looks, for pictures and for rules of your own. The data are looked at once, before the first step.
    Raises `ArgumentError` for a sample below 1 or a negative share.

    >>> Doctor(sample=64).vitals
    []
    """

    sample: int = 256
    share: float = 0.025
    vitals: list[Vitals] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        require_count("Doctor", "sample", self.sample)
        require_number("Doctor", "share", self.share, low=0.0)
        self._said: set[str] = set()
        self._spent = 0.0
        self._started = 0.0
        self._x: Array | None = None
        self._bound = float("nan")
        self._losses: tuple[list[float], list[float], list[float]] = ([], [], [])

    def meet(self, network: Network, x: Array | SparseRows, t: Array) -> tuple[Remark, ...]:
        """Before the first step: remarks on the data."""
        self._started = time.perf_counter()
        rows = np.random.default_rng(0).permutation(len(x))
        self._x = x[np.sort(rows[: self.sample])]
        labels = np.argmax(t, axis=1) if t.ndim == 2 and t.shape[1] > 1 else t
        if network.objective.link != "softmax" or labels.dtype.kind not in "iu" or labels.ndim != 1 or labels.min() < 0:
            return ()
        some = rows[:EXAMPLES]
        examples = Examples(x[some].reshape(len(some), -1), labels[some], int(labels.max()) + 1)
        loss = network.objective
        if isinstance(loss, CrossEntropy) and loss.class_weight is None:
            classes = network.chain.out_shape(network.in_shape)[-1]
            self._bound = baseline(labels, classes, loss.label_smoothing)
        found = self._new(rule(examples) for rule in DATA_RULES)
        self._started = time.perf_counter()
        return found

    def look(
        self, network: Network, epoch: int, step: int, train_loss: float, validation_loss: float | None, gradient_norm: float,
        gradient: Array | None, update: Array | None, last: bool,
    ) -> tuple[Remark, ...]:  # fmt: skip
        """At the end of an epoch: what is new. `last`: look in any case."""
        losses, held, norms = self._losses
        losses.append(train_loss)
        held.extend([] if validation_loss is None else [validation_loss])
        norms.append(gradient_norm)
        now = time.perf_counter()
        if self._x is None or (not last and self._spent > self.share * (HEAD_START + now - self._started)):
            return ()
        layers = measure(network, self._x, gradient, update)
        past = [Prefix(part, len(part)) for part in self._losses]
        vitals = Vitals(epoch, step, layers, past[0], past[1], past[2], self._bound)
        self.vitals.append(vitals)
        found = self._new(rule(vitals) for rule in RULES)
        self._spent += time.perf_counter() - now
        return found

    def _new(self, remarks: object) -> tuple[Remark, ...]:
        new = []
        for remark in remarks:  # type: ignore[attr-defined]
            if remark is not None and remark.name not in self._said:
                self._said.add(remark.name)
                new.append(remark)
        return tuple(new)
