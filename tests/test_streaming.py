"""Data that stay in their file: batches are mixed well, nothing is lost, and memory does not grow with the file."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import backproof as bp
from backproof.data import ArraySource, Streamed, fit, read
from backproof.data.streamed import Part
from tests.memory import forget_peak, needs_proc, peak_bytes, resident_bytes


def seen(batches) -> np.ndarray:
    return np.concatenate([t for _, t in batches])


@pytest.mark.parametrize("examples", [1, 7, 64, 1000])
@pytest.mark.parametrize("buffer_bytes", [1, 64 * 16, 64 << 20])
def test_each_example_comes_once(examples, buffer_bytes):
    x = np.arange(examples, dtype=np.float64)[:, None]
    source = ArraySource(x, np.arange(examples), buffer_bytes=buffer_bytes)
    for rng in (None, np.random.default_rng(0)):
        batches = list(source.batches(32, rng))
        assert all(np.array_equal(x[:, 0], t) for x, t in batches)
        assert [len(t) for _, t in batches] == [32] * (examples // 32) + [examples % 32] * (examples % 32 > 0)
        found = seen(batches)
        assert np.array_equal(found if rng is None else np.sort(found), np.arange(examples))


def test_same_seed_same_order():
    source = ArraySource(np.zeros((500, 1)), np.arange(500), buffer_bytes=100 * 16)
    first, again, other = (seen(source.batches(32, np.random.default_rng(seed))) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_buffer_that_holds_all_gives_every_order_as_often():
    """Four examples have 24 orders; 2400 draws, chi-squared with 23 degrees of freedom stays below its 1 - 1e-6 quantile, 70."""
    source = ArraySource(np.zeros((4, 1)), np.arange(4))
    rng = np.random.default_rng(0)
    orders = dict.fromkeys(itertools.permutations(range(4)), 0)
    for _ in range(2400):
        orders[tuple(seen(source.batches(3, rng)).tolist())] += 1
    assert sum((count - 100) ** 2 / 100 for count in orders.values()) < 70


def test_a_sorted_file_is_mixed_by_a_buffer_of_a_sixteenth(tmp_path):
    """Classes lie one after the other: 10 classes of 6,400 rows, in blocks of 256 rows; the buffer holds 16 of 250 blocks.

    A batch drawn from the buffer has the classes of its blocks. The share of a class in a buffer has a deviation of
    sqrt(0.09 / 16) = 0.075 about 0.1; the sorted order has shares of 0 and 1, a deviation of 0.3.
    """
    np.save(tmp_path / "x.npy", np.zeros((64000, 512)))
    x, t = np.load(tmp_path / "x.npy", mmap_mode="r"), np.repeat(np.arange(10), 6400)
    source = ArraySource(x, t, buffer_bytes=16 << 20)
    shares = np.array([np.bincount(t, minlength=10) / len(t) for _, t in source.batches(256, np.random.default_rng(0))])
    assert shares.std() < 0.12


def test_row_groups_are_read_side_by_side(tmp_path, monkeypatch):
    """Ten sorted classes in ten row groups, in pieces of 100 rows; the buffer holds ten: a deviation of sqrt(0.09 / 10) again."""
    monkeypatch.setattr("backproof.data.rows.PIECE_BYTES", 1600)
    t = np.repeat(np.arange(10), 2000)
    pq.write_table(pa.table({"a": np.zeros(20_000), "t": t}), tmp_path / "d.parquet", row_group_size=2000)
    data = dataclasses.replace(read(str(tmp_path / "d.parquet"), "t", stream=True), buffer_bytes=16_000)
    batches = [t for _, t in data.batches(100, np.random.default_rng(0))]
    assert np.array_equal(np.sort(np.concatenate(batches)), t)
    assert np.std([np.bincount(labels, minlength=10) / len(labels) for labels in batches]) < 0.16


@needs_proc
def test_pages_of_a_mapped_file_are_given_back(tmp_path):
    """64 MiB pass through a buffer of 4 MiB; beside it there are pieces of 1 MiB, batches and an order of the buffer's rows."""
    np.save(tmp_path / "x.npy", np.ones((1 << 17, 128), dtype=np.float32))
    source = ArraySource(np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(1 << 17), buffer_bytes=4 << 20)
    next(source.batches(1))  # what is loaded at first use
    forget_peak()
    before = resident_bytes()
    assert sum(len(t) for _, t in source.batches(256, np.random.default_rng(0))) == 1 << 17
    assert peak_bytes() - before < 12 << 20


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_disjoint_and_of_their_size(seed):
    train, test = (Part(seed, 0.25, held) for held in (False, True))
    n = 100_000
    held = test.mask(0, n)
    assert np.array_equal(held, ~train.mask(0, n))
    assert np.array_equal(held[700:900], test.mask(700, 200))
    assert (train.count(n), test.count(n)) == (n - held.sum(), held.sum())
    assert abs(held.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / n)
    assert abs(np.corrcoef(held[:-1], held[1:])[0, 1]) < 5 / np.sqrt(n)
    assert not np.array_equal(held, Part(seed + 1, 0.25, True).mask(0, n))


