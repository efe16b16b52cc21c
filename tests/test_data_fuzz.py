"""Damaged data files of every format: `DataError`, and nothing else comes of them; no time, no memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from backproof import DataError
from backproof.data import read
from tests.fuzzed_files import SECONDS
from tests.memory import forget_peak, needs_proc, peak_bytes, resident_bytes

ROOT = Path(__file__).parent.parent
MOST_BYTES = 200 << 20


def fuzz(seed: int, count: int, folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-m", "tests.fuzzed_files", str(seed), str(count), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-3000:]}"
    told = json.loads(done.stdout)
    print(told)
    assert told["files"] == count
    assert told["refused"] > count / 3  # the mistakes are real ones
    assert told["slowest"][0] < SECONDS, told
    assert told["grown"] < MOST_BYTES, told


@needs_proc
def test_hundreds_of_damaged_files(tmp_path):
    fuzz(0, 760, tmp_path / "fuzz")


@needs_proc
@pytest.mark.slow
def test_twenty_thousand_damaged_files(tmp_path):
    for seed in range(1, 11):
        fuzz(seed, 2000, tmp_path / f"fuzz{seed}")


def bomb_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 19, 1 << 10)})
        for _ in range(512):
            file.write(bytes(1 << 20))


def bomb_idx(path: Path) -> None:
    with gzip.open(path, "w") as file:
        file.write(bytes([0, 0, 8, 2]) + (1 << 19).to_bytes(4, "big") + (1 << 10).to_bytes(4, "big"))
        for _ in range(512):
            file.write(bytes(1 << 20))


def bomb_parquet(path: Path) -> None:
    column = pa.array(np.zeros(1 << 20))
    with pq.ParquetWriter(path, pa.schema({f"c{i}": pa.float64() for i in range(20)})) as writer:
        for _ in range(4):
            writer.write_table(pa.table({f"c{i}": column for i in range(20)}))


def bomb_image(path: Path) -> None:
    (path / "a").mkdir(parents=True)
    Image.new("L", (9000, 9000)).save(path / "a" / "1.png")


@needs_proc
@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("b.npz", bomb_npz, "expected contents of at most 100 times the size"),
        ("b-idx3-ubyte.gz", bomb_idx, "expected contents of at most 100 times the size"),
        ("b.parquet", bomb_parquet, "expected contents of at most 1000 times the size"),
        ("folder", bomb_image, "1.png: expected at most 25,000,000 pixels, received 9000 x 9000"),
    ],
)
def test_bombs_are_not_unpacked(tmp_path, name, write, message):
    write(tmp_path / name)
    (tmp_path / "labels").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    forget_peak()
    before = resident_bytes()
    with pytest.raises(DataError, match=message):
        read(str(tmp_path / name), {"b.parquet": "c0", "b-idx3-ubyte.gz": str(tmp_path / "labels")}.get(name))
    assert peak_bytes() - before < MOST_BYTES
