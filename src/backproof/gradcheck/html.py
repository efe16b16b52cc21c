"""A report as HTML: one self-contained piece that a notebook shows, and a page of its own; readable on dark and light ground."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.rendering import brief, corner, pictured, scale, verdict, wrong_cells

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Finding, Report

LARGEST = 24  # rows and columns of a table; of a larger Jacobian a part with a wrong entry is shown
# Colours are laid over whatever the ground is, and text keeps the page's own colour.
STYLE = """
.backproof{font:14px/1.45 system-ui,sans-serif;max-width:70em}
.backproof h3{margin:.2em 0}.backproof .right{color:#2e9e4f}.backproof .wrong{color:#e0483e}
.backproof code,.backproof pre,.backproof td{font-family:ui-monospace,monospace}
.backproof pre{padding:.5em;overflow-x:auto;background:rgba(128,128,128,.15)}
.backproof dt{font-weight:600;margin-top:.4em}.backproof dd{margin-left:1.2em;overflow-wrap:anywhere}
.backproof figure{display:inline-block;margin:.6em 1.2em .6em 0;vertical-align:top}.backproof table{border-collapse:collapse}
.backproof td{padding:1px 5px;text-align:right;font-size:12px;border:1px solid rgba(128,128,128,.25)}
.backproof td.x{outline:2px solid #e0483e;outline-offset:-2px}
""".replace("\n", "")


def page(report: Report) -> str:
    """A whole HTML file."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(verdict(report))}</title></head>\n<body>{fragment(report)}</body></html>\n"
    )


def fragment(report: Report) -> str:
    """The piece for a notebook: no script, nothing loaded from elsewhere, everything that came from outside escaped."""
    parts = [f"<style>{STYLE}</style>", f'<h3 class="{"right" if report.ok else "wrong"}">{escape(verdict(report))}</h3>']
    parts += [_finding(finding) for finding in report.findings]
    comparison = pictured(report)
    if comparison is not None:
        parts.append(_jacobians(comparison))
    rows = [
        f"<li>{escape(c.name)} {escape(str(c.shape))} {escape(c.dtype)}: {escape(c.status)}; {c.wrong:,} of {c.entries:,} wrong, "
        f"{c.undecided:,} undecided; worst difference {c.worst:.2g} (error bar {c.bar:.1g})</li>"
        for c in report.comparisons
    ]
    rows += [f"<li>{escape(note)}</li>" for note in report.notes]
    calls = ", ".join(f"{count:,} {name}" for name, count in report.calls.items() if count)
    rows.append(f"<li>{escape(report.method)}; calls: {escape(calls or 'none')}; {report.seconds:.2g} s; seed {report.seed}</li>")
    parts.append(f"<ul>{''.join(rows)}</ul>")
    if report.replay and not report.ok:
        parts.append(f"<p>To repeat it:</p><pre>{escape(report.replay)}</pre>")
    return f'<div class="backproof">{"".join(parts)}</div>'


def _finding(finding: Finding) -> str:
    of = f" of {escape(finding.name)}" if finding.name else ""
    kind = " (not a bug)" if finding.is_note else ""
    entries = {"fix": finding.fix, "where": finding.where, **{key: brief(value) for key, value in finding.evidence.items()}}
    details = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(value)}</dd>" for key, value in entries.items() if value)
    return (
        f"<p><strong>{escape(finding.cause)}</strong>{of} ({finding.confidence * 100:.0f} %){kind}: {escape(finding.message)}</p>"
        f"<dl>{details}</dl>"
    )


def _jacobians(c: Comparison) -> str:
    numerical, yours, wrong = np.asarray(c.numerical), np.asarray(c.analytical), wrong_cells(c)
    m, n = numerical.shape
    head = f"Jacobian of the output with respect to {escape(c.name)} ({m} &times; {n}; rows: outputs, columns: inputs)"
    if m > LARGEST or n > LARGEST:
        row, column = corner(wrong)
        row, column = max(0, min(row, m - LARGEST)), max(0, min(column, n - LARGEST))
        part = (slice(row, row + LARGEST), slice(column, column + LARGEST))
        numerical, yours, wrong = numerical[part], yours[part], wrong[part]
        head += f", from row {row} and column {column} on"
    with np.errstate(invalid="ignore"):
        difference = yours - numerical
    tables = [("numerical", numerical, False), ("yours", yours, True), ("yours - numerical", difference, True)]
    return f"<p>{head}</p>" + "".join(_table(name, values, wrong if marked else None) for name, values, marked in tables)


def _table(name: str, values: Array, wrong: Array | None) -> str:
    factor, decimals = scale(values)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    rows = []
    for i, row in enumerate(values.tolist()):
        cells = []
        for j, value in enumerate(row):
            mark = ' class="x"' if wrong is not None and wrong[i, j] else ""
            cells.append(f'<td{mark} style="background:{_colour(value, largest)}">{value / factor:.{decimals}f}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    times = "" if factor == 1 else f" (times {factor:.0e})"
    return f"<figure><figcaption>{escape(name)}{times}</figcaption><table>{''.join(rows)}</table></figure>"


def _colour(value: float, largest: float) -> str:
    """Blue above zero, orange below, as strong as the value is large; grey where there is none."""
    if not math.isfinite(value):
        return "rgba(128,128,128,.6)"
    strength = 0.75 * abs(value) / largest if largest else 0.0
    return f"rgba({'40,110,230' if value >= 0 else '235,120,20'},{strength:.2f})"
