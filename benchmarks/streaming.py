"""Resident memory while training from a file larger than memory need be: `python benchmarks/streaming.py [--gigabytes 4]`.

Writes float32 examples of 256 features in blocks, as a .npy file in a temporary folder, trains one epoch from it as
`backproof train --stream` does, prints what is resident along the way, and deletes the file.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import backproof as bp
from backproof.arrays import Array
from backproof.data import Streamed, read
from backproof.job import Job, Settings

FEATURES, BATCH, TOLD = 256, 1024, 20


def resident() -> float:
    """MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def write(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, rows)
    centres = rng.normal(size=(10, FEATURES)).astype(np.float32)
    with (folder / "x.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, FEATURES)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, rows, 1 << 14):
            t = labels[start : start + (1 << 14)]
            file.write((rng.standard_normal((len(t), FEATURES), dtype=np.float32) + centres[t]).tobytes())
    np.save(folder / "t.npy", labels)


class Told:
    """A source that tells, along a pass, what is resident."""

    def __init__(self, source: Streamed) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[tuple[Array, Array]]:
        every = max(1, len(self) // size // TOLD)
        for i, batch in enumerate(self.source.batches(size, rng)):
            if i % every == 0 and rng is not None:
                print(f"  {100 * i * size / len(self):5.1f} %  {resident():7.1f} MiB resident", flush=True)
            yield batch


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--gigabytes", type=float, default=4.0)
    rows = int(options.parse_args().gigabytes * 2**30) // (4 * FEATURES)
    needed = rows * (4 * FEATURES + 8)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.5 * needed:
        raise SystemExit(f"expected {1.5 * needed / 2**30:.1f} GiB free in {tempfile.gettempdir()}, received {free / 2**30:.1f}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, rows)
        print(f"file: {(folder / 'x.npy').stat().st_size / 2**30:.2f} GiB, {rows:,} examples; {resident():.1f} MiB resident")
        started = time.perf_counter()
        data = read(str(folder / "x.npy"), str(folder / "t.npy"), stream=True)
        print(f"read once for classes: {time.perf_counter() - started:.1f} s, {resident():.1f} MiB resident")
        started = time.perf_counter()
        job = Job(data, Settings(hidden=(32,), epochs=1, batch_size=BATCH))
        print(f"read once for means and deviations: {time.perf_counter() - started:.1f} s, {resident():.1f} MiB resident")
        assert isinstance(job.train_set, Streamed)
        started = time.perf_counter()
        for record in bp.train(job.network, Told(job.train_set), epochs=1, batch_size=BATCH, seed=0, optimizer=job.optimizer):
            print(f"epoch: {record.step} steps, {time.perf_counter() - started:.1f} s, loss {record.train_loss:.4f}")
        print(f"held out: accuracy {job.evaluate().accuracy:.4f}, {resident():.1f} MiB resident")


if __name__ == "__main__":
    main()
