"""Class labels as whole numbers from 0, and what may stand in a file for a label."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.cells import is_number

_WHOLE = re.compile(r"[+-]?[0-9]+")
_EXPECTED = "expected class labels (whole numbers from 0, or text)"

Classes = tuple[str | int, ...]


def labels_from_text(cells: Sequence[str], where: str) -> Array:
    """Labels read as text: whole numbers if all of them are, else text."""
    if "" in cells:
        raise DataError(f"{where}: {_EXPECTED}, received an empty cell")
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        longest = max(map(len, cells), default=0)
        if longest > 18:
            raise DataError(f"{where}: {_EXPECTED}, received a number of {longest} digits")
        return require_labels(np.array([int(cell) for cell in cells], dtype=np.int64), where)
    if all(map(is_number, cells)):
        raise DataError(f"{where}: {_EXPECTED}, received {next(c for c in cells if not _WHOLE.fullmatch(c))}")
    return np.array(cells, dtype=object)  # as an array of fixed width, one long cell would multiply with the rows


def require_labels(values: Array, where: str) -> Array:
    """Labels as an array of whole numbers or text; booleans become 0 and 1."""
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuUO":
        shown = f", such as {values.flat[0]}" if values.size else ""
        raise DataError(f"{where}: {_EXPECTED}, received dtype {values.dtype}{shown}")
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise DataError(f"{where}: {_EXPECTED}, received {values.min()}")
    return values


def whole(values: Array, where: str) -> Array:
    """A column of a matrix of numbers as labels: what stands there as 3.0 is 3."""
    if values.dtype.kind == "f":
        if not (values == np.floor(values)).all() or np.abs(values, dtype=np.float64).max(initial=0) >= 2**53:  # nan is neither
            wrong = next(v for v in values.tolist() if not (v == v // 1 and abs(v) < 2**53))
            raise DataError(f"{where}: {_EXPECTED}, received {wrong}")
        values = values.astype(np.int64)
    return require_labels(values, where)


def classes_of(values: Array) -> Classes:
    """The different labels, in order."""
    return tuple(np.unique(values).tolist())


def code(values: Array, classes: Classes) -> Array:
    """The place of each label among `classes`, which are in order and hold all of them."""
    if values.dtype.kind in "UO":
        places = {name: i for i, name in enumerate(classes)}
        return np.array([places[name] for name in values.tolist()], dtype=np.int64)
    return np.searchsorted(np.array(classes, dtype=values.dtype), values).astype(np.int64)


def as_trained(values: Array, classes: Sequence[str | int]) -> list[str | int]:
    """Labels as they stand in a file, in the form that `classes` have: whole numbers where these are, else text."""
    if all(isinstance(name, int) for name in classes):
        if values.dtype.kind in "biu":
            return [int(value) for value in values.tolist()]
        return [int(v) if _WHOLE.fullmatch(v) and len(v) <= 18 else v for v in map(str, values.tolist())]
    return [str(value) for value in values.tolist()]
