"""A set of labelled examples, and its split into a part to train on and a part held out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array


@dataclass(frozen=True)
class Dataset:
    """Features x (N, features) in float64, labels (N,) as indices into `classes`, and the names of both."""

    name: str
    x: Array
    labels: Array
    classes: tuple[str | int, ...]
    features: tuple[str, ...]

    def take(self, rows: Array) -> Dataset:
        """The examples at the indices `rows`."""
        return replace(self, x=self.x[rows], labels=self.labels[rows])

    def __len__(self) -> int:
        return len(self.x)


def split(data: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """(train, test): `fraction` of the examples held out, every class in proportion (scikit-learn's stratified split)."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(data.labels, minlength=len(data.classes))
    if counts.min() < 2:
        rare = data.classes[int(counts.argmin())]
        raise DataError(f"{data.name}: expected at least 2 examples of each class, received {counts.min()} of class {rare!r}")
    held = round(len(data) * fraction)
    if min(held, len(data) - held) < len(data.classes):
        raise DataError(
            f"{data.name}: expected enough examples for one of each of the {len(data.classes)} classes on both sides of a "
            f"{fraction:g} split, received {len(data)}"
        )
    train, test = train_test_split(np.arange(len(data)), test_size=held, random_state=seed, stratify=data.labels)
    return data.take(train), data.take(test)


def require_two_classes(data: Dataset) -> Dataset:
    """`data`, or an error if there is nothing to tell apart."""
    if len(data.classes) < 2:
        raise DataError(f"{data.name}: expected at least 2 classes, received one only: {data.classes[0]!r}")
    return data
