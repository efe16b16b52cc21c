"""Readers of other formats than CSV: what is read is what has been written, and every fault is named with file and place."""

from __future__ import annotations

import datetime
import gzip
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from backproof import DataError
from backproof.data import Coding, Features, Streamed, read
from tests.fuzzed_files import idx

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (50, 4, 3), dtype=np.uint8)
DIGITS = (np.arange(50) % 5).astype(np.uint8)


def mnist(folder: Path, suffix: str = "") -> str:
    pack = gzip.compress if suffix else bytes
    (folder / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx(PIXELS)))
    (folder / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(DIGITS)))
    return str(folder / f"train-images-idx3-ubyte{suffix}")


def everything(data: Streamed) -> tuple[np.ndarray, np.ndarray]:
    x, t = zip(*data.batches(7), strict=True)
    return np.concatenate(x), np.concatenate(t)


def features(source: str, coding: Coding, target: str | None = None):
    """(x, labels, unknown values) of all pieces."""
    held = Features(source, coding, target)
    x, labels = zip(*held.pieces(), strict=True)
    return np.concatenate(x), None if target is None else np.concatenate(labels), held.unseen()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx(tmp_path, suffix):
    data = read(mnist(tmp_path, suffix))
    assert np.array_equal(data.x, PIXELS.reshape(50, 12))
    assert np.array_equal(data.labels, DIGITS)
    assert data.classes == (0, 1, 2, 3, 4)
    x, true, _ = features(mnist(tmp_path, suffix), Coding(data.features), str(tmp_path / f"train-labels-idx1-ubyte{suffix}"))
    assert np.array_equal(x, data.x)
    assert np.array_equal(true, DIGITS)


def test_idx_of_other_numbers(tmp_path):
    x = RNG.normal(size=(50, 3))
    (tmp_path / "a").write_bytes(idx(x))
    (tmp_path / "b").write_bytes(idx(DIGITS))
    assert np.array_equal(read(str(tmp_path / "a"), str(tmp_path / "b")).x, x)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("target", ["4", "-1", "labels.npy"])
def test_npy(tmp_path, order, target, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.asarray(np.column_stack([RNG.normal(size=(50, 4)), DIGITS]), order=order)
    np.save("x.npy", x)
    np.save("labels.npy", DIGITS)
    data = read("x.npy", target)
    assert np.array_equal(data.x, x if target == "labels.npy" else x[:, :4])
    assert np.array_equal(data.labels, DIGITS)
    assert data.classes == (0, 1, 2, 3, 4)
    assert np.array_equal(everything(read("x.npy", target, stream=True))[0], data.x)


def table() -> pa.Table:
    days = [datetime.date(2024, 5, 1 + i % 28) for i in range(50)]
    return pa.table(
        {
            "number": RNG.normal(size=50),
            "whole": pa.array(RNG.integers(0, 9, 50), pa.int16()),
            "decimal": pa.array([i * 0.25 for i in range(50)]).cast(pa.decimal128(8, 2)),
            "flag": pa.array(DIGITS > 2),
            "day": pa.array(days),
            "moment": pa.array([datetime.datetime(2024, 5, 1, 12, i, tzinfo=datetime.UTC) for i in range(50)]),
            "colour": pa.array(["red", None, "blue"] * 16 + ["red", "red"]),
            "coded": pa.array(["u", "v"] * 25).dictionary_encode(),
            "label": pa.array([f"class {k}" for k in DIGITS]),
        }
    )


@pytest.mark.parametrize("stream", [False, True])
def test_parquet(tmp_path, stream):
    written = table()
    pq.write_table(written, tmp_path / "d.parquet", row_group_size=17)
    data = read(str(tmp_path / "d.parquet"), "label", stream=stream)
    x, t = everything(data) if stream else (data.x, data.labels)
    assert data.features == tuple(name for name in written.column_names if name != "label")
    assert np.array_equal(t, DIGITS)
    assert data.classes == tuple(f"class {k}" for k in range(5))
    for k, name in enumerate(data.features):
        cells = written[name].to_pylist()
        if name in ("colour", "coded"):
            assert [data.categories[name][int(i)] for i in x[:, k]] == [cell or "" for cell in cells]
        elif name == "day":
            assert x[:, k].tolist() == [(cell - datetime.date(1970, 1, 1)).total_seconds() for cell in cells]
        elif name == "moment":
            assert x[:, k].tolist() == [cell.timestamp() for cell in cells]
        else:
            assert x[:, k].tolist() == [float(cell) for cell in cells]


def test_parquet_by_names(tmp_path):
    pq.write_table(table(), tmp_path / "d.parquet")
    data = read(str(tmp_path / "d.parquet"), "whole", categorical=["flag"], ignore=["label", "day"])
    assert "label" not in data.features
    assert set(data.categories["flag"]) == {"true", "false"}
    x, true, unseen = features(str(tmp_path / "d.parquet"), Coding(("decimal", "colour"), {"colour": ("", "blue")}), "whole")
    assert x.shape == (50, 3)
    assert np.array_equal(x[:, 0], np.arange(50) * 0.25)
    assert unseen == {"colour": ["red"]}
    assert len(true) == 50


def folder(place: Path, suffix: str = "png", mode: str = "L") -> str:
    for k, pixels in enumerate(PIXELS[:20]):
        file = place / "images" / "ab"[k % 2] / f"{k:02}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(file)
    return str(place / "images")


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "gif"])
def test_image_folders(tmp_path, suffix):
    data = read(folder(tmp_path, suffix, "P" if suffix == "gif" else "L"))
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    expected = PIXELS[order].reshape(20, 12)
    assert np.array_equal(data.x, np.repeat(expected, 3, axis=1) if suffix == "gif" else expected)
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [0] * 10 + [1] * 10
    assert np.array_equal(everything(read(str(tmp_path / "images"), stream=True))[0], data.x)


