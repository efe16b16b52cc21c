"""NumPy's files: .npy and the arrays of .npz. What is not compressed is mapped, and read only where it is needed."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from backproof._errors import DataError
from backproof.arrays import Array, Shape
from backproof.data.blocks import ArrayRows, column_of
from backproof.data.limits import foreign, require_plausible
from backproof.data.rows import Reading

_X_NAMES, _T_NAMES = ("x", "X", "data", "features"), ("y", "Y", "t", "target", "label", "labels")
_PLAIN = "an .npz archive of plain arrays"


def open_npy(path: Path, reading: Reading) -> ArrayRows:
    """The array in a .npy file; `reading.target` is a column of it, or the .npy file of the labels."""
    where = str(path)
    x = _mapped_npy(path)
    if not reading.labelled:
        return ArrayRows(path, where, x, None)
    column = column_of(reading, where, x)
    if column is not None:
        return ArrayRows(path, where, x, None, column=column)
    if reading.target is None or not reading.target.endswith(".npy"):
        received = "none" if reading.target is None else repr(reading.target)
        raise DataError(f"{path}: expected the target to be the number of a column or a .npy file of labels, received {received}")
    other = Path(reading.target)
    if not other.is_file():
        raise DataError(f"{other}: expected a file of labels, received no such file")
    return ArrayRows(path, where, x, _mapped_npy(other), labels_where=str(other))


def open_npz(path: Path, reading: Reading) -> ArrayRows:
    """The examples and labels in an .npz file, by the names that such arrays usually have; `reading.target` names the labels."""
    with foreign(path, _PLAIN), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        if not all(info.filename.endswith(".npy") for info in members.values()):
            raise ValueError("it holds other things than arrays")
        x_name = _pick(path, members, None, _X_NAMES, "the examples")
        x = _member(path, archive, members[x_name])
        where = f"{path}, array {x_name!r}"
        if not reading.labelled:
            return ArrayRows(path, where, x, None)
        t_name = _pick(path, members, reading.target, _T_NAMES, "the labels")
        return ArrayRows(path, where, x, _member(path, archive, members[t_name]), labels_where=f"{path}, array {t_name!r}")


def _pick(path: Path, members: dict[str, Any], wanted: str | None, names: tuple[str, ...], what: str) -> str:
    found = next((name for name in ((wanted,) if wanted is not None else names) if name in members), None)
    if found is None:
        sought = repr(wanted) if wanted is not None else " or ".join(names)
        raise DataError(f"{path}: expected an array {sought} with {what}, received the arrays {', '.join(members) or 'none'}")
    return found


def _header(file: IO[bytes]) -> tuple[Shape, str, np.dtype[Any]]:
    """(shape, order, dtype) of the array that follows; ValueError for what is no plain array."""
    version = npy_format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy_format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy_format.read_array_header_2_0(file)
    else:
        raise ValueError(f"its version is {version}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if dtype.itemsize == 0 or any(n < 0 for n in shape):
        raise ValueError(f"its shape is {shape}, its dtype {dtype}")
    return shape, "F" if fortran else "C", dtype


def _mapped_npy(path: Path) -> Array:
    with foreign(path, "a .npy file with a plain array"):
        with path.open("rb") as file:
            shape, order, dtype = _header(file)
            offset = file.tell()
        return _mapped(path, offset, path.stat().st_size - offset, shape, order, dtype)


def _mapped(path: Path, offset: int, room: int, shape: Shape, order: str, dtype: np.dtype[Any]) -> Array:
    declared = dtype.itemsize * math.prod(shape)
    if declared > room:
        raise ValueError(f"it declares {declared:,} bytes of data and has {room:,}")
    if declared == 0 or not shape:
        return np.zeros(shape, dtype)  # nothing to map
    return np.memmap(path, dtype, "r", offset, shape, order="F" if order == "F" else "C")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array of an archive: mapped where it lies, or unpacked if its declared size is plausible."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} is encrypted or compressed in a way that NumPy does not use")
    size = path.stat().st_size
    if info.compress_size > size:
        raise ValueError(f"{info.filename} declares more bytes than the file has")
    require_plausible(f"{path}, {info.filename}", info.file_size, info.compress_size)
    with archive.open(info) as file:
        shape, order, dtype = _header(file)
        start, declared = file.tell(), dtype.itemsize * math.prod(shape)
        if declared != info.file_size - start:
            raise ValueError(f"{info.filename} declares {declared:,} bytes of data and has {info.file_size - start:,}")
        if info.compress_type == zipfile.ZIP_DEFLATED:
            data = file.read(declared)
            if len(data) != declared:
                raise ValueError(f"{info.filename} is cut short")
            return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")
    offset = _data_offset(path, info) + start
    return _mapped(path, offset, size - offset, shape, order, dtype)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: behind its local header, of 30 bytes, a name and an extra field (APPNOTE 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<26xHH", file.read(30))
    return info.header_offset + 30 + int(name) + int(extra)
