"""The page of a training: what came of it, how it went, where it is wrong, and what it was."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from backproof.report.confusion import class_section, mistakes_section
from backproof.report.diagrams import agreement_diagram, reliability_diagram
from backproof.report.markup import NOTHING, Html, definitions, element, joined, table
from backproof.report.page import Section, page, picture
from backproof.report.training_data import Training, curve_data, layer_data, remarks, rows_behind, versions
from backproof.summary import layer_rows

_MEANING = {
    "loss": "Loss, with the penalty and dropout in training and without them on the held-out examples.",
    "metrics": "On the held-out examples.",
    "gradient": "Norm of the gradient, at the last step of each epoch.",
    "updates": "How much a step changes the weights of a layer: root mean squares of the last step and of the weights. "
    "About 0.001 is usual; 0.1 is a learning rate too high, 0.000001 one too low.",
    "gradients": "Root mean square of the gradient of a layer's weights. Where the first layers have a small part of what the last "
    "ones have, it vanishes on its way.",
    "saturated": "Share of a layer's outputs at an end of their range, where the slope is almost 0; of a softmax, share of the "
    "examples that it is certain of.",
    "dead": "Share of a layer's units that give the same for every example: these learn nothing.",
}

_NO_EPOCH, _NO_LOOK = "Not one epoch was finished.", "Data that are read a piece at a time are not looked into."


def training_page(training: Training) -> str:
    """The whole file."""
    curves = curve_data(training.history) if training.history.epochs else {}
    layers = layer_data(training.job.doctor.vitals)
    sections = [
        Section("What the doctor says", _remarks(training)),
        Section("How it went", _pictures(curves) or element("p", _NO_EPOCH)),
        *class_section(training),
        Section("Can its probabilities be believed?", _reliability(training)),
        mistakes_section(training),
        Section("Layer by layer", _layers(training, layers)),
        Section("Was the gradient right?", _gradient(training)),
        Section("What was trained", _network(training)),
    ]
    written = f"Written by backproof at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. The numbers are in history.json beside this page."
    title = f"{_short(training)}: training report"
    return page(title, sections, curves | layers, lead=_lead(training), footer=element("p", written))


def _short(training: Training) -> str:
    return Path(training.job.data.name).name


def _lead(training: Training) -> Html:
    e, history = training.evaluation, training.history
    right, total = int(e.confusion.diagonal().sum()), int(e.support.sum())
    if training.diverged is None:
        said = element("h1", f"{_short(training)}: {e.accuracy:.1%} of the held-out examples right")
    else:
        said = element("h1", f"{_short(training)}: the training diverged") + element("p", training.diverged, class_="wrong")
    agrees = training.agreement.ok
    badges = [element("span", "gradient agrees" if agrees else "gradient WRONG", class_=f"badge {'right' if agrees else 'wrong'}")]
    if training.diverged is not None:
        badges.insert(0, element("span", "diverged", class_="badge wrong"))
    if training.resumed:
        badges.append(element("span", "resumed", class_="badge unsure"))
    figures: list[tuple[object, object]] = [
        ("accuracy", f"{e.accuracy:.4f} ({right:,} of {total:,} held-out examples)"),
        ("log-loss", f"{e.log_loss:.4f}"),
        ("macro-F1", f"{e.macro_f1:.4f}"),
        ("expected calibration error", f"{e.calibration_error:.4f}"),
        ("trained on", f"{len(training.job.train_set):,} examples, {len(training.job.data.features):,} features"),
    ]
    if history.epochs:
        figures.append(("epochs", f"{history.epochs:,} of {training.job.epochs:,}, in {history['seconds'][-1]:.1f} s"))
    return element("p", "backproof train", class_="eyebrow") + said + element("p", *_spaced(badges)) + definitions(figures)


def _spaced(parts: list[Html]) -> Iterator[str]:
    for part in parts:
        yield part
        yield " "


def _remarks(training: Training) -> Html:
    found = remarks(training.history)
    if found:
        return element("ul", *(element("li", element("strong", f"Epoch {epoch:,}: "), text) for epoch, text in found))
    if not training.job.doctor.vitals:
        return element("p", _NO_LOOK if training.history.epochs else _NO_EPOCH)
    return element("p", "Nothing to remark: no saturation, no dead units, no vanished gradient, no overfitting.")


def _pictures(pictures: dict[str, Any]) -> Html:
    return element("div", *(_picture(name, data) for name, data in pictures.items()), class_="pictures") if pictures else NOTHING


def _picture(name: str, data: dict[str, Any]) -> Html:
    head, rows, step = rows_behind(data)
    kept = f"every {step}th epoch, the best and the last" if step > 1 else "every epoch"
    numbers = table(head, rows, f"{data['y_label']}, {kept}", numeric=range(len(head)))
    caption = _MEANING[name]
    if name == "loss" and "best" in data:
        best, values = data["best"]["x"], data["series"][-1]["values"]
        caption += f" Least in epoch {best:,}, {values[best - 1]:.4g}; the model is that of the last epoch, {values[-1]:.4g}."
    return picture("curves", name, caption, numbers)


def _reliability(training: Training) -> Html:
    diagram = training.evaluation.diagram
    if diagram is None:
        return element("p", "The logits of the held-out examples are not finite.")
    said = element(
        "p",
        "Of the examples that are taken for a class with a confidence of 0.8, eight in ten should be right. Bars are the share of "
        "right ones, and end at the orange line where the confidence is right; below it the network is too sure of itself. "
        "Pale bars have few examples. "
        f"Expected calibration error {diagram.expected_error:.4f}, largest {diagram.largest_error:.4f}.",
    )
    filled = np.flatnonzero(diagram.examples)
    rows = (
        (f"{diagram.edges[k]:.2f} to {diagram.edges[k + 1]:.2f}", f"{diagram.confidence[k]:.3f}", f"{diagram.accuracy[k]:.3f}",
         f"{diagram.examples[k]:,}") for k in filled
    )  # fmt: skip
    numbers = table(("confidence", "mean", "accuracy", "examples"), rows, "Examples by confidence", numeric=(1, 2, 3))
    return said + element("figure", reliability_diagram(diagram), _behind(numbers))


def _layers(training: Training, layers: dict[str, Any]) -> Html:
    vitals, history = training.job.doctor.vitals, training.history
    if not vitals:
        return element("p", _NO_LOOK if history.epochs else _NO_EPOCH)
    said = f"Measured on {training.job.doctor.sample:,} examples at most, in {len(vitals):,} of {history.epochs:,} epochs."
    if training.resumed and vitals[0].epoch > 1:
        said += f" The run was resumed: looks before epoch {vitals[0].epoch:,} are not kept."
    return element("p", said) + _pictures(layers)


def _gradient(training: Training) -> Html:
    said = element("p", f"Before the first step, by numerical differentiation with error bars: {training.agreement}.")
    diagram = agreement_diagram(training.agreement)
    if diagram is None or training.agreement.compared is None:
        return said
    c = training.agreement.compared
    rows = (
        (f"{place:,}" if place >= 0 else "direction", f"{mine:.9g}", f"{theirs:.9g}", f"{bar:.1e}")
        for place, mine, theirs, bar in zip(*c, strict=True)
    )
    numbers = table(("parameter", "backpropagation", "numerical", "error bar"), rows, "What was compared", numeric=(0, 1, 2, 3))
    return said + element("figure", diagram, _behind(numbers))


def _behind(numbers: Html) -> Html:
    return element("details", element("summary", "The numbers as a table"), numbers)


def _network(training: Training) -> Html:
    job = training.job
    network = job.network
    rows = layer_rows(network)
    loss = f"{network.loss_function!r}; {network.layout.size:,} parameters, {network.dtype}"
    settings = {name: "none" if value is None else value for name, value in vars(job.settings).items()}
    written = [(name.replace("_", " "), _written(value)) for name, value in settings.items()]
    return joined(
        [
            table(("", "layer", "output", "parameters"), rows, loss, numeric=(0, 3)),
            element("h3", "Settings"),
            definitions([("data", job.data.name), *written]),
            element("h3", "Versions"),
            definitions(versions()),
        ]
    )


def _written(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
