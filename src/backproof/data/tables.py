"""CSV files: a rectangular table of text, and columns of numbers out of it. Every error names the file, the line and the column."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array


@dataclass(frozen=True)
class Table:
    """Cells as text, a list a column, with the line of the file that each row ended on."""

    path: Path
    header: tuple[str, ...]
    columns: dict[str, list[str]]
    lines: list[int]

    def numbers(self, names: tuple[str, ...]) -> Array:
        """The named columns as (rows, columns) of finite float64."""
        values = np.empty((len(self.lines), len(names)))
        for k, name in enumerate(names):
            try:
                values[:, k] = np.array(self.columns[name], dtype=np.float64)
            except ValueError:
                self._complain(name)
            if not np.isfinite(values[:, k]).all():
                row = int(np.argmin(np.isfinite(values[:, k])))
                raise self._error(row, name, "a finite number", self.columns[name][row])
        return values

    def _complain(self, name: str) -> None:
        for row, cell in enumerate(self.columns[name]):
            try:
                float(cell)
            except ValueError:
                raise self._error(row, name, "a number", cell) from None

    def _error(self, row: int, name: str, expected: str, cell: str) -> DataError:
        received = repr(cell) if cell else "an empty cell"
        return DataError(f"{self.path}, line {self.lines[row]}, column {name!r}: expected {expected}, received {received}")


def read_table(path: Path, named: Collection[str] = ()) -> Table:
    """The table in `path`: comma, semicolon or tab separated.

    The first line is the header, unless it is numbers for the most part and holds none of the names in `named`; without a header
    the columns are called "0", "1", ... (and such names in `named` mean these)
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text, received other bytes ({error.reason} at byte {error.start})") from error
    if "\0" in text:
        raise DataError(f"{path}: expected a CSV file, received binary data")
    rows, lines = _rows(path, text)
    if not rows:
        raise DataError(f"{path}: expected a table with at least one row, received an empty file")
    header = tuple(cell.strip() for cell in rows[0])
    if sum(map(is_number, header)) > len(header) / 2 and not {n for n in named if not n.isdigit()} & set(header):
        header = tuple(str(i) for i in range(len(header)))
    else:
        rows, lines = rows[1:], lines[1:]
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise DataError(f"{path}: expected columns of different names, received {twice!r} more than once")
    if not rows:
        raise DataError(f"{path}: expected at least one row below the header, received none")
    columns = {name: [row[i].strip() for row in rows] for i, name in enumerate(header)}
    return Table(path, header, columns, lines)


def _rows(path: Path, text: str) -> tuple[list[list[str]], list[int]]:
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(f"{path}, line {reader.line_num}: expected {len(rows[0])} fields, received {len(row)}")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: expected comma separated values, received {error}") from error
    return rows, lines


def is_number(cell: str) -> bool:
    """Whether `cell` reads as a number (nan and inf do)."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
