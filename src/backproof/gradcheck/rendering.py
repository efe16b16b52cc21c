"""A report as plain text: verdict and cause first, then the cure, a picture of the Jacobian, and what it all rests on."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from backproof.arrays import Array

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Finding, Report

WIDTH = 100
NUMBERS = 8  # so many columns and rows are written as numbers
MAP_COLUMNS, MAP_ROWS = 60, 20  # and so many marks at most


def text(report: Report) -> str:
    """The report as it is printed: at most 100 characters wide (but for a replay line without commas to break it at)."""
    lines = [verdict(report)]
    if report.ok:
        lines += _wrap(basis(report))
        lines += [line for finding in report.findings for line in _brief(finding)]
        lines += [line for note in report.notes for line in _wrap(f"note: {note}")]
        return "\n".join(lines)
    shown = leading(report)
    if shown is not None:
        lines += _wrap(f"{shown.cause} ({shown.confidence * 100:.0f} %): {shown.message}")
        lines += _wrap(shown.fix, "fix: ") + (_wrap(shown.where, "where: ") if shown.where != shown.name else [])
    comparison = pictured(report)
    if comparison is not None:
        lines += ["", *picture(comparison)]
    lines.append("")
    if shown is not None:
        lines += [line for key, value in shown.evidence.items() for line in _wrap(f"evidence: {key} = {brief(value)}")]
    lines += [line for c in report.comparisons for line in _wrap(_compared(c))]
    lines += [line for finding in report.findings if finding is not shown for line in _brief(finding)]
    lines += [line for note in report.notes for line in _wrap(f"note: {note}")]
    lines += _wrap(basis(report))
    if report.replay:
        lines += ["replay:", *(part for line in report.replay.splitlines() for part in broken(line))]
    return "\n".join(lines)


def verdict(report: Report) -> str:
    """The first line: what was checked, and whether it is right."""
    return textwrap.shorten(f"{report.target}: {claim(report)}", WIDTH, placeholder=" ...")


def claim(report: Report) -> str:
    """Whether it is right, and the gradient of what."""
    names = {c.status: [d.name for d in report.comparisons if d.status == c.status] for c in report.comparisons}
    unsure = names.get("cannot tell", [])
    tail = f"; cannot tell for {listed(unsure)}" if unsure else ""
    if report.ok:
        right = names.get("right", [])
        return (f"right gradient of {listed(right)}" if right else "nothing wrong found") + tail
    bugs = [f.name or f"input {f.input}" for f in report.findings if not f.is_note and f.input is not None]
    wrong = list(dict.fromkeys([*names.get("wrong", []), *bugs]))
    return "WRONG" + (f" gradient of {listed(wrong)}" if wrong else "") + tail


def pictured(report: Report) -> Comparison | None:
    """The comparison that is worth a picture: a wrong one, that of the first finding if it is; None if none was kept."""
    shown = leading(report)
    kept = [c for c in report.comparisons if c.status == "wrong" and has_picture(c)]
    kept.sort(key=lambda c: shown is None or c.input != shown.input)
    return kept[0] if kept else None


def has_picture(c: Comparison) -> bool:
    """Whether both Jacobians were kept."""
    if c.numerical is None or c.analytical is None:
        return False
    return c.numerical.ndim == 2 and c.numerical.shape == c.analytical.shape and c.numerical.size > 0


def wrong_cells(c: Comparison) -> Array:
    """Which entries of the Jacobian are wrong; those that are not finite where the numerical ones are, if nobody said."""
    numerical, yours = np.asarray(c.numerical), np.asarray(c.analytical)
    if c.wrong_cells is not None and c.wrong_cells.shape == numerical.shape:
        return c.wrong_cells.astype(bool)
    return np.asarray(np.isfinite(numerical) & ~np.isfinite(yours))


def picture(c: Comparison) -> list[str]:
    """The Jacobian in characters: the numbers of both if it is small, else a map of marks and the numbers of one corner."""
    numerical, yours, wrong = np.asarray(c.numerical), np.asarray(c.analytical), wrong_cells(c)
    m, n = numerical.shape
    head = f"Jacobian of the output with respect to {c.name} ({m} x {n}; rows: outputs, columns: inputs)"
    if n <= NUMBERS and m <= NUMBERS:
        return [*_wrap(head), *numbers(numerical, yours, wrong)]
    rows, columns = corner(wrong)
    block = (slice(rows, rows + 5), slice(columns, columns + 5))
    where = f"numbers of {_span('row', rows, min(m, rows + 5))}, {_span('column', columns, min(n, columns + 5))}"
    return [*_wrap(head), *marks(numerical, yours, wrong), "", where, *numbers(*(a[block] for a in (numerical, yours, wrong)))]


def _span(what: str, start: int, stop: int) -> str:
    return f"{what} {start}" if stop == start + 1 else f"{what}s {start} to {stop - 1}"


def corner(wrong: Array) -> tuple[int, int]:
    """Row and column at which the written-out block begins: the first wrong entry, with the diagonal if there is room."""
    m, n = wrong.shape
    if not wrong.any():
        return 0, 0
    row, column = map(int, np.argwhere(wrong)[0])
    if m == n and row <= column < row + 5:
        column = row
    elif m == n and column < row < column + 5:
        row = column
    return max(0, min(row, m - 5)), max(0, min(column, n - 5))


def marks(numerical: Array, yours: Array, wrong: Array) -> list[str]:
    """A map: `.` zero, `o` right, `X` wrong, `?` cannot tell; the worst of each cell where several entries share a mark."""
    finite = np.abs(numerical[np.isfinite(numerical)])
    tiny = 1e-9 * float(finite.max(initial=0.0))
    with np.errstate(invalid="ignore"):
        level = np.where((np.abs(numerical) <= tiny) & (np.abs(yours) <= tiny), 0, 1)
    level[~np.isfinite(numerical)] = 2
    level[wrong] = 3
    m, n = level.shape
    tall, wide = math.ceil(m / MAP_ROWS), math.ceil(n / MAP_COLUMNS)
    padded = np.zeros((math.ceil(m / tall) * tall, math.ceil(n / wide) * wide), dtype=int)
    padded[:m, :n] = level
    worst = padded.reshape(len(padded) // tall, tall, -1, wide).max(axis=(1, 3))
    legend = ". zero   o right   X wrong   ? cannot tell"
    if tall * wide > 1:
        legend += f"   (a mark: {tall} x {wide} entries)"
    return [*("  " + "".join(".o?X"[k] for k in row) for row in worst), "  " + legend]


def numbers(numerical: Array, yours: Array, wrong: Array) -> list[str]:
    """Both matrices in numbers with a common scale, side by side if they fit; an X behind every wrong one."""
    factor, decimals = scale(numerical, yours)
    left = _cells(numerical / factor, np.zeros_like(wrong), decimals)
    right = _cells(yours / factor, wrong, decimals)
    times = "" if factor == 1 else f" (times {factor:.0e})"
    names = (f"numerical{times}", "yours, X where wrong")
    gap = "     "
    width = max(len(names[0]), *map(len, left))
    if width + len(gap) + max(len(names[1]), *map(len, right)) + 2 > WIDTH:
        return [f"  {names[0]}", *(f"  {line}" for line in left), f"  {names[1]}", *(f"  {line}".rstrip() for line in right)]
    pairs = zip([names[0], *left], [names[1], *right], strict=True)
    return [f"  {a:<{width}}{gap}{b}".rstrip() for a, b in pairs]


def scale(*arrays: Array) -> tuple[float, int]:
    """The power of ten by which the numbers are divided, and how many decimals then tell them apart."""
    largest = max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays), default=0.0)
    if largest == 0 or 0.01 <= largest < 1e4:
        return 1.0, max(0, 4 - len(str(int(largest))) + 1)
    return 10.0 ** math.floor(math.log10(largest)), 4


def _cells(values: Array, wrong: Array, decimals: int) -> list[str]:
    tiny = 1e-9 * float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    shown = [[_number(v, tiny, decimals) for v in row] for row in values.tolist()]
    width = max(len(cell) for row in shown for cell in row)
    return [
        " ".join(f"{cell:>{width}}{'X' if bad else ' '}" for cell, bad in zip(row, bads, strict=True)).rstrip()
        for row, bads in zip(shown, wrong.tolist(), strict=True)
    ]


def _number(value: float, tiny: float, decimals: int) -> str:
    if abs(value) <= tiny:
        return "0"
    return f"{value:.{decimals}f}" if abs(value) < 1e6 else f"{value:.1e}"


def brief(value: Any) -> str:
    """A piece of evidence in a line or so."""
    if isinstance(value, str):
        return value
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    if isinstance(value, np.ndarray):
        if value.size > 16:
            return f"array of shape {value.shape}: {brief(value.ravel()[:4].tolist())[1:-1]}, ..."
        return brief(value.tolist())
    if isinstance(value, list | tuple):
        inner = ", ".join(brief(part) for part in value[:16]) + (", ..." if len(value) > 16 else "")
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {brief(part)}" for key, part in value.items())
    return str(value)


def broken(line: str) -> list[str]:
    """A line of Python in lines of at most 100 characters, broken where Python allows it: behind a comma within brackets."""
    parts: list[str] = []
    start = last = depth = 0
    quote = ""
    for i, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote and line[i - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == " " and depth and line[i - 1] == ",":
            last = i
        indent = 4 if parts else 0
        if i - start + indent >= WIDTH and last > start:
            parts.append(" " * indent + line[start:last])
            start = last + 1
    return [*parts, (" " * 4 if parts else "") + line[start:]]


def leading(report: Report) -> Finding | None:
    """The finding that the report begins with: the most likely cause, or else a note."""
    return next((f for f in report.findings if not f.is_note), report.findings[0] if report.findings else None)


def _brief(finding: Finding) -> list[str]:
    kind = "note" if finding.is_note else "also"
    of = f" {finding.name}" if finding.name else ""
    line = f"{kind}:{of} {finding.cause} ({finding.confidence * 100:.0f} %): {finding.message}"
    return _wrap(line) if finding.is_note else [textwrap.shorten(line, WIDTH, placeholder=" ...")]


def _compared(c: Comparison) -> str:
    """One input's comparison in a line."""
    shape = "x".join(map(str, c.shape)) if c.shape else "scalar"
    line = f"{c.name} ({shape}, {c.dtype}): {c.status}"
    if c.entries:
        line += f"; {c.wrong:,} of {c.entries:,} compared values wrong" + (f", {c.undecided:,} undecided" if c.undecided else "")
        line += f"; worst difference {c.worst:.2g} (error bar {c.bar:.1g})"
    return line


def basis(report: Report) -> str:
    """How it was compared, by how many calls, in how long."""
    calls = ", ".join(f"{count:,} {name}" for name, count in report.calls.items() if count)
    return "; ".join(part for part in (report.method, f"calls: {calls}" if calls else "", f"{report.seconds:.2g} s") if part)


def listed(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def _wrap(words: str, head: str = "") -> list[str]:
    return list(_wrapped(words, head)) if words else []


def _wrapped(words: str, head: str) -> Iterator[str]:
    for i, line in enumerate(words.splitlines()):
        first = head if i == 0 else "    "
        yield from textwrap.wrap(line, WIDTH, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False)
