"""What the pages of a Parquet file say of their sizes, looked at before pyarrow asks for memory by it.

A page's header is in front of its data, where nothing checks it: four damaged bytes would have two gigabytes allocated.

Sources: the Parquet format (parquet.thrift: FileMetaData, RowGroup, ColumnChunk, ColumnMetaData, PageHeader; the numbers below are
those of its fields) and Thrift's compact protocol (thrift-compact-protocol.md), in which its structures are written.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from backproof.data.limits import require_plausible

RATIO = 1000
_DEEPEST = 24  # structures in structures; the format has eight
_HEADER, _LONG_HEADER = 1 << 12, 1 << 24

Struct = dict[int, Any]


def require_plausible_pages(path: Path) -> None:
    """Raise `DataError` for pages that declare to unpack to more than `RATIO` times their size.

    Damaged headers raise whatever they lead to: this stands inside `limits.foreign`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for group in _footer(file, size)[4]:
            for chunk in group[1]:
                column = chunk[3]
                start, compressed = column[9], column[7]
                if 0 < column.get(11, 0) < start:
                    start = column[11]
                _walk(path, file, start, compressed, size)


def _walk(path: Path, file: IO[bytes], start: int, compressed: int, size: int) -> None:
    """The pages of one column chunk."""
    if not 0 <= start <= start + compressed <= size:
        raise ValueError(f"it declares a column of {compressed:,} bytes at {start:,} and has {size:,}")
    at = start
    while at < start + compressed:
        header, length = _page_header(file, at)
        unpacked, packed = header[2], header[3]
        at += length + packed
        if packed < 0 or unpacked < 0 or at > size:
            raise ValueError(f"it declares a page that ends at {at:,} and has {size:,} bytes")
        require_plausible(f"{path}, page at {at - packed:,}", unpacked, packed, RATIO)


def _page_header(file: IO[bytes], at: int) -> tuple[Struct, int]:
    for room in (_HEADER, _LONG_HEADER):  # long ones hold long smallest and largest texts
        file.seek(at)
        reader = _Compact(file.read(room))
        try:
            return reader.struct(), reader.at
        except IndexError:
            continue
    raise ValueError(f"the page at {at:,} is cut short")


def _footer(file: IO[bytes], size: int) -> Struct:
    file.seek(-8, 2)
    length = int.from_bytes(file.read(4), "little")
    if length + 12 > size or file.read(4) != b"PAR1":
        raise ValueError(f"it declares a footer of {length:,} bytes and has {size:,}")
    file.seek(-8 - length, 2)
    return _Compact(file.read(length)).struct()


class _Compact:
    """Values of Thrift's compact protocol, read one after the other; IndexError at the end of the bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        value = self.data[self.at]
        self.at += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number has more than 64 bits")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, length: int) -> None:
        if self.at + length > len(self.data):
            raise IndexError
        self.at += length

    def struct(self, depth: int = 0) -> Struct:
        """{number of the field: value}; text and floats are passed over."""
        if depth > _DEEPEST:
            raise ValueError("its structures lie too deep in each other")
        fields: Struct = {}
        number = 0
        while (head := self.byte()) & 0x0F:
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            kind = head & 0x0F
            fields[number] = kind == 1 if kind in (1, 2) else self.value(kind, depth)
        return fields

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2, 3):  # in a list, a truth takes a byte
            return self.byte()
        if kind in (4, 5, 6):
            return self.zigzag()
        if kind in (7, 8):
            return self.skip(8 if kind == 7 else self.varint())
        if kind in (9, 10):
            head = self.byte()
            count = self.varint() if head >> 4 == 15 else head >> 4
            if count > len(self.data) - self.at:
                raise IndexError
            return [self.value(head & 0x0F, depth + 1) for _ in range(count)]
        if kind == 12:
            return self.struct(depth + 1)
        raise ValueError(f"it has a field of the unknown kind {kind}")
