"""Figures without pyplot: no global state, no backend, nothing to close; and the colours that they have in common."""

from __future__ import annotations

import io
from typing import Literal

from backproof._errors import ArgumentError

try:
    from matplotlib.axes import Axes as Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure as _Figure
    from matplotlib.ticker import MaxNLocator
except ImportError as error:
    raise ArgumentError("plot: expected the package matplotlib to be installed (pip install 'backproof[plots]')") from error

# Okabe & Ito, Color universal design (2008): told apart by colour-blind people too
BLUE, ORANGE, GREEN, PINK, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
LINES = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER)
INK, FAINT, GROUND, FILLED = "#222222", "#767676", "#F4F4F4", "#CFE8F7"

DIVERGING = LinearSegmentedColormap.from_list(
    "orange-white-blue", ["#7F3300", ORANGE, "#F3BF9A", "#FAFAFA", "#9CC9E5", BLUE, "#003A5D"]
).with_extremes(bad="#B0B0B0")
"""Orange below zero, blue above; grey where there is no number."""


class Figure(_Figure):
    """A figure that a notebook shows by itself, whether or not pyplot has been imported."""

    def _repr_png_(self) -> bytes:
        written = io.BytesIO()
        self.savefig(written, format="png", dpi=110)
        return written.getvalue()


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty white figure of so many inches."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    if layout is not None:
        figure.set_layout_engine(layout, w_pad=0.1, h_pad=0.1)  # inches: titles do not touch the edge
    return figure


def bare(axes: Axes, title: str = "") -> None:
    """The house style of a panel: title on the left, no box, a faint grid behind."""
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8, colors=INK)
    axes.set_axisbelow(True)


def count(*axes: Axis) -> None:
    """Axes of indices or epochs: ticks at whole numbers only."""
    for axis in axes:
        axis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
