"""Data files with mistakes in them: `python -m tests.fuzzed_files SEED COUNT FOLDER` reads so many, and tells what came of it.

A process of its own, for it may die of it: one line of JSON says that it did not. The files are real ones of every format, each
with a few bytes flipped, cut, doubled or set to sizes that lie.
"""

from __future__ import annotations

import gzip
import io
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from backproof import DataError
from backproof.data import Streamed, read
from tests.memory import forget_peak, peak_bytes, resident_bytes

ROWS = 60
HUGE = [
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\xff" * 8,
    b"\0" * 4,
    b"\x80\0\0\0",
    b"999999999999",
    b"-1",
    b"nan",
]
SECONDS = 1.0  # of processor time for one file


def idx(array: np.ndarray) -> bytes:
    code = {"uint8": 0x08, "float64": 0x0E}[array.dtype.name]
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, code, array.ndim]) + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def sound_files(rng: np.random.Generator) -> dict[str, tuple[bytes, str | None]]:
    """Name of the file, its bytes, and the target."""
    x, t = rng.normal(size=(ROWS, 5)), np.arange(ROWS) % 3
    pixels = rng.integers(0, 256, (ROWS, 6, 6), dtype=np.uint8)
    colours = np.array(["red", "green", ""])[rng.integers(0, 3, ROWS)]
    lines = [
        f"{a:.4g},2024-05-{k % 28 + 1:02},{c},{'abc'[label]}"
        for k, (a, c, label) in enumerate(zip(x[:, 0], colours, t, strict=True))
    ]
    table = pa.table(
        {
            "a": x[:, 0],
            "b": pa.array(rng.integers(0, 9, ROWS), pa.int32()),
            "when": pa.array(rng.integers(0, 2**31, ROWS), pa.timestamp("s")),
            "colour": pa.array([c or None for c in colours]),
            "flag": t > 1,
            "label": np.array(["x", "y", "z"])[t],
        }
    )
    picture = Image.fromarray(np.kron(pixels[0], np.ones((4, 4), dtype=np.uint8)))
    files: dict[str, tuple[bytes, str | None]] = {
        "d.csv": (("a,when,colour,label\n" + "\n".join(lines)).encode(), "label"),
        "d.tsv": (("a\twhen\tcolour\tlabel\n" + "\n".join(lines).replace(",", "\t")).encode(), "label"),
        "stored.npz": (saved(lambda file: np.savez(file, x=x, y=t)), None),
        "packed.npz": (saved(lambda file: np.savez_compressed(file, x=pixels, y=t)), None),
        "d.npy": (saved(lambda file: np.save(file, np.column_stack([x, t]))), "5"),
        "images-idx3-ubyte": (idx(pixels), None),
        "images-idx3-double": (idx(x.reshape(ROWS, 5, 1)), None),
        "images-idx3-ubyte.gz": (gzip.compress(idx(pixels)), None),
    }
    for codec in ("none", "snappy", "gzip", "zstd", "lz4"):
        content = saved(lambda file, codec=codec: pq.write_table(table, file, row_group_size=25, compression=codec))
        files[f"{codec}.parquet"] = (content, "label")
    for suffix, form in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("gif", "GIF"), ("ppm", "PPM"), ("webp", "WEBP")):
        files[f"{suffix}/a/1.{suffix}"] = (saved(lambda file, form=form: picture.convert("RGB").save(file, form)), None)
    return files


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    ends = max(1, min(len(data), 200))  # headers and footers are short, and say most
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            break
        where = int(
            rng.choice([rng.integers(len(data)), rng.integers(min(ends, len(data))), max(0, len(data) - 1 - rng.integers(ends))])
        )
        match int(rng.integers(7)):
            case 0:
                data[where] ^= 1 << int(rng.integers(8))
            case 1:
                data[where] = int(rng.integers(256))
            case 2:
                del data[where:]
            case 3:
                del data[where : where + int(rng.integers(1, 20))]
            case 4:
                data[where:where] = data[where : where + int(rng.integers(1, 50))]
            case 5:
                huge = HUGE[int(rng.integers(len(HUGE)))]
                data[where : where + len(huge)] = huge
            case _:
                data[where:where] = HUGE[int(rng.integers(len(HUGE)))]
    return bytes(data)


def laid_out(folder: Path, rng: np.random.Generator) -> list[tuple[Path, bytes, str, str | None]]:
    """The sound files in `folder`, with what belongs to them: (file, content, what `read` is given, target)."""
    labels = idx((np.arange(ROWS) % 3).astype(np.uint8))
    found = []
    for name, (content, target) in sound_files(rng).items():
        place = folder / name.replace(".", "_").replace("/", "_") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        source = place
        if "idx3" in name:
            (place.parent / place.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")).write_bytes(labels)
        if "/" in name:
            source = place.parent.parent
            (source / "b").mkdir(exist_ok=True)
            for sound in (place, source / "a" / place.name.replace("1", "2"), source / "b" / place.name):
                sound.write_bytes(content)
        found.append((place, content, str(source), target))
    return found


def read_wholly(source: str, target: str | None, stream: bool) -> None:
    data = read(source, target, stream=stream)
    if isinstance(data, Streamed):
        for _ in data.batches(16, np.random.default_rng(0)):
            pass


def main(seed: int, count: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    files = laid_out(folder, rng)
    for (
        place,
        content,
        source,
        target,
    ) in files:  # the sound ones: they must be read, and what is loaded with them counts for nothing
        place.write_bytes(content)
        for stream in (False, True):
            if not ((stream and place.suffix in (".csv", ".tsv", ".gz")) or (stream and place.name == "packed.npz")):
                read_wholly(source, target, stream)
    forget_peak()
    before, refused, slowest = resident_bytes(), 0, (0.0, "")
    for number in range(count):
        place, content, source, target = files[number % len(files)]
        place.write_bytes(mutated(content, rng))
        signal.setitimer(signal.ITIMER_VIRTUAL, 5.0)  # a hang ends the process
        started = time.process_time()
        try:
            read_wholly(source, target, bool(rng.integers(2)))
        except DataError:
            refused += 1
        except BaseException:
            kept = folder / f"culprit-{place.name}"
            kept.write_bytes(place.read_bytes())
            print(f"seed {seed}, file {number}, {kept}", file=sys.stderr)
            raise
        slowest = max(slowest, (time.process_time() - started, f"{place.name}, file {number}"))
        place.write_bytes(content)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    print(json.dumps({"files": count, "refused": refused, "slowest": slowest, "grown": peak_bytes() - before}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