def test_images_of_several_sizes_and_colours_are_brought_to_one(tmp_path):
    source = folder(tmp_path)
    Image.new("RGB", (6, 8), (10, 20, 30)).save(tmp_path / "images" / "b" / "z.png")
    with pytest.raises(DataError, match=r"z\.png: expected 3 x 4 pixels, like .*00\.png, received 6 x 8; give a size"):
        read(source)
    data = read(source, image_size=(4, 3))
    assert data.x.shape == (21, 36)
    assert data.x[-1].tolist() == [10, 20, 30] * 12
    coding = Coding(data.features, image=data.image)
    x, true, _ = features(str(tmp_path / "images"), coding, "folder")
    assert np.array_equal(x, data.x)
    assert true.tolist() == ["a"] * 10 + ["b"] * 11
    assert len(features(str(tmp_path / "images" / "b"), coding)[0]) == 11


def test_a_jpeg_is_close_to_what_was_written(tmp_path):
    smooth = np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8) * 8
    for name in "ab":
        (tmp_path / name).mkdir()
        Image.fromarray(smooth).save(tmp_path / name / "1.jpg", quality=95)
    assert np.abs(read(str(tmp_path)).x[0] - smooth.reshape(-1)).max() <= 3


def short(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:-1])
    return str(path)


