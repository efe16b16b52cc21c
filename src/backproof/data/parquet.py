"""Parquet files through pyarrow: columns by their declared types, row groups read a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import DataError
from backproof.arrays import Array
from backproof.data.labels import require_labels
from backproof.data.limits import foreign, optional, require_plausible
from backproof.data.parquet_pages import RATIO, require_plausible_pages
from backproof.data.rows import Kind, Piece, Reading, Rows, rows_a_piece
from backproof.data.tables import wanted_columns
from backproof.data.vocabulary import Vocabulary

_WHAT = "a Parquet file"
_OPEN_BYTES = 32 << 20  # of row groups that are read side by side


class ParquetRows(Rows):
    """The examples of a Parquet file.

    Whole and decimal numbers, floats and booleans are numbers; dates and time stamps are dates; text is categories, and null among
    it a category of its own. Other types (lists, structures, bytes) must be left out.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
        pq = optional("pyarrow.parquet", "parquet", path)
        self.path = path
        with foreign(path, _WHAT):
            self._file = pq.ParquetFile(
                path, pre_buffer=False, buffer_size=1 << 16, page_checksum_verification=True,
                thrift_string_size_limit=16 << 20, thrift_container_size_limit=1 << 20,
            )  # fmt: skip
            schema, self._meta = self._file.schema_arrow, self._file.metadata
            self._types = dict(zip(schema.names, schema.types, strict=True))
            names = tuple(schema.names)
            self._require_plausible()
            require_plausible_pages(path)
        if len(self._types) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{path}: expected columns of different names, received {twice!r} more than once")
        self.target, self.features = wanted_columns(path, names, reading)
        declared = {name: reading.kinds.get(name) or self._kind(name) for name in self.features}
        self.kinds = {name: kind for name, kind in declared.items() if kind != "number"}
        self.categories = {name: Vocabulary(f"{path}, column {name!r}") for name, kind in self.kinds.items() if kind == "category"}
        sizes = [self._meta.row_group(i).num_rows for i in range(self._meta.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.segments = len(sizes)
        largest = max((self._meta.row_group(i).total_byte_size for i in range(self.segments)), default=0)
        self.open_at_once = min(16, max(2, _OPEN_BYTES // max(1, largest)))
        if len(self) == 0:
            raise DataError(f"{path}: expected at least one row, received none")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def _require_plausible(self) -> None:
        """What the file says of itself must fit into it, before a reader asks for memory by it.

        Row groups are asked, and not their columns: pyarrow ends the process where the description of a column is damaged
        (`RowGroupMetaData.column` lets a C++ exception through), but raises when it reads such a column.
        """
        size, meta = self.path.stat().st_size, self._meta
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        if any(min(group.num_rows, group.total_byte_size) < 0 for group in groups):
            raise ValueError("a row group declares less than nothing")
        require_plausible(self.path, sum(group.total_byte_size for group in groups), size, ratio=RATIO)
        # a column of equal values takes a few bytes, however many they are
        require_plausible(self.path, 8 * meta.num_columns * sum(group.num_rows for group in groups), size, ratio=RATIO)

    def _kind(self, name: str) -> Kind:
        import pyarrow.types as types

        held = self._types[name]
        if types.is_dictionary(held):
            held = held.value_type
        if types.is_boolean(held) or types.is_integer(held) or types.is_floating(held) or types.is_decimal(held):
            return "number"
        if types.is_date(held) or types.is_timestamp(held):
            return "date"
        if types.is_string(held) or types.is_large_string(held):
            return "category"
        raise DataError(f"{self.path}, column {name!r}: expected numbers, dates or text, received {held}; leave it out (ignore)")

    def pieces(self, segment: int) -> Iterator[Piece]:
        names = [*self.features, *([self.target] if self.target else [])]
        start, end = int(self._starts[segment]), int(self._starts[segment + 1])
        for batch in self._batches(segment, names):
            x = np.empty((batch.num_rows, len(self.features)))
            for k, name in enumerate(self.features):
                x[:, k] = self._column(batch.column(name), name, start)
            yield Piece(start, x, None if self.target is None else self._labels(batch.column(self.target), start))
            start += batch.num_rows
        if start != end:
            raise DataError(f"{self.path}: expected {end:,} rows up to row group {segment}, received {start:,}")

    def _batches(self, segment: int, names: list[str]) -> Iterator[Any]:
        with foreign(self.path, _WHAT):
            batches = self._file.iter_batches(rows_a_piece(8 * len(names)), row_groups=[segment], columns=names, use_threads=False)
        while True:
            with foreign(self.path, _WHAT):
                batch = next(batches, None)
                if batch is not None:
                    batch.validate(full=True)
            if batch is None:
                return
            yield batch

    def _column(self, values: Any, name: str, start: int) -> Array:
        import pyarrow as pa

        kind = self.kinds.get(name, "number")
        if kind == "category":
            with foreign(self.path, f"text in column {name!r}"):
                coded = values.cast(pa.string()).fill_null("").dictionary_encode()
                values_there, places = coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)
            coded_rows: Array = self.categories[name].code(values_there)[places]
            return coded_rows
        self._require_present(values, name, f"a {kind}", start)
        with foreign(self.path, f"{kind}s in column {name!r}"):
            if kind == "date":
                zone = getattr(values.type, "tz", None)
                numbers = values.cast(pa.timestamp("us", tz=zone), safe=False).cast(pa.int64()).to_numpy() / 1e6
            else:
                numbers = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        if not np.isfinite(numbers).all():
            row = int(np.argmin(np.isfinite(numbers)))
            raise DataError(f"{self.path}, row {start + row}, column {name!r}: expected a finite number, received {numbers[row]}")
        return np.asarray(numbers, dtype=np.float64)

    def _labels(self, values: Any, start: int) -> Array:
        import pyarrow.types as types

        assert self.target is not None
        self._require_present(values, self.target, "a class label", start)
        with foreign(self.path, f"labels in column {self.target!r}"):
            if types.is_dictionary(values.type):
                values = values.cast(values.type.value_type)
            text = types.is_string(values.type) or types.is_large_string(values.type)
            labels = np.array(values.to_pylist(), dtype=object) if text else values.to_numpy(zero_copy_only=False)
        return require_labels(labels, f"{self.path}, column {self.target!r}")

    def _require_present(self, values: Any, name: str, expected: str, start: int) -> None:
        if values.null_count:
            row = next(i for i, there in enumerate(values.is_valid().to_pylist()) if not there)
            raise DataError(f"{self.path}, row {start + row}, column {name!r}: expected {expected}, received null")
