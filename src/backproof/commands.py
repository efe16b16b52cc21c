"""The two commands: what they read, show and write."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from backproof import __version__
from backproof._errors import ArgumentError, DataError, DivergenceError, LabelError, ModelFileError
from backproof.arrays import Array
from backproof.data import Coding, Dataset, Features, read
from backproof.data.labels import as_trained
from backproof.job import Job, Settings
from backproof.kernels.reference import softmax
from backproof.layers import Softmax
from backproof.network import Network
from backproof.saving import load, save
from backproof.saving.files import require_free, require_writable, write_atomically
from backproof.terminal import class_table, confusion_table, describe, follow
from backproof.training import Record

MODEL, HISTORY = "model.safetensors", "history.json"


def train_command(source: str, target: str | None, settings: Settings, out: Path | None, force: bool, **reading: Any) -> int:
    """`backproof train`, `reading` being the options of `read`: returns the exit code."""
    folder = _folder(source, out, force)
    console = Console(highlight=False)
    data = read(source, target, **reading)
    job = Job(data, settings)
    classes = [str(name) for name in data.classes]
    console.print(
        f"{data.name}: {len(data):,} examples, {len(data.features):,} features, {len(classes)} classes; "
        f"{len(job.train_set):,} to train on, {len(job.test_set):,} held out"
        f"{'' if isinstance(data, Dataset) else '; read a piece at a time'}",
        markup=False,
        soft_wrap=True,
    )
    print(job.network.summary())
    agreement = job.check()
    console.print(f"gradient check: {agreement}", soft_wrap=True)
    if not agreement.ok:
        return 1
    folder.mkdir(parents=True, exist_ok=True)  # what cannot be written to is found before the work, not after it
    require_writable(folder, "--out")
    records: list[Record] = []
    diverged: DivergenceError | None = None
    try:
        records.extend(follow(console, job.run(), job.epochs))
    except DivergenceError as error:
        diverged = error
    evaluation = job.evaluate()
    history = {
        "backproof": __version__,
        "data": data.name,
        "classes": list(data.classes),
        "settings": dataclasses.asdict(job.settings),
        "gradient_check": dataclasses.asdict(agreement),
        "records": [dataclasses.asdict(record) for record in records],
        "held_out": evaluation.as_json(),
    }
    save(job.network, folder / MODEL, overwrite=force)
    write_atomically(folder / HISTORY, json.dumps(_finite(history), indent=1, allow_nan=False).encode())
    if diverged is not None:
        raise DivergenceError(f"{diverged} They are in {folder / MODEL}.")
    console.print(f"trained in {records[-1].seconds:.1f} s; {describe(records[-1])}", soft_wrap=True)
    console.print(class_table(evaluation, classes))
    if len(classes) <= 30:
        console.print(confusion_table(evaluation, classes))
    console.print(f"accuracy on the held-out examples: {evaluation.accuracy:.4f}")
    console.print(f"wrote {folder / MODEL} and {folder / HISTORY}", markup=False, soft_wrap=True)
    return 0


def _finite(value: Any) -> Any:
    """`value` for JSON, which has no nan and no infinity: null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _folder(source: str, out: Path | None, force: bool) -> Path:
    """Where the results go; decided, and refused, before any work is done."""
    if out is None:
        name = f"backproof-{Path(source).stem}"
        taken = [p for p in (Path(name), *(Path(f"{name}-{i}") for i in range(2, 1000))) if not p.exists()]
        return taken[0]
    if out.exists() and not out.is_dir():
        raise ArgumentError(f"--out: expected a folder, received the file {out}")
    for name in (MODEL, HISTORY):
        require_free(out / name, force, "give --force to overwrite it, or another --out")
    return out


def predict_command(model: Path, source: str, target: str | None, out: Path | None, force: bool) -> int:
    """`backproof predict`: returns the exit code."""
    if out is not None:
        if out.is_dir():
            raise ArgumentError(f"--out: expected a file, received the folder {out}")
        require_free(out, force, "give --force to overwrite it, or another --out")
    network = load(model)
    classes, coding = _named(network, model)
    features = Features(source, coding, target)
    probabilities, true = _predicted(network, features, source)
    for name, values in features.unseen().items():
        shown = ", ".join(map(repr, values[:3])) + (" ..." if len(values) > 3 else "")
        said = f"{source}, column {name!r}: {shown} did not occur in training and counts as none of its categories"
        print(f"backproof: {' '.join(said.split())}", file=sys.stderr)
    labels = probabilities.argmax(axis=1)
    expected = None if true is None else _indices(true, classes, source, target)
    text = _csv(classes, labels, probabilities, true)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(f"wrote {len(labels):,} predictions to {out}")
    if expected is not None:
        print(f"accuracy: {np.mean(labels == expected):.4f}", file=sys.stderr if out is None else sys.stdout)
    return 0


def _predicted(network: Network, features: Features, source: str) -> tuple[Array, Array | None]:
    """(probabilities, true labels if there are any); the inputs are read a piece at a time, and are nowhere whole."""
    found: list[Array] = []
    true: list[Array] = []
    for x, labels in features.pieces():
        with np.errstate(all="ignore"):  # said below
            outputs = network.predict(x)
        if np.isnan(outputs).any():
            row = sum(map(len, found)) + int(np.argmax(np.isnan(outputs).any(axis=1)))
            raise DataError(f"{source}: expected features that {network.dtype} can hold, received others in example {row}")
        found.append(outputs if isinstance(network.layers[-1], Softmax) else softmax(outputs))
        if labels is not None:
            true.append(labels)
    return np.concatenate(found), np.concatenate(true) if true else None


def _named(network: Network, model: Path) -> tuple[list[Any], Coding]:
    try:
        classes, coding = list(network.metadata["classes"]), Coding.from_json(network.metadata)
    except KeyError as error:
        raise ModelFileError(f"{model}: expected a model made by `backproof train`, received one without its {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{model}: expected names of classes and columns, received damaged ones ({error})") from error
    if network.in_shape != (coding.inputs,):
        raise ModelFileError(f"{model}: expected columns for {network.in_shape} inputs, received columns for {coding.inputs}")
    return classes, coding


def _indices(true: Array, classes: list[Any], source: str, target: str | None) -> Array:
    """True labels as indices; one that the model has never seen is an error, not a wrong prediction."""
    places = {name: i for i, name in enumerate(classes)}
    labels = as_trained(true, classes)
    unseen = [label for label in labels if label not in places]
    if unseen:
        raise LabelError(
            f"{source}, target {target!r}: expected labels that the model was trained with "
            f"({', '.join(str(name) for name in classes[:12])}), received {str(unseen[0])!r} ({len(unseen)} such in all)"
        )
    return np.array([places[label] for label in labels])


def _csv(classes: list[Any], labels: Array, probabilities: Array, true: Array | None) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label", *(f"probability_{name}" for name in classes), *(["true"] if true is not None else [])])
    for i, label in enumerate(labels):
        row = [classes[label], *(f"{p:.9g}" for p in probabilities[i])]
        writer.writerow([*row, true[i]] if true is not None else row)
    return text.getvalue()
