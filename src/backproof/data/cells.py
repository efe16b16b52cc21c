"""Cells of text: what is a number, what a date, and what kind of column they make."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from backproof.data.rows import Kind

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_number(cell: str) -> bool:
    """Whether `cell` reads as a number (nan and inf do)."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def seconds(cell: str) -> float | None:
    """An ISO 8601 date, 2024-05-01 or 2024-05-01T12:30:00+02:00, as seconds since 1970 (without a zone: UTC); else None."""
    if not _DATE.fullmatch(cell):
        return None
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


def date_of(value: float) -> str:
    """Seconds since 1970 as a date, with the time of the day if it is not midnight; as a number what no calendar has."""
    try:
        moment = _EPOCH + timedelta(seconds=value)
    except OverflowError:
        return f"{value:.6g}"
    return moment.date().isoformat() if moment.time() == time() else moment.replace(tzinfo=None).isoformat(" ")


def kind_of(cells: Sequence[str]) -> Kind:
    """Of a column: categories if not one cell is a number, dates if all of them are; a column with a number in it is numbers.

    So a slip of the pen in a column of numbers is an error with its line, not a category.
    """
    filled = [cell for cell in cells if cell]
    if not filled or any(map(is_number, filled)):
        return "number"
    return "date" if all(seconds(cell) is not None for cell in filled) else "category"
