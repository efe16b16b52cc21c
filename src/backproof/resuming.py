"""A training as the state in its checkpoints, and on from there.

The state is all that the rest of a training depends on beside data and arguments: parameters, the optimiser's state, the generator,
the place in the running epoch, the records, the best weights. Of data and arguments it has descriptions (`terms`), since with
others the training that goes on would be neither the one nor the other.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ModelFileError
from backproof.arrays import Array
from backproof.network import Network
from backproof.optimisers import Optimizer
from backproof.progress import Progress, Record
from backproof.saving.checkpoints import Checkpoints
from backproof.saving.container import digest_of
from backproof.saving.model import refusals
from backproof.saving.trees import fitted, to_json
from backproof.step import TrainingStep

_SAMPLED = (0, 1, 2, 5, 10, 100, 1000, 10000, 100000)
"""Steps at which two learning rate schedules are compared."""


def keep_checkpoints(
    checkpoints: Checkpoints,
    progress: Progress,
    network: Network,
    step: TrainingStep,
    rng: np.random.Generator,
    terms: Mapping[str, Any],
    most: tuple[int, int],
) -> None:
    """Have `progress` write checkpoints from here on; go on from the newest one, if `checkpoints` resumes.

    Raises `ModelFileError` if `terms`, by name, are not those of the training that goes on, if it has more epochs and examples
    behind it than there are (`most`), or if its checkpoint is damaged.
    """
    if type(rng.bit_generator) is not np.random.PCG64:
        raise ArgumentError(
            "checkpoint: expected a seed, or a generator as numpy.random.default_rng makes it, received another kind"
        )
    described = {name: _described(value) for name, value in terms.items()}
    newest = checkpoints.open()
    if newest is not None:
        path, state = newest
        with refusals(path):
            _require_same(state["terms"], described)
            _restore(state, progress, network, step, rng)
            done = len(progress.records), progress.row
            if done[0] > most[0] or done[1] >= most[1]:
                raise ModelFileError(f"expected at most {most} epochs and examples of the next, received {done}")

    def keep(steps: int, epochs: int | None) -> None:
        if checkpoints.interrupted or checkpoints.is_due(steps, epochs):
            checkpoints.write(step.count, {"terms": described, **_state(progress, network, step, rng)})
        if checkpoints.interrupted:
            raise KeyboardInterrupt

    progress.keep = keep


def _state(progress: Progress, network: Network, step: TrainingStep, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "parameters": network.parameters,
        "step": step.state(),
        "generator": rng.bit_generator.state,
        "drawn": progress.drawn,
        "row": progress.row,
        "loss": float(progress.loss),
        "waited": progress.waited,
        "best": None if progress.best is None else list(progress.best),
        "records": [dataclasses.asdict(record) for record in progress.records],
    }


def _restore(state: Any, progress: Progress, network: Network, step: TrainingStep, rng: np.random.Generator) -> None:
    like = _state(progress, network, step, rng)
    like["best"] = None if state["best"] is None else [0.0, network.parameters]
    del like["records"], like["drawn"]
    given = {key: fitted(state[key], value, key, bits=128 if key == "generator" else 63) for key, value in like.items()}
    drawn = fitted(state["drawn"], like["generator"], "drawn", bits=128)
    records = [_record(record, epoch) for epoch, record in enumerate(state["records"], 1)]
    rng.bit_generator.state = drawn  # tried out now, so that it is not found impossible later
    rng.bit_generator.state = given["generator"]
    step.restore(given["step"])
    network.parameters = given["parameters"]
    progress.drawn, progress.row, progress.loss = drawn, given["row"], given["loss"]
    progress.best, progress.waited = None if given["best"] is None else tuple(given["best"]), given["waited"]
    progress.records, progress.seconds = records, records[-1].seconds if records else 0.0


def _record(given: Any, epoch: int) -> Record:
    """The record of an epoch, from a file."""
    record = Record(**given)
    numbers = (record.train_loss, record.gradient_norm, record.seconds, *record.metrics.values())
    if record.epoch != epoch or type(record.step) is not int or not all(isinstance(n, int | float) for n in numbers):
        raise ModelFileError(f"expected the record of epoch {epoch}, received a damaged one")
    if not isinstance(record.validation_loss, float | None):
        raise ModelFileError(f"expected the record of epoch {epoch}, received a damaged one")
    return record


def _require_same(held: Mapping[str, Any], terms: Mapping[str, str]) -> None:
    for name, value in terms.items():
        if held.get(name) != value:
            raise ModelFileError(
                f"expected the {name} of the training that goes on, {held.get(name)!s:.150}, received {value:.150}"
            )


def _described(value: Any) -> str:
    """Text that is the same where training would be: data (a tuple of arrays) by a digest, schedules by some of their rates."""
    if isinstance(value, tuple):
        arrays: dict[str, Array] = {}
        return f"arrays of SHA-256 {digest_of({'arrays': to_json(value, 'data', arrays)}, arrays)}"
    return json.dumps(_plain(value)) if isinstance(value, Optimizer | Mapping) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Optimizer):
        return {value.name: _plain(value.options)}
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return [float(value(step)) for step in _SAMPLED] if callable(value) else repr(value)
