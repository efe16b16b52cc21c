"""The Jacobian of a check as a figure: three maps on one scale, and yours against numerical with the error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backproof._errors import ArgumentError
from backproof.arrays import Array
from backproof.gradcheck.rendering import has_picture, pictured, verdict, wrong_cells
from backproof.gradcheck.values import unsettled
from backproof.plots.figure import BLUE, DIVERGING, FAINT, INK, ORANGE, Axes, Figure, bare, count, new_figure

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Report

_MOST_POINTS = 4000  # of right entries in the scatter, and of wrong ones; of more a regular part is drawn
_MOST_EDGES = 8000  # of regions of wrong entries: more would hide what they surround


def draw(report: Report, name: str | None = None) -> Figure:
    """The figure of `Report.plot`."""
    comparison = _chosen(report, name)
    from matplotlib.collections import LineCollection

    numerical, yours = np.asarray(comparison.numerical, np.float64), np.asarray(comparison.analytical, np.float64)
    wrong = wrong_cells(comparison)
    with np.errstate(invalid="ignore"):
        difference = yours - numerical
    m, n = numerical.shape
    largest = max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in (numerical, yours, difference)), default=0.0) or 1.0
    figure = new_figure(13.5, 4.0)
    maps = figure.add_gridspec(1, 4, width_ratios=[1, 1, 1, 1.15])
    panels, edges = [], _edges(wrong)
    for k, (title, values) in enumerate((("numerical", numerical), ("yours", yours), ("yours - numerical", difference))):
        axes = figure.add_subplot(maps[0, k])
        image = axes.imshow(np.ma.masked_invalid(values), cmap=DIVERGING, vmin=-largest, vmax=largest, interpolation="nearest")
        bare(axes, title)
        axes.set_xlabel("inputs", fontsize=9)
        axes.set_ylabel("outputs" if k == 0 else "", fontsize=9)
        count(axes.xaxis, axes.yaxis)
        if k and edges:
            axes.add_collection(LineCollection(edges, colors=INK, linewidths=1.2 if max(m, n) <= 50 else 0.5))
        panels.append(axes)
    figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01).ax.tick_params(labelsize=8)
    _scatter(figure.add_subplot(maps[0, 3]), comparison, numerical, yours, wrong)
    told = f"Jacobian with respect to {comparison.name} ({m} x {n}); {int(wrong.sum()):,} entries wrong"
    head = f"{verdict(report)}\n{told}{', outlined' if edges else ''}"
    figure.suptitle(head, x=0.01, ha="left", fontsize=11, color=INK, parse_math=False)
    return figure


def _chosen(report: Report, name: str | None) -> Comparison:
    names = [c.name for c in report.comparisons]
    if name is not None and name not in names:
        raise ArgumentError(f"plot: expected the name of one of the inputs {', '.join(names) or '(none)'}, received {name!r}")
    asked = [c for c in report.comparisons if name in (None, c.name)]
    found = (pictured(report) if name is None else None) or next((c for c in asked if has_picture(c)), None)
    if found is None:
        raise ArgumentError(f"plot: expected a comparison with its Jacobian, received one without ({report.method})")
    return found


def _edges(wrong: Array) -> list[Array]:
    """The lines around the regions of wrong entries, from (x, y) to (x, y); none where there are too many."""
    framed = np.pad(wrong, 1).astype(np.int8)
    across, down = np.argwhere(np.diff(framed, axis=0)[:, 1:-1]), np.argwhere(np.diff(framed, axis=1)[1:-1])
    if len(across) + len(down) > _MOST_EDGES:
        return []
    flat = np.stack([across[:, ::-1] - 0.5, across[:, ::-1] + [0.5, -0.5]], axis=1)
    upright = np.stack([down[:, ::-1] - 0.5, down[:, ::-1] + [-0.5, 0.5]], axis=1)
    return [*flat, *upright]


def _scatter(axes: Axes, comparison: Comparison, numerical: Array, yours: Array, wrong: Array) -> None:
    """Entry by entry, with the line on which they should be: another slope is a constant factor."""
    bare(axes, "entry by entry")
    axes.grid(color="#E4E4E4", linewidth=0.7)
    unknown = np.zeros(numerical.shape, bool)
    bars = np.full(numerical.shape, np.nan)
    if comparison.bars is not None:
        bars = np.where(np.isfinite(comparison.bars), comparison.bars, np.nan)  # an infinite one is not known
        unknown = unsettled(numerical, np.asarray(comparison.bars)) & ~wrong
    finite = np.isfinite(numerical) & np.isfinite(yours)
    if finite.any():
        ends = [float(numerical[finite].min()), float(numerical[finite].max())]
        axes.plot(ends, ends, color=FAINT, linewidth=1.0, label="yours = numerical", zorder=1)
    kinds = (("right", ~wrong & ~unknown, BLUE, "o"), ("cannot tell", unknown, FAINT, "s"), ("wrong", wrong, ORANGE, "x"))
    for name, kind, colour, marker in kinds:
        at = np.flatnonzero((kind & finite).reshape(-1))
        at = at[:: max(1, -(-len(at) // _MOST_POINTS))]
        if len(at):
            axes.errorbar(
                numerical.reshape(-1)[at], yours.reshape(-1)[at], xerr=bars.reshape(-1)[at],
                fmt=marker, color=colour, markersize=4, linewidth=0.8, label=name,
            )  # fmt: skip
    axes.set_xlabel("numerical", fontsize=9)
    axes.set_ylabel("yours", fontsize=9)
    axes.legend(fontsize=8, frameon=False)
