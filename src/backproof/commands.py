"""The two commands: what they read, show and write."""

from __future__ import annotations

import contextlib
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
from backproof.history import History
from backproof.job import Job
from backproof.kernels.reference import softmax
from backproof.layers import Softmax
from backproof.network import Network
from backproof.progress import Record
from backproof.report.training_data import Training
from backproof.report.training_page import training_page
from backproof.runs import Run
from backproof.saving import Checkpoints, load, save
from backproof.saving.files import require_free, require_writable, write_atomically
from backproof.terminal import class_table, confusion_table, describe, follow

MODEL, HISTORY, PAGE, CHECKPOINTS = "model.safetensors", "history.json", "report.html", "checkpoints"


def train_command(run: Run, out: Path | None, force: bool) -> int:
    """`backproof train DATA`: returns the exit code."""
    return _train(run, _folder(run.source, out, force), overwrite=force, resume=False)


def resume_command(folder: Path) -> int:
    """`backproof train --resume FOLDER`: returns the exit code, 0 for a run that is finished: a script may ask until it is done."""
    run = Run.read(folder)
    if run.finished:
        print(f"{folder}: this run is finished; nothing was left to do")
        return 0
    return _train(run, folder, overwrite=True, resume=True)


def _train(run: Run, folder: Path, *, overwrite: bool, resume: bool) -> int:
    console = Console(highlight=False)
    data = read(run.source, run.target, **run.reading)
    job = Job(data, run.settings)
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
    checkpoints = _checkpoints(run, job, folder, resume)
    try:
        with _finishing(checkpoints):
            records.extend(follow(console, job.run(checkpoints), job.epochs))
    except DivergenceError as error:
        diverged = error
    except KeyboardInterrupt:
        if checkpoints is not None and checkpoints.held():
            _say(f"to go on: backproof train --resume {folder}")
        raise
    evaluation = job.evaluate()
    history = {
        "backproof": __version__,
        "data": data.name,
        "classes": list(data.classes),
        "settings": dataclasses.asdict(job.settings),
        "gradient_check": agreement.as_json(),
        "records": [dataclasses.asdict(record) for record in records],
        "held_out": evaluation.as_json(),
    }
    save(job.network, folder / MODEL, overwrite=overwrite)
    write_atomically(folder / HISTORY, json.dumps(_finite(history), indent=1, allow_nan=False).encode())
    training = Training(job, History(records), agreement, evaluation, None if diverged is None else str(diverged), resume)
    write_atomically(folder / PAGE, training_page(training).encode())
    dataclasses.replace(run, finished=True).write(folder)
    if diverged is not None:
        raise DivergenceError(f"{diverged} They are in {folder / MODEL}.")
    console.print(f"trained in {records[-1].seconds:.1f} s; {describe(records[-1])}", soft_wrap=True)
    console.print(class_table(evaluation, classes))
    if len(classes) <= 30:
        console.print(confusion_table(evaluation, classes))
    console.print(
        f"held-out examples: macro-F1 {evaluation.macro_f1:.4f}, log-loss {evaluation.log_loss:.4f}, "
        f"expected calibration error {evaluation.calibration_error:.4f}",
        soft_wrap=True,
    )
    console.print(f"accuracy on the held-out examples: {evaluation.accuracy:.4f}")
    console.print(f"wrote {folder / MODEL}, {folder / HISTORY} and {folder / PAGE}", markup=False, soft_wrap=True)
    return 0


def _checkpoints(run: Run, job: Job, folder: Path, resume: bool) -> Checkpoints | None:
    """Where and when the run keeps its state; None for L-BFGS, which has none to keep."""
    if job.settings.optimizer == "lbfgs":
        if run.every is not None:
            raise ArgumentError("lbfgs: expected no --checkpoint-every: SciPy's L-BFGS keeps its state to itself")
        return None
    every, unit = run.every or (None, "epochs")
    checkpoints = Checkpoints(folder / CHECKPOINTS, every, unit, resume=resume, warn=_say)
    if not resume:
        checkpoints.clear()  # --force: those of a run that is given up
    run.write(folder)
    return checkpoints


def _finishing(checkpoints: Checkpoints | None) -> contextlib.AbstractContextManager[None]:
    if checkpoints is None:
        return contextlib.nullcontext()
    return checkpoints.finishing(lambda: _say("finishing the step; Ctrl-C again leaves at once"))


def _say(message: str) -> None:
    print(f"backproof: {message}", file=sys.stderr, flush=True)


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
    for name in (MODEL, HISTORY, PAGE):
        require_free(out / name, force, "give --force to overwrite it, or another --out")
    require_free(out / CHECKPOINTS, force, f"give --resume {out} to go on, --force to begin anew, or another --out")
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
            row = sum(len(part) for part in found) + int(np.argmax(np.isnan(outputs).any(axis=1)))
            raise DataError(f"{source}: expected features that {network.dtype} can hold, received others in example {row}")
        found.append(outputs if isinstance(network.layers[-1], Softmax) else softmax(outputs))
        if labels is not None:
            true.append(labels)
    return np.concatenate(found), np.concatenate(true) if true else None


def _named(network: Network, model: Path) -> tuple[list[Any], Coding]:
    """Names of the classes, and what the columns are, which the file must have for its outputs and inputs: whoever wrote it."""
    try:
        classes, coding = network.metadata["classes"], Coding.from_json(network.metadata)
    except KeyError as error:
        raise ModelFileError(f"{model}: expected a model made by `backproof train`, received one without its {error}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{model}: expected names of classes and columns, received damaged ones ({error})") from error
    outputs = network.chain.out_shape(network.in_shape)
    if not isinstance(classes, list) or (len(classes),) != outputs or not all(isinstance(name, str | int) for name in classes):
        raise ModelFileError(f"{model}: expected a class's name for each output, received outputs {outputs} and other names")
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
