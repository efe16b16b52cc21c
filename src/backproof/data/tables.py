"""CSV files: a rectangular table of text, and columns of numbers out of it. Every error names the file, the line and the column."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.cells import is_number, kind_of, seconds
from backproof.data.labels import labels_from_text
from backproof.data.rows import Kind, Piece, Reading, Rows
from backproof.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Table:
    """Cells as text, a list a column, with the line of the file that each row ended on."""

    path: Path
    header: tuple[str, ...]
    columns: dict[str, list[str]]
    lines: list[int]

    def numbers(self, name: str) -> Array:
        """A column as finite float64."""
        cells = self.columns[name]
        try:
            values = np.array([float(cell) for cell in cells])
        except ValueError:
            row = next(row for row, cell in enumerate(cells) if not is_number(cell))
            hint = "; if the column holds categories, name it in categorical" if cells[row] else ""
            raise self._error(row, name, "a number", hint) from None
        if not np.isfinite(values).all():
            raise self._error(int(np.argmin(np.isfinite(values))), name, "a finite number")
        return values

    def dates(self, name: str) -> Array:
        """A column of ISO 8601 dates as seconds since 1970."""
        values = [seconds(cell) for cell in self.columns[name]]
        if None in values:
            raise self._error(values.index(None), name, "a date such as 2024-05-01 or 2024-05-01T12:30:00")
        return np.array(values, dtype=np.float64)

    def _error(self, row: int, name: str, expected: str, hint: str = "") -> DataError:
        cell = self.columns[name][row]
        shown = repr(cell if len(cell) <= 60 else f"{cell[:60]}...") if cell else "an empty cell"
        return DataError(f"{self.path}, line {self.lines[row]}, column {name!r}: expected {expected}, received {shown}{hint}")


class TableRows(Rows):
    """The examples of a CSV file, which is held in memory."""

    streams = False

    def __init__(self, path: Path, reading: Reading) -> None:
        named = (*(reading.features or ()), *([reading.target] if reading.target else []), *reading.kinds, *reading.ignore)
        self.path = path
        self.table = table = read_table(path, named)
        self.target, self.features = wanted_columns(path, table.header, reading)
        self.segments = 1
        found: dict[str, Kind] = {name: kind_of(table.columns[name]) for name in self.features if reading.features is None}
        self.kinds = {name: kind for name, kind in (found | dict(reading.kinds)).items() if kind != "number"}
        self.categories = {name: Vocabulary(f"{path}, column {name!r}") for name, kind in self.kinds.items() if kind == "category"}

    def __len__(self) -> int:
        return len(self.table.lines)

    def pieces(self, segment: int) -> Iterator[Piece]:
        table = self.table
        x = np.empty((len(self), len(self.features)))
        for k, name in enumerate(self.features):
            if name in self.categories:
                x[:, k] = self.categories[name].code(table.columns[name])
            else:
                x[:, k] = table.dates(name) if name in self.kinds else table.numbers(name)
        labels = None
        if self.target is not None:
            labels = labels_from_text(table.columns[self.target], f"{self.path}, column {self.target!r}")
        yield Piece(0, x, labels)


def wanted_columns(path: Path, header: tuple[str, ...], reading: Reading) -> tuple[str | None, tuple[str, ...]]:
    """(target, features) of a table with the columns `header`; `DataError` for what is asked for and is not there."""
    if reading.labelled and (reading.target is None or reading.target not in header):
        received = "no --target" if reading.target is None else f"--target {reading.target!r}"
        raise DataError(f"{path}: expected the target to be one of the columns {_shown(header)}; received {received}")
    absent = sorted({*reading.kinds, *reading.ignore} - set(header)) if reading.features is None else []
    if absent:
        raise DataError(f"{path}: expected columns among {_shown(header)}, received {absent[0]!r}")
    missing = [name for name in reading.features or () if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected the model's {len(reading.features or ())} feature columns, received {len(header)} columns without "
            f"{', '.join(map(repr, missing[:5]))}{' ...' if len(missing) > 5 else ''}"
        )
    target = reading.target if reading.labelled else None
    features = reading.features or tuple(name for name in header if name != target and name not in reading.ignore)
    if not features:
        raise DataError(f"{path}: expected feature columns beside {target!r}, received none")
    return target, features


def _shown(header: tuple[str, ...]) -> str:
    return ", ".join(map(repr, header[:12])) + (" ..." if len(header) > 12 else "")


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
