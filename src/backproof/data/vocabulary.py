"""The values of a categorical column, numbered."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array

MOST_VALUES = 1000
"""A column of more different values is a name or a number of the example, not a category."""


class Vocabulary:
    """The values of the column that `where` names, in the order of their first appearance; it grows while a file is read."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._places: dict[str, int] = {}

    @property
    def values(self) -> tuple[str, ...]:
        return tuple(self._places)

    def code(self, cells: Iterable[str]) -> Array:
        """The place of each cell's value; an empty cell is a value, too."""
        places = self._places
        found = [places.setdefault(cell, len(places)) for cell in cells]
        if len(places) > MOST_VALUES:
            raise DataError(
                f"{self.where}: expected at most {MOST_VALUES:,} different values in a categorical column, received more; "
                "leave such a column out (ignore)"
            )
        return np.array(found, dtype=np.float64)
