"""Figures as a chart: how fast each library does each kernel, in units of torch's speed; one panel a shape.

python -m benchmarks.chart docs/benchmarks/figures.csv        # draws it again beside the file
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.figures import OURS, TORCH, Figure

COLOURS = {OURS: "#0b6e4f", "jax": "#d1791b", "scipy": "#6a5acd", "scikit-learn": "#6a5acd", "liger": "#b03060"}
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
COLUMNS = 2
OWN_PANELS = ("softmax kernels", "GPU kernels")  # the shapes of other benchmarks share one
LEFT_OUT = ("imports", "first call")  # parts of "imports and first call"
BAR = 0.27


def draw(figures: Sequence[Figure], path: Path) -> None:
    panels: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for title, label, figure in _lines(figures):
        rows = panels.setdefault(title, [])
        if not rows or rows[-1][0] != label:
            rows.append((label, {}))
        rows[-1][1][figure.library] = figure
    heights = [max(map(len, list(panels.values())[i : i + COLUMNS])) + 1.8 for i in range(0, len(panels), COLUMNS)]
    size = (13.0, 0.3 * sum(heights) + 1.6)
    canvas, axes = plt.subplots(len(heights), COLUMNS, figsize=size, height_ratios=heights, squeeze=False)
    for axis, (title, rows) in zip(axes.flat, panels.items(), strict=False):
        _panel(axis, title, rows)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    canvas.suptitle("Speed in units of torch's (time of torch's fastest way / time taken): longer is faster", y=1 - 0.1 / size[1])
    there = {f.library for f in figures}
    others = {"jax": "jax", "scipy, scikit-learn": "scipy", "liger": "liger"}
    colours = {OURS: COLOURS[OURS], **{said: COLOURS[name] for said, name in others.items() if name in there}}
    handles: list[Any] = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in colours.values()]
    canvas.legend(
        [*handles, plt.Line2D([], [], color="black", lw=2)],
        [*colours, "a plain copy of the bytes that must move"],
        loc="upper center", bbox_to_anchor=(0.5, 1 - 0.3 / size[1]), ncols=4, frameon=False,
    )  # fmt: skip
    canvas.text(0.01, 0.05 / size[1], _caption(figures), fontsize=8, va="bottom", color="#444444")
    canvas.tight_layout(rect=(0, 0.45 / size[1], 1, 1 - 0.6 / size[1]))
    canvas.savefig(path, dpi=110)
    plt.close(canvas)


def _lines(figures: Sequence[Figure]) -> list[tuple[str, str, Figure]]:
    """(panel, line, figure): a line for each of our ways, with the fastest of each other library."""
    found = []
    keys = dict.fromkeys((f.benchmark, f.shape, f.kernel) for f in figures)
    for benchmark, shape, kernel in keys:
        group = [f for f in figures if (f.benchmark, f.shape, f.kernel) == (benchmark, shape, kernel)]
        best: dict[str, Figure] = {}
        for figure in group:
            if figure.library not in best or figure.median_us < best[figure.library].median_us:
                best[figure.library] = figure
        others = [f for library, f in best.items() if library not in (OURS, TORCH)]
        if TORCH not in best:
            continue
        own = benchmark in OWN_PANELS
        title = f"{benchmark}: {shape}" if own else benchmark
        prefix = shape.removesuffix(", float32").removesuffix(", float64")
        ours = [f for f in figures if f.benchmark == benchmark and f.library == OURS and f.kernel not in LEFT_OUT]
        kernels, variants = {f.kernel for f in ours}, {f.variant for f in ours}
        for way in [f for f in group if f in ours]:
            said = ", ".join([way.kernel] * (len(kernels) > 1) + [way.variant] * (len(variants) > 1))  # what tells them apart
            label = way.name if own else f"{prefix}: {said}".removesuffix(": ")
            found += [(title, label, figure) for figure in [way, *others]]
    return found


def _panel(axis: Any, title: str, rows: list[tuple[str, dict[str, Figure]]]) -> None:
    for y, (_, by_library) in enumerate(rows):
        for i, (library, figure) in enumerate(by_library.items()):
            ratio = figure.torch_over_it
            if ratio is None:
                continue
            place = y + BAR * (i - (len(by_library) - 1) / 2)
            axis.barh(place, ratio - 1, left=1, height=BAR * 0.92, color=COLOURS[library])
            right = ratio >= 1
            axis.annotate(
                f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}", (ratio, place), (3 if right else -3, 0),
                textcoords="offset points", va="center", ha="left" if right else "right", fontsize=7,
                fontweight="bold" if library == OURS else "normal",
            )  # fmt: skip
            if library == OURS and figure.share_of_copy_bound:
                axis.plot([ratio / figure.share_of_copy_bound] * 2, [y - 0.42, y + 0.42], color="black", lw=2)
    axis.axvline(1, color="#444444", lw=1)
    axis.set_xscale("log")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.5) / 1.5, max(high, 2) * 1.5)
    axis.set_xticks([t for t in TICKS if axis.get_xlim()[0] <= t <= axis.get_xlim()[1]])
    axis.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.minorticks_off()
    axis.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(axis="x", color="#dddddd", lw=0.7)
    axis.set_axisbelow(True)
    axis.set_title(title, fontsize=10, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _caption(figures: Sequence[Figure]) -> str:
    versions = sorted({part for figure in figures for part in figure.versions.split(", ")})
    busy = [f.others_cpus for f in figures if f.others_cpus is not None]
    threads = sorted({f.threads for f in figures if f.benchmark != "gradient check"})
    lines = [
        f"{figures[0].machine}; {', '.join(map(str, threads))} threads (gradient check: 1)"
        + (f"; others kept at most {max(busy):.2f} cores busy meanwhile" if busy else ""),
        ", ".join(versions),
    ]
    return "\n".join(lines)


def read(path: Path) -> list[Figure]:
    """The figures of a file that `figures.write_csv` has written."""

    def number(text: str) -> float | None:
        return float(text) if text else None

    with path.open(newline="") as file:
        return [
            Figure(
                **{
                    **row,
                    "threads": int(row["threads"]),
                    **{name: number(row[name]) for name in row if name.endswith(("_us", "_it", "_bound", "_cpus"))},
                }
            )
            for row in csv.DictReader(file)
        ]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        draw(read(Path(argument)), Path(argument).with_suffix(".png"))
