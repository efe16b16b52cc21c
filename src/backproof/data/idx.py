"""IDX files, the format of MNIST: an array of numbers behind a header of big-endian sizes; gzipped, too.

Source: LeCun, Cortes & Burges, The MNIST database (1998), "file formats".
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import IO

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array, Shape
from backproof.data.blocks import ArrayRows
from backproof.data.limits import foreign, require_plausible
from backproof.data.rows import Reading

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def open_idx(path: Path, reading: Reading) -> ArrayRows:
    """The examples in an IDX file; the labels are in another one, `reading.target`, or named like this one after MNIST's habit."""
    x = _array(path)
    if not reading.labelled:
        return ArrayRows(path, str(path), x, None)
    other = _labels_beside(path) if reading.target is None else Path(reading.target)
    if not other.is_file():
        raise DataError(f"{path}: expected its labels in the IDX file {other}, received no such file; give it as the target")
    return ArrayRows(path, str(path), x, _array(other), labels_where=str(other))


def is_idx(path: Path) -> bool:
    """Whether the file begins as an IDX file, or its name says that it is a gzipped one."""
    if path.name.endswith(".gz"):
        return "idx" in path.name or "ubyte" in path.name
    with path.open("rb") as file:
        start = file.read(4)
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in _DTYPES and 1 <= start[3] <= 8


def _labels_beside(path: Path) -> Path:
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    stem = name.removesuffix(".gz")
    if name == path.name:
        raise DataError(f"{path}: expected the target to be the IDX file of the labels, received none")
    return next((path.with_name(n) for n in (name, stem, f"{stem}.gz") if path.with_name(n).is_file()), path.with_name(name))


def _array(path: Path) -> Array:
    stored = path.stat().st_size
    with foreign(path, "an IDX file"):
        if path.suffix != ".gz":
            with path.open("rb") as file:
                dtype, shape = _header(file)
                offset = file.tell()
            declared = dtype.itemsize * math.prod(shape)
            if declared != stored - offset:
                raise ValueError(f"it declares {declared:,} bytes of data and has {stored - offset:,}")
            return np.memmap(path, dtype, "r", offset, shape) if declared else np.zeros(shape, dtype)
        with gzip.open(path) as file:
            dtype, shape = _header(file)
            declared = dtype.itemsize * math.prod(shape)
            require_plausible(path, declared, stored)
            data = file.read(declared + 1)
        if len(data) != declared:
            raise ValueError(f"it declares {declared:,} bytes of data and has {'more' if len(data) > declared else len(data)}")
        return np.frombuffer(data, dtype).reshape(shape)


def _header(file: IO[bytes] | gzip.GzipFile) -> tuple[np.dtype[np.generic], Shape]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _DTYPES or not 1 <= start[3] <= 8:
        raise ValueError(f"it begins with {start.hex(' ')}")
    return np.dtype(_DTYPES[start[2]]), struct.unpack(f">{start[3]}I", file.read(4 * start[3]))