def clusters(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t = rng.integers(0, 3, rows)
    return (rng.normal(size=(rows, 4)) + 3 * np.eye(4)[t]).astype(np.float32), t


def written(place: Path, kind: str, rows: int = 3000) -> tuple[str, str]:
    x, t = clusters(rows)
    if kind == "parquet":
        columns = {f"c{k}": x[:, k] for k in range(4)} | {"colour": np.array(["u", "v", "w"])[(t + 1) % 3], "t": t}
        pq.write_table(pa.table(columns), place / "d.parquet", row_group_size=400)
        return str(place / "d.parquet"), "t"
    if kind == "npz":
        np.savez(place / "d.npz", x=x, y=t)
        return str(place / "d.npz"), "y"
    np.save(place / "d.npy", x)
    np.save(place / "t.npy", t)
    return str(place / "d.npy"), str(place / "t.npy")


@pytest.mark.parametrize("kind", ["npy", "npz", "parquet"])
def test_streamed_data_are_what_they_are_in_memory(tmp_path, kind):
    source, target = written(tmp_path, kind)
    held, here = read(source, target, stream=True), read(source, target)
    assert isinstance(held, Streamed)
    assert (held.classes, held.features, dict(held.kinds), held.categories) == (
        here.classes,
        here.features,
        here.kinds,
        here.categories,
    )
    x, t = (np.concatenate(parts) for parts in zip(*held.batches(100), strict=True))
    assert np.array_equal(x, here.x)
    assert np.array_equal(t, here.labels)
    train, test = held.split(0.25, 0)
    parts = [seen_x for part in (train, test) for seen_x, _ in part.batches(64, np.random.default_rng(0))]
    assert sum(map(len, parts)) == 3000 == len(train) + len(test)
    order = np.lexsort(np.concatenate(parts).T)
    assert np.array_equal(np.concatenate(parts)[order], here.x[np.lexsort(here.x.T)])
    coding, moments = fit(train)
    chosen = train.part.mask(0, 3000)
    assert np.allclose(moments.mean, here.x[chosen].mean(axis=0))
    assert np.allclose(moments.variance, here.x[chosen].var(axis=0))
    assert coding.inputs == (7 if kind == "parquet" else 4)


def network(width: int = 4) -> bp.Network:
    return bp.Network([bp.Linear(16), bp.Tanh(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), dtype="float64")


def test_a_pass_in_one_batch_is_training_in_memory():
    """One step of all examples does not depend on their order, but for the rounding of a sum of 500 terms."""
    x, t = clusters(500)
    steps = [
        list(bp.train(net, *examples, optimizer=bp.sgd(0.1), epochs=3, batch_size=500, seed=0, compiled=False))
        for net, examples in ((network(), (x.astype(float), t)), (network(), (ArraySource(x.astype(float), t),)))
    ]
    for ours, theirs in zip(*steps, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, rel=1e-12)


def test_training_from_a_source_and_its_evaluation():
    x, t = clusters(2000)
    new_x, new_t = clusters(20_000, seed=1)
    net = network()
    records = list(
        bp.train(
            net,
            ArraySource(x, t, buffer_bytes=8192),
            validation=ArraySource(new_x, new_t),
            epochs=8,
            seed=0,
            optimizer=bp.adam(0.01),
        )
    )
    assert records[-1].metrics["validation_accuracy"] == pytest.approx(np.mean(net.predict(new_x).argmax(1) == new_t), rel=1e-12)
    assert records[-1].validation_loss == pytest.approx(net.loss(new_x, new_t), rel=1e-9)
    assert records[-1].metrics["validation_accuracy"] > 0.95
    assert records[-1].step == 8 * 63


@pytest.mark.parametrize("compiled", [False, True])
def test_the_same_seed_gives_the_same_weights(tmp_path, compiled):
    source, target = written(tmp_path, "npy")
    found = []
    for _ in range(2):
        data = read(source, target, stream=True)
        net = network()
        for _ in bp.train(net, data, epochs=2, seed=3, compiled=compiled):
            pass
        found.append(net.parameters)
    assert np.array_equal(*found)


def test_what_a_source_cannot_have_is_refused():
    x, t = clusters(50)
    source = ArraySource(x, t)
    for call, message in [
        (lambda: bp.train(network(), source, t), "expected no t beside a source"),
        (lambda: bp.train(network(), source, sample_weight=np.ones(50)), "expected no sample_weight"),
        (lambda: bp.train(network(), source, optimizer=bp.lbfgs()), "lbfgs: expected examples in memory"),
        (lambda: ArraySource(x, t[:3]), "t: expected 50 targets"),
        (lambda: ArraySource(x[:0], t[:0]), "at least one example"),
    ]:
        with pytest.raises(bp.ArgumentError, match=message):
            call()
    x[7, 2] = np.nan
    with pytest.raises(bp.ArgumentError, match="x as float64: expected finite numbers, received nan"):
        list(bp.train(network(), source, epochs=1))


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_the_main_job_on_a_stream(run, tmp_path, monkeypatch, kind):
    source, target = written(tmp_path, kind)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("train", source, "--target", target, "--stream", "--hidden", "8", "--epochs", "8", "--out", "run")
    assert code == 0
    assert "read a piece at a time" in out
    assert float(out.split("accuracy on the held-out examples: ")[1].split()[0]) > 0.9
    code, _, err = run("predict", "run/model.safetensors", source, "--target", target)
    assert code == 0
    assert float(err.split("accuracy: ")[1]) > 0.9


MEASURE = """
import sys
import numpy as np
import backproof as bp
from backproof.data import read
from tests.memory import forget_peak, peak_bytes, resident_bytes

source, target, batch = sys.argv[1], sys.argv[2], 256
data = read(source, target, stream=True)
network = bp.Network([bp.Linear(8), bp.Tanh(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), dtype="float32")
warm = bp.data.ArraySource(np.zeros((batch, len(data.features)), np.float32), np.zeros(batch, int))
for _ in bp.train(network, warm, epochs=1, batch_size=batch, seed=0, compiled=False):
    pass
forget_peak()
before = resident_bytes()
for record in bp.train(network, data, epochs=1, batch_size=batch, seed=0, compiled=False):
    pass
print(record.step, peak_bytes() - before)
"""


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_memory_is_that_of_the_buffer_and_some_batches(tmp_path, kind):
    """A file of 512 MiB. Resident: the buffer, twice a megabyte piece as read and as copied, and a dozen arrays of a batch's size.

    For Parquet there are also the open row groups, decoded a page at a time, and what Arrow keeps of them: as much again.
    """
    rows, width = 1 << 20, 128
    target = write_large(tmp_path, kind, rows, width)
    command = [sys.executable, "-c", MEASURE, str(tmp_path / f"big.{kind}"), target]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    steps, grown = map(int, done.stdout.split())
    bound = (64 << 20) + 4 * (1 << 20) + 12 * 256 * width * 8 + (8 << 20)
    print(f"{kind}: {grown / 2**20:.0f} MiB, bound {bound / 2**20:.0f}")
    assert steps == rows // 256
    assert grown < bound * (2 if kind == "parquet" else 1)


def write_large(place: Path, kind: str, rows: int, width: int) -> str:
    rng = np.random.default_rng(0)
    block = rng.normal(size=(1 << 14, width)).astype(np.float32)
    labels = rng.integers(0, 3, rows)
    if kind == "npy":
        big = np.lib.format.open_memmap(place / "big.npy", "w+", np.float32, (rows, width))
        for start in range(0, rows, len(block)):
            big[start : start + len(block)] = block
        np.save(place / "t.npy", labels)
        return str(place / "t.npy")
    names = [f"c{k}" for k in range(width)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("t", pa.int64())])
    with pq.ParquetWriter(place / "big.parquet", schema, use_dictionary=False) as writer:
        for start in range(0, rows, len(block)):
            writer.write_table(pa.table([*block.T, labels[start : start + len(block)]], schema=schema), row_group_size=len(block))
    return "t"
