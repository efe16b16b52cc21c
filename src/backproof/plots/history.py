"""The curves of a training run: losses, metrics, the norm of the gradient, a panel each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from backproof._errors import ArgumentError
from backproof.plots.figure import FAINT, LINES, ORANGE, Axes, Figure, bare, count, new_figure

if TYPE_CHECKING:
    from backproof.history import History

_LOSSES, _OTHERS = ("loss", "validation_loss"), ("gradient_norm", "seconds")
_LABELS = {"loss": "training", "validation_loss": "held out"}
_DECADE = 10.0  # losses that span more are drawn on a logarithmic scale


def draw(history: History) -> Figure:
    """The figure of `History.plot`."""
    if not history.epochs:
        raise ArgumentError("plot: expected a history with at least one epoch, received an empty one")
    metrics = [name for name in history if name not in (*_LOSSES, *_OTHERS)]
    losses = [name for name in _LOSSES if name in history]
    panels = [("loss", losses), ("norm of the gradient", ["gradient_norm"])]
    if metrics:
        panels.insert(1, ("metrics" if len(metrics) > 1 else metrics[0].replace("_", " "), metrics))
    figure = new_figure(4.6 * len(panels), 3.4)
    best, said = history.best_epoch(), sorted({epoch for epoch, _ in history.remarks})
    for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _panel(axes, history, names, title)
        if best is not None:
            axes.axvline(best, color=FAINT, linewidth=0.9, linestyle=":", zorder=1)
        if title == "loss" and best is not None:
            style = {"color": ORANGE, "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.6}
            axes.plot([best], [history[losses[-1]][best - 1]], "o", label=f"best: epoch {best}", **style)
        if title == "loss" and said:
            low = axes.get_xaxis_transform()
            axes.plot(said, [0.02] * len(said), "^", transform=low, color=ORANGE, markersize=6, label="remark")
        if len(names) > 1 or title == "loss":
            axes.legend(fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, history: History, names: list[str], title: str) -> None:
    epochs = np.arange(1, history.epochs + 1)
    for k, name in enumerate(names):
        dot = "o" if history.epochs == 1 else None
        label = _LABELS.get(name, name.replace("_", " "))
        axes.plot(epochs, history[name], marker=dot, color=LINES[k % len(LINES)], linewidth=1.5, label=label)
    bare(axes, title)
    axes.grid(color="#E4E4E4", linewidth=0.7)
    axes.set_xlabel("epoch", fontsize=9)
    count(axes.xaxis)
    values = [value for name in names for value in history[name] if math.isfinite(value)]
    if names[0] in (*_LOSSES, *_OTHERS) and values and min(values) > 0 and max(values) > _DECADE * min(values):
        axes.set_yscale("log")
