"""A set of labelled examples in memory, and its split into a part to train on and a part held out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.coding import Coding
from backproof.data.labels import Classes, classes_of, code
from backproof.data.rows import Image, Kind, Rows

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Dataset:
    """Features x (N, features) in float64, labels (N,) as indices into `classes`, and the names of both.

    kinds : of the columns that are no plain numbers. A categorical column of x holds places in `categories[name]`. image : what
    images the features are the pixels of. rows : where the examples are in the data that they were taken from; None: these are
    all. Splits raise `DataError` where a class has too few examples.

    >>> import numpy as np
    >>> table = Dataset("flowers", np.eye(4), np.array([0, 1, 0, 1]), ("red", "blue"), ("a", "b", "c", "d"))
    >>> train, test = table.split(0.5, seed=0)
    >>> train.x.shape, sorted(test.labels.tolist())
    ((2, 4), [0, 1])
    """

    name: str
    x: Array
    labels: Array
    classes: Classes
    features: tuple[str, ...]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    image: Image | None = None
    rows: Array | None = None

    def take(self, rows: Array) -> Dataset:
        """The examples at the indices `rows`."""
        return replace(self, x=self.x[rows], labels=self.labels[rows], rows=self.places(rows))

    def places(self, order: Array) -> Array:
        """Where the examples with these numbers are in the whole data, from 0."""
        return order if self.rows is None else self.rows[order]

    def pieces(self) -> Iterator[tuple[Array, Array]]:
        """(x, labels) of all examples, in order, some thousands at a time."""
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield self.x[start : start + _ROWS_AT_ONCE], self.labels[start : start + _ROWS_AT_ONCE]

    def split(self, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
        """(train, test): `fraction` of the examples held out, every class in proportion (scikit-learn's stratified split)."""
        from sklearn.model_selection import train_test_split

        counts = np.bincount(self.labels, minlength=len(self.classes))
        if counts.min() < 2:
            rare = self.classes[int(counts.argmin())]
            raise DataError(f"{self.name}: expected at least 2 examples of each class, received {counts.min()} of class {rare!r}")
        held = round(len(self) * fraction)
        if min(held, len(self) - held) < len(self.classes):
            raise DataError(
                f"{self.name}: expected enough examples for one of each of the {len(self.classes)} classes on both sides of a "
                f"{fraction:g} split, received {len(self)}"
            )
        train, test = train_test_split(np.arange(len(self)), test_size=held, random_state=seed, stratify=self.labels)
        return self.take(train), self.take(test)

    def coded(self, coding: Coding) -> Dataset:
        """The same examples, with the inputs of a network for x."""
        return replace(self, x=coding.encode(self.x, self.categories))

    def __len__(self) -> int:
        return len(self.x)


def dataset(rows: Rows) -> Dataset:
    """All that `rows` have, in memory."""
    x = np.empty((len(rows), len(rows.features)))
    written = []
    for piece in rows.all_pieces():
        x[piece.start : piece.start + len(piece.x)] = piece.x
        assert piece.labels is not None
        written.append(piece.labels)
    labels = np.concatenate(written)
    classes = require_two_classes(str(rows.path), classes_of(labels))
    values = {name: vocabulary.values for name, vocabulary in rows.categories.items()}
    return Dataset(str(rows.path), x, code(labels, classes), classes, rows.features, rows.kinds, values, rows.image)


def require_two_classes(name: str, classes: Classes) -> Classes:
    """`classes`, or an error if there is nothing to tell apart."""
    if len(classes) < 2:
        raise DataError(f"{name}: expected at least 2 classes, received one only: {classes[0]!r}")
    return classes