def faults(place: Path) -> dict[str, tuple[str, str | None, str]]:
    """What is wrong -> (source, target, message)."""
    x = np.ones((4, 2))
    np.save(place / "x.npy", x)
    np.save(place / "nan.npy", np.array([[1.0, 0.0], [np.inf, 1.0]]))
    np.save(place / "text.npy", np.array([["a", "b"]]))
    np.save(place / "three.npy", np.arange(3))
    np.save(place / "cut.npy", x)
    pq.write_table(pa.table({"a": [1.0, None, 3.0], "b": [[1], [2], [3]], "t": ["x", "y", None]}), place / "d.parquet")
    (place / "cut.parquet").write_bytes((place / "d.parquet").read_bytes())
    (place / "a-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (place / "b-images-idx3-ubyte").write_bytes(idx(PIXELS))
    (place / "b-labels-idx1-ubyte").write_bytes(idx(DIGITS[:7]))
    (place / "alone").write_bytes(idx(PIXELS))
    (place / "notes").mkdir()
    (place / "notes" / "a").mkdir()
    (place / "notes" / "a" / "read.me").write_text("hello")
    (place / "none").mkdir()
    (place / "deep" / "a" / "b").mkdir(parents=True)
    (place / "deeper").mkdir()
    for k, mode in enumerate(("L", "I;16")):
        (place / "deeper" / str(k)).mkdir()
        Image.new(mode, (2, 2)).save(place / "deeper" / str(k) / "1.png")
    (place / "other.txt").write_text("hello")
    return {
        "no target": ("x.npy", None, "expected the target to be the number of a column or a .npy file of labels, received none"),
        "no such column": ("x.npy", "2", "expected the target to be one of 2 columns from 0, received 2"),
        "no labels": ("x.npy", "none.npy", "none.npy: expected a file of labels, received no such file"),
        "other number": ("x.npy", "three.npy", "three.npy: expected shape (4,), one label an example, received (3,)"),
        "infinite": ("nan.npy", "1", "nan.npy: expected finite numbers, received inf in row 1, feature 0"),
        "text": ("text.npy", "0", "text.npy: expected real numbers, received dtype <U1"),
        "cut": (short(place / "cut.npy"), "0", "cut.npy: expected a .npy file with a plain array"),
        "null": ("d.parquet", "t", "d.parquet, column 'b': expected numbers, dates or text, received list"),
        "no such name": ("d.parquet", "u", "expected the target to be one of the columns 'a', 'b', 't'; received --target 'u'"),
        "cut parquet": (short(place / "cut.parquet"), "t", "cut.parquet: expected a Parquet file"),
        "no labels beside": ("a-images-idx3-ubyte", None, "expected its labels in the IDX file"),
        "fewer labels": ("b-images-idx3-ubyte", None, "b-labels-idx1-ubyte: expected shape (50,)"),
        "other name": ("alone", None, "alone: expected the target to be the IDX file of the labels, received none"),
        "no image": ("notes", None, "read.me: expected an image (.png, .jpg"),
        "empty folder": ("none", None, "none: expected folders with images, one a class, received none"),
        "folder in folder": ("deep", None, "b: expected an image (.png, .jpg"),
        "16 bits": ("deeper", None, "1.png: expected 8 bits a channel, received an image of mode I;16"),
        "target of images": ("deeper", "x", "deeper: expected no target, the folders are the classes, received 'x'"),
        "another kind": ("other.txt", None, "other.txt: expected one of digits, iris"),
    }


def test_faults_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for what, (source, target, message) in faults(tmp_path).items():
        with pytest.raises(DataError) as caught:
            read(source, target)
        assert message in str(caught.value), what


def test_nulls_are_named_with_their_row(tmp_path):
    place = tmp_path / "d.parquet"
    pq.write_table(pa.table({"a": [1.0, 2.0, None], "t": ["x", "y", "x"]}), place, row_group_size=2)
    with pytest.raises(DataError, match=r"d\.parquet, row 2, column 'a': expected a number, received null"):
        read(str(place), "t")
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "t": ["x", "y", None]}), place)
    with pytest.raises(DataError, match=r"d\.parquet, row 2, column 't': expected a class label, received null"):
        read(str(place), "t")


@pytest.mark.parametrize(("module", "extra", "name"), [("pyarrow", "parquet", "d.parquet"), ("PIL", "images", "folder")])
def test_without_an_optional_library_the_error_says_what_to_install(tmp_path, monkeypatch, module, extra, name):
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    if name == "folder":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=rf"{module} to be installed.*pip install 'backproof\[{extra}\]'"):
        read(str(tmp_path / name), "t")


def test_options_that_do_not_fit_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    (tmp_path / "d.csv").write_text("a,b,label\n1,2,x\n3,4,y\n")
    for source, options, message in [
        ("x.npy", {"target": "2", "ignore": ["a"]}, "expected a table"),
        ("x.npy", {"target": "2", "image_size": (2, 2)}, "expected a folder of images with image_size"),
        ("d.csv", {"target": "label", "stream": True}, "expected a file that can be read a piece at a time"),
        ("d.csv", {"target": "label", "ignore": ["c"]}, "expected columns among 'a', 'b', 'label', received 'c'"),
    ]:
        with pytest.raises(DataError, match=message):
            read(str(tmp_path / source), **options)
    with pytest.raises(DataError, match="expected no options of files"):
        read("iris", ignore=["a"])
