"""What the page of a training shows, out of the job: curves for the scripts, rows for the tables."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from backproof.arrays import Array

if TYPE_CHECKING:
    from backproof.doctor import LayerVitals, Vitals
    from backproof.gradcheck import Agreement
    from backproof.history import History
    from backproof.job import Evaluation, Job

_ROWS = 200  # of a table behind a picture, about
_LIBRARIES = ("backproof", "numpy", "scipy", "numba", "scikit-learn")


@dataclass(frozen=True)
class Training:
    """A job that was run. diverged : the error that ended it. resumed : whether another process made the first epochs."""

    job: Job
    history: History
    agreement: Agreement
    evaluation: Evaluation
    diverged: str | None = None
    resumed: bool = False

    @property
    def classes(self) -> list[str]:
        return [str(name) for name in self.job.data.classes]


def curve_data(history: History) -> dict[str, dict[str, Any]]:
    """The pictures "loss", "metrics" (where there are any) and "gradient"."""
    best = history.best_epoch()
    marked = {} if best is None else {"best": {"x": best, "label": "best epoch"}}
    metrics = [name for name in history if name not in ("loss", "validation_loss", "gradient_norm", "seconds")]
    losses = {"training": history["loss"]}
    if "validation_loss" in history:
        losses["held out"] = history["validation_loss"]
    epochs = np.arange(1, history.epochs + 1)
    found = {"loss": _picture(epochs, losses, "loss", log=True) | marked}
    if metrics:
        values = {name.removeprefix("validation_").replace("_", " "): history[name] for name in metrics}
        found["metrics"] = _picture(epochs, values, ", ".join(values)) | marked
    found["gradient"] = _picture(epochs, {"norm of the gradient": history["gradient_norm"]}, "norm of the gradient", log=True)
    return found


def layer_data(vitals: Sequence[Vitals]) -> dict[str, dict[str, Any]]:
    """The pictures "updates", "gradients", "saturated" and "dead", of the layers that have such a thing."""
    if not vitals:
        return {}
    epochs = np.array([look.epoch for look in vitals])
    kinds: dict[str, tuple[str, bool, Callable[[LayerVitals], float]]] = {
        "updates": ("change by one step / size of the weights", True, lambda layer: _ratio(layer.update, layer.weight)),
        "gradients": ("root mean square of the gradient", True, lambda layer: layer.gradient),
        "saturated": ("share of saturated outputs", False, lambda layer: layer.saturated),
        "dead": ("share of units that give the same for every example", False, lambda layer: layer.dead),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (label, log, of) in kinds.items():
        curves = {_name(vitals, k): [of(look.layers[k]) for look in vitals] for k in range(len(vitals[0].layers))}
        told = {layer: values for layer, values in curves.items() if not all(map(math.isnan, values))}
        if told:
            found[name] = _picture(epochs, told, label, log=log)
    return found


def _name(vitals: Sequence[Vitals], k: int) -> str:
    layer: LayerVitals = vitals[0].layers[k]
    return f"{layer.index} {layer.name}"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _picture(x: Array, series: dict[str, Any], label: str, log: bool = False) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        lines = [{"name": name, "values": np.asarray(values, np.float64).astype(np.float32)} for name, values in series.items()]
    return {"x": x, "x_label": "epoch", "y_label": label, "log": log, "series": lines}


def rows_behind(picture: dict[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """(head, rows, step) of the table behind a picture of curves: every step-th epoch, the best and the last one."""
    x = picture["x"]
    step = -(-len(x) // _ROWS)
    best = picture.get("best", {}).get("x")
    shown = [i for i, epoch in enumerate(x) if i % step == 0 or epoch == best or i == len(x) - 1]
    series = picture["series"]
    rows = [[f"{x[i]:,}", *(f"{one['values'][i]:.5g}" for one in series)] for i in shown]
    return ["epoch", *(one["name"] for one in series)], rows, step


def remarks(history: History) -> list[tuple[int, str]]:
    """What the doctor said, each thing once: a run that was resumed hears some of it again."""
    first: dict[str, int] = {}
    for epoch, text in history.remarks:
        first.setdefault(text, epoch)
    return [(epoch, text) for text, epoch in first.items()]


def confused_pairs(confusion: Array, most: int = 30) -> list[tuple[int, int, int]]:
    """(true, taken for, how often), the most frequent first."""
    wrong = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(i), int(j), int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def versions() -> list[tuple[str, str]]:
    """Of Python, the system, this library and those that it computes with."""
    found = [("Python", platform.python_version()), ("system", f"{platform.system()}, {platform.machine()}")]
    for name in _LIBRARIES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
