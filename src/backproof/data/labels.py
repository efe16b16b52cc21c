"""Class labels as whole numbers from 0, and what may stand in a file for a label."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.tables import is_number

_WHOLE = re.compile(r"[+-]?\d+")
_EXPECTED = "expected class labels (whole numbers from 0, or text)"


def code_text_labels(values: Sequence[str], where: str) -> tuple[Array, tuple[str | int, ...]]:
    """Labels read as text: (indices, classes). If all are whole numbers they are ordered as numbers, else as text."""
    if "" in values:
        raise DataError(f"{where}: {_EXPECTED}, received an empty cell")
    if all(_WHOLE.fullmatch(value) for value in values):
        if max(map(len, values)) > 18:
            raise DataError(f"{where}: {_EXPECTED}, received a number of {max(map(len, values))} digits")
        return code_labels(np.array([int(value) for value in values]), where)
    if all(is_number(value) for value in values):
        raise DataError(f"{where}: {_EXPECTED}, received {next(v for v in values if not _WHOLE.fullmatch(v))}")
    return _coded(np.array(values))


def code_labels(values: Array, where: str) -> tuple[Array, tuple[str | int, ...]]:
    """Labels as an array of whole numbers, booleans or text: (indices, classes)."""
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuU":
        shown = f", such as {values.flat[0]}" if values.size else ""
        raise DataError(f"{where}: {_EXPECTED}, received dtype {values.dtype}{shown}")
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise DataError(f"{where}: {_EXPECTED}, received {values.min()}")
    return _coded(values)


def as_trained(values: Array, classes: Sequence[str | int]) -> list[str | int]:
    """Labels as they stand in a file, in the form that `classes` have: whole numbers where these are, else text."""
    if all(isinstance(name, int) for name in classes):
        if values.dtype.kind in "biu":
            return [int(value) for value in values.tolist()]
        return [int(v) if _WHOLE.fullmatch(v) and len(v) <= 18 else v for v in map(str, values.tolist())]
    return [str(value) for value in values.tolist()]


def _coded(values: Array) -> tuple[Array, tuple[str | int, ...]]:
    classes, labels = np.unique(values, return_inverse=True)
    return labels.astype(np.int64), tuple(classes.tolist())
