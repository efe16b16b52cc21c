"""The piece that a notebook shows of a report: light, and without a script."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.rendering import basis, corner, pictured, scale, wrong_cells
from backproof.report import parts
from backproof.report.markup import NOTHING, Html, element
from backproof.report.page import asset

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Report

LARGEST = 24  # rows and columns of a table; of a larger Jacobian a part with a wrong entry is shown


def fragment(report: Report) -> str:
    """Verdict, causes, the pictured Jacobian in numbers, the inputs."""
    comparison = pictured(report)
    body = [
        element("style", Html(asset("fragment.css"))),
        element("h3", element("code", report.target), ": ", parts.headline(report)),
        *map(parts.in_brief, report.findings),
        NOTHING if comparison is None else _jacobians(comparison),
        parts.inputs(report) if report.comparisons else NOTHING,
        parts.notes(report),
        element("p", f"{basis(report)}; seed {report.seed}"),
    ]
    if report.replay and not report.ok:
        body += [element("p", "To repeat it:"), element("pre", report.replay)]
    return str(element("div", *body, class_="backproof"))


def _jacobians(c: Comparison) -> Html:
    numerical, yours, wrong = np.asarray(c.numerical), np.asarray(c.analytical), wrong_cells(c)
    m, n = numerical.shape
    size = f"{m} \N{MULTIPLICATION SIGN} {n}"
    head = f"Jacobian of the output with respect to {c.name} ({size}; rows: outputs, columns: inputs; wrong entries outlined)"
    if m > LARGEST or n > LARGEST:
        row, column = corner(wrong)
        row, column = max(0, min(row, m - LARGEST)), max(0, min(column, n - LARGEST))
        part = (slice(row, row + LARGEST), slice(column, column + LARGEST))
        numerical, yours, wrong = numerical[part], yours[part], wrong[part]
        head += f", from row {row} and column {column} on"
    with np.errstate(invalid="ignore"):
        difference = yours - numerical
    none = np.zeros_like(wrong)
    tables = [("numerical", numerical, none), ("yours", yours, wrong), ("difference", difference, wrong)]
    return element("p", head) + element("div", *(_table(*parts) for parts in tables))


def _table(name: str, values: Array, wrong: Array) -> Html:
    factor, decimals = scale(values)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    tiny = 1e-9 * largest
    rows = [
        element(
            "tr",
            *(
                element(
                    "td",
                    "0" if abs(value) <= tiny else f"{value / factor:.{decimals}f}",
                    class_="x" if bad else None,
                    style=f"background:{_colour(value, largest)}",
                )
                for value, bad in zip(row, marks, strict=True)
            ),
        )
        for row, marks in zip(values.tolist(), wrong.tolist(), strict=True)
    ]
    times = "" if factor == 1 else f" (times {factor:.0e})"
    return element("figure", element("figcaption", name + times), element("table", *rows, class_="cells"))


def _colour(value: float, largest: float) -> str:
    """Blue above zero, orange below, as strong as the value is large, over whatever the ground is; grey where there is none."""
    if not math.isfinite(value):
        return "rgba(128,128,128,.6)"
    strength = 0.75 * abs(value) / largest if largest else 0.0
    return f"rgba({'40,110,230' if value >= 0 else '235,120,20'},{strength:.2f})"
