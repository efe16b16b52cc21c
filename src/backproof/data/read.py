"""What a user names on the command line, a bundled set, a file or a folder, as data to train on or to predict for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.coding import Coding
from backproof.data.dataset import Dataset, dataset
from backproof.data.idx import is_idx, open_idx
from backproof.data.images import ImageRows
from backproof.data.npy import open_npy, open_npz
from backproof.data.parquet import ParquetRows
from backproof.data.rows import Image, Reading, Rows
from backproof.data.streamed import Streamed, streamed
from backproof.data.tables import TableRows

BUNDLED: dict[str, str] = {
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
    "breast-cancer": "load_breast_cancer",
}
"""Sets that come with scikit-learn, and their loaders."""

STREAM_FROM = 1 << 30
"""Files whose numbers would take more bytes than this in memory, as float64, are read a piece at a time."""

FORMATS: tuple[tuple[str, Callable[[Path], bool], Callable[[Path, Reading], Rows]], ...] = (
    ("a folder of images", lambda path: path.is_dir(), ImageRows),
    (".csv", lambda path: path.suffix.lower() == ".csv", TableRows),
    (".tsv", lambda path: path.suffix.lower() == ".tsv", TableRows),
    (".parquet", lambda path: path.suffix.lower() in (".parquet", ".pq"), ParquetRows),
    (".npz", lambda path: path.suffix.lower() == ".npz", open_npz),
    (".npy", lambda path: path.suffix.lower() == ".npy", open_npy),
    ("IDX (MNIST's)", is_idx, open_idx),
)
"""(name, whether a path is one, its reader), asked from the top; a new format is a new row."""


def read(
    source: str,
    target: str | None = None,
    *,
    stream: bool | None = None,
    categorical: Collection[str] = (),
    ignore: Collection[str] = (),
    image_size: tuple[int, int] | None = None,
) -> Dataset | Streamed:
    """The labelled data called `source`: "digits", "iris", "wine", "breast-cancer", or the path of a file or a folder of images.

    target : where the labels are: the column (CSV, Parquet), the array (NPZ; by default y, t, target or labels), the number of a
    column or a file (NPY), a file (IDX; by default the one beside it). stream : whether the data stay in the file (`Streamed`); by
    default from a gigabyte on. categorical : columns of numbers that are names of categories. ignore : columns to leave out.
    image_size : (height, width) that images are brought to.

    Raises `DataError`, naming the file and what was expected, for anything that cannot be trained on.

    >>> iris = read("iris")
    >>> iris.x.shape, iris.classes
    ((150, 4), ('setosa', 'versicolor', 'virginica'))
    """
    if source in BUNDLED:
        if target is not None:
            raise DataError(f"{source}: expected no target for a bundled data set, received {target!r}")
        if stream or categorical or ignore or image_size is not None:
            raise DataError(f"{source}: expected no options of files for a bundled data set")
        return _bundled(source)
    image = None if image_size is None else Image(*image_size, resize=True)
    reading = Reading(target, kinds=dict.fromkeys(categorical, "category"), ignore=frozenset(ignore), image=image)
    rows = _opened(source, reading)
    if (categorical or ignore) and not isinstance(rows, TableRows | ParquetRows):
        raise DataError(f"{source}: expected a table (CSV or Parquet) with categorical or ignore, received a file without columns")
    if image_size is not None and not isinstance(rows, ImageRows):
        raise DataError(f"{source}: expected a folder of images with image_size, received a file")
    if stream is None:
        stream = rows.streams and 8 * len(rows) * len(rows.features) > STREAM_FROM
    return streamed(rows) if stream else dataset(rows)


class Features:
    """What the file or set `source` has for a model with this `coding`, a piece at a time; with `target`, the true labels, too.

    Columns are found by name in a table, by position in arrays. Raises `DataError` where there are other columns than the model's.

    >>> from backproof.data import fit, read
    >>> coding, _ = fit(read("iris"))
    >>> x, labels = next(Features("iris", coding, target="label").pieces())
    >>> x.shape, str(labels[0])
    ((150, 4), 'setosa')
    """

    def __init__(self, source: str, coding: Coding, target: str | None = None) -> None:
        self.coding = coding
        self.data = _bundled(source) if source in BUNDLED else _opened(source, coding.reading(target))
        self.labelled = target is not None
        width = len(self.data.features)
        if width != len(coding.features):
            raise DataError(f"{source}: expected {len(coding.features)} features, as the model was trained with, received {width}")
        if not coding.categories.keys() <= self.data.categories.keys():
            raise DataError(f"{source}: expected a table with the model's categorical columns, received a file without columns")

    def pieces(self) -> Iterator[tuple[Array, Array | None]]:
        """(x, labels or None): the inputs of the model, and labels as they are written, text or numbers."""
        if isinstance(self.data, Dataset):
            for x, t in self.data.pieces():
                yield x, np.array(self.data.classes)[t] if self.labelled else None
            return
        for piece in self.data.all_pieces():
            yield self.coding.encode(piece.x, self._values()), piece.labels

    def unseen(self) -> dict[str, list[str]]:
        """The values of each categorical column, as far as they have been read, that the model does not know."""
        return self.coding.unseen(self._values())

    def _values(self) -> dict[str, tuple[str, ...]]:
        return {} if isinstance(self.data, Dataset) else {name: words.values for name, words in self.data.categories.items()}


def _opened(source: str, reading: Reading) -> Rows:
    path = Path(source)
    known = f"expected one of {', '.join(BUNDLED)}, or {', '.join(name for name, *_ in FORMATS)}"
    if not (path.is_file() or path.is_dir()):
        raise DataError(f"{source}: {'expected a file' if path.suffix else known}, received no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{source}: expected data, received an empty file")
    for _, fits, opened in FORMATS:
        if fits(path):
            return opened(path, reading)
    raise DataError(f"{source}: {known}; received something else")


def _bundled(name: str) -> Dataset:
    import sklearn.datasets

    bunch: Any = getattr(sklearn.datasets, BUNDLED[name])()
    classes, names = tuple(bunch.target_names.tolist()), tuple(map(str, bunch.feature_names))
    image = Image(bunch.images.shape[1], bunch.images.shape[2], 1) if "images" in bunch else None
    return Dataset(name, bunch.data.astype(np.float64), bunch.target.astype(np.int64), classes, names, image=image)
