"""What a user names on the command line, a bundled set or a file, as a `Dataset`."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.dataset import Dataset, require_two_classes
from backproof.data.labels import code_labels, code_text_labels
from backproof.data.tables import Table, read_table

BUNDLED: dict[str, str] = {
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
    "breast-cancer": "load_breast_cancer",
}
"""Sets that come with scikit-learn, and their loaders."""

_X_NAMES, _T_NAMES = ("x", "X", "data", "features"), ("y", "Y", "t", "target", "label", "labels")


def read(source: str, target: str | None = None) -> Dataset:
    """The labelled data called `source`: "digits", "iris", "wine", "breast-cancer", or a path ending in .csv, .tsv or .npz.

    `target` names the column (CSV) or array (NPZ; by default y, t, target or labels) with the labels. Raises `DataError`, naming
    the file and what was expected, for anything that cannot be trained on.
    """
    if source in BUNDLED:
        if target is not None:
            raise DataError(f"{source}: expected no target for a bundled data set, received {target!r}")
        return _bundled(source)
    path = _existing(source)
    data = (
        _labelled_arrays(path, target)
        if path.suffix == ".npz"
        else _labelled_table(read_table(path, named=[target] if target else []), target)
    )
    return require_two_classes(data)


def read_features(source: str, features: tuple[str, ...], target: str | None = None) -> tuple[Array, Array | None]:
    """(x, true labels or None): the features a model was trained with, found by name in a table, by position in arrays.

    The labels, asked for with `target`, come as they are written: text, or numbers.
    """
    if source in BUNDLED:
        data = _bundled(source)
        return _of_width(data.x, features, source), None if target is None else np.array(data.classes)[data.labels]
    path = _existing(source)
    if path.suffix == ".npz":
        arrays = _arrays(path)
        x = _examples(path, *_pick(path, arrays, None, _X_NAMES, "the examples"))
        x = _of_width(x, features, str(path))
        return x, None if target is None else _one_each(path, *_pick(path, arrays, target, (), "the labels"), len(x))
    table = read_table(path, named=(*features, *([target] if target else [])))
    missing = [name for name in features if name not in table.columns]
    if missing:
        raise DataError(
            f"{path}: expected the model's {len(features)} feature columns, received {len(table.header)} columns without "
            f"{', '.join(map(repr, missing[:5]))}{' ...' if len(missing) > 5 else ''}"
        )
    return table.numbers(features), None if target is None else np.array(_column(table, target))


def _existing(source: str) -> Path:
    path = Path(source)
    if path.suffix not in (".csv", ".tsv", ".npz"):
        raise DataError(f"{source}: expected one of {', '.join(BUNDLED)}, or a file ending in .csv, .tsv or .npz")
    if not path.is_file():
        raise DataError(f"{source}: expected a file, received {'a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise DataError(f"{source}: expected data, received an empty file")
    return path


def _bundled(name: str) -> Dataset:
    import sklearn.datasets

    bunch: Any = getattr(sklearn.datasets, BUNDLED[name])()
    classes = tuple(bunch.target_names.tolist())
    return Dataset(
        name, bunch.data.astype(np.float64), bunch.target.astype(np.int64), classes, tuple(map(str, bunch.feature_names))
    )


def _labelled_table(table: Table, target: str | None) -> Dataset:
    labels, classes = code_text_labels(_column(table, target), f"{table.path}, column {target!r}")
    features = tuple(name for name in table.header if name != target)
    if not features:
        raise DataError(f"{table.path}: expected feature columns beside {target!r}, received none")
    return Dataset(str(table.path), table.numbers(features), labels, classes, features)


def _column(table: Table, target: str | None) -> list[str]:
    if target is None or target not in table.columns:
        shown = ", ".join(map(repr, table.header[:12])) + (" ..." if len(table.header) > 12 else "")
        received = "no --target" if target is None else f"--target {target!r}"
        raise DataError(f"{table.path}: expected the target to be one of the columns {shown}; received {received}")
    return table.columns[target]


def _labelled_arrays(path: Path, target: str | None) -> Dataset:
    arrays = _arrays(path)
    x = _examples(path, *_pick(path, arrays, None, _X_NAMES, "the examples"))
    name, values = _pick(path, arrays, target, _T_NAMES, "the labels")
    labels, classes = code_labels(_one_each(path, name, values, len(x)), f"{path}, array {name!r}")
    return Dataset(str(path), x, labels, classes, tuple(str(i) for i in range(x.shape[1])))


def _one_each(path: Path, name: str, values: Array, examples: int) -> Array:
    if values.shape != (examples,):
        raise DataError(f"{path}, array {name!r}: expected shape ({examples},), one label an example, received {values.shape}")
    return values


def _arrays(path: Path) -> dict[str, Array]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
            arrays = {name: archive[name] for name in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds other things than arrays")
        return arrays
    except (ValueError, TypeError, OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected an .npz archive of plain arrays, received one that cannot be read ({error})") from error


def _pick(path: Path, arrays: dict[str, Array], wanted: str | None, names: tuple[str, ...], what: str) -> tuple[str, Array]:
    found = next((name for name in ((wanted,) if wanted is not None else names) if name in arrays), None)
    if found is None:
        sought = repr(wanted) if wanted is not None else " or ".join(names)
        raise DataError(f"{path}: expected an array {sought} with {what}, received the arrays {', '.join(arrays) or 'none'}")
    return found, arrays[found]


def _examples(path: Path, name: str, x: Array) -> Array:
    where = f"{path}, array {name!r}"
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"{where}: expected shape (N, features) with at least one example, received {x.shape}")
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where}: expected real numbers, received dtype {x.dtype}")
    flat = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(flat).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(flat))[0])
        raise DataError(f"{where}: expected finite numbers, received {flat[row, column]} in row {row}, feature {column}")
    return flat


def _of_width(x: Array, features: tuple[str, ...], where: str) -> Array:
    if x.shape[1] != len(features):
        raise DataError(f"{where}: expected {len(features)} features, as the model was trained with, received {x.shape[1]}")
    return x
