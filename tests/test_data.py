"""Readers: what is read is what is in the file, and every fault is named with file, line and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from backproof import DataError
from backproof.data import BUNDLED, Coding, read
from tests.test_readers import features

CSV = "a,b,label\n1,2.5,x\n3,-4e1,y\n5,6,x\n7,8,y\n"


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_sklearns(name):
    x, t = getattr(sklearn.datasets, BUNDLED[name])(return_X_y=True)
    data = read(name)
    assert np.array_equal(data.x, x)
    assert np.array_equal(data.labels, t)
    assert len(data.classes) == t.max() + 1
    assert len(data.features) == x.shape[1]


def test_csv(tmp_path):
    data = read(write(tmp_path / "d.csv", CSV), "label")
    assert data.x.tolist() == [[1, 2.5], [3, -40], [5, 6], [7, 8]]
    assert (data.classes, data.features, data.labels.tolist()) == (("x", "y"), ("a", "b"), [0, 1, 0, 1])


@pytest.mark.parametrize(
    "content",
    [
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        "\ufeff" + CSV,
        CSV.replace("\n", "\r\n"),
        CSV + "\n\n",
        CSV.replace("x", '"x"'),
    ],
    ids=["semicolon", "tab", "bom", "crlf", "blank lines", "quoted"],
)
def test_csv_dialects(tmp_path, content):
    assert read(write(tmp_path / "d.csv", content), "label").x.tolist() == [[1, 2.5], [3, -40], [5, 6], [7, 8]]


def test_csv_without_header_and_whole_labels_in_numerical_order(tmp_path):
    data = read(write(tmp_path / "d.csv", "1,2,10\n3,4,9\n5,6,10\n"), "2")
    assert (data.features, data.classes, data.labels.tolist()) == (("0", "1"), (9, 10), [1, 0, 1])
    mostly = read(write(tmp_path / "e.csv", "5.1,3.5,setosa\n4.9,3.0,virginica\n"), "2")
    assert mostly.classes == ("setosa", "virginica")


def test_a_header_of_numbers_is_a_header_if_the_target_is_in_it(tmp_path):
    data = read(write(tmp_path / "d.csv", "2019,2020,2021,label\n1,2,3,a\n4,5,6,b\n"), "label")
    assert data.features == ("2019", "2020", "2021")
    assert read(write(tmp_path / "e.csv", "a\u2028b,label\n1,x\n2,y\n"), "label").features == ("a\u2028b",)


def test_files_that_are_npz_by_name_only(tmp_path):
    import zipfile

    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name in ("one.npz", "zip.npz"):
        with pytest.raises(DataError, match=rf"{name}: expected an \.npz archive of plain arrays"):
            read(str(tmp_path / name))


def test_npz(tmp_path):
    x = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "d.npz", images=x, x=x, y=np.array([3, 1, 3, 1]), named=np.array(["b", "a", "b", "a"]))
    data = read(str(tmp_path / "d.npz"))
    assert data.x.tolist() == x.reshape(4, 6).tolist()
    assert (data.classes, data.labels.tolist()) == ((1, 3), [1, 0, 1, 0])
    assert read(str(tmp_path / "d.npz"), "named").classes == ("a", "b")


BAD = {
    "empty": ("", "received an empty file"),
    "blank": ("\n\n", "at least one row, received an empty file"),
    "header only": ("a,b,label\n", "at least one row below the header"),
    "ragged": (CSV + "1,2\n", "line 6: expected 3 fields, received 2"),
    "text": (CSV + "1,abc,x\n", "line 6, column 'b': expected a number, received 'abc'"),
    "gap": (CSV + "1,,x\n", "line 6, column 'b': expected a number, received an empty cell"),
    "nan": (CSV + "nan,1,x\n", "line 6, column 'a': expected a finite number, received 'nan'"),
    "inf": (CSV + "1,inf,x\n", "line 6, column 'b': expected a finite number, received 'inf'"),
    "target": ("a,b,c\n1,2,3\n", "expected the target to be one of the columns 'a', 'b', 'c'; received --target 'label'"),
    "one class": ("a,label\n1,x\n2,x\n", "expected at least 2 classes, received one only: 'x'"),
    "float labels": (
        "a,label\n1,0.5\n2,1.5\n",
        "column 'label': expected class labels (whole numbers from 0, or text), received 0.5",
    ),
    "negative labels": ("a,label\n1,-1\n2,1\n", "expected class labels (whole numbers from 0, or text), received -1"),
    "empty label": (CSV + "1,2,\n", "received an empty cell"),
    "twice": ("a,a,label\n1,2,x\n", "received 'a' more than once"),
    "no features": ("label\nx\ny\n", "expected feature columns beside 'label'"),
    "quote": ('a,label\n1,"x\n', "expected comma separated values"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_named(tmp_path, name):
    content, message = BAD[name]
    path = write(tmp_path / "bad.csv", content)
    with pytest.raises(DataError) as caught:
        read(path, "label")
    assert str(caught.value).startswith(path)
    assert message in str(caught.value)


def test_bad_files_are_named(tmp_path):
    for path, message in [
        (str(tmp_path / "none.csv"), "no such file"),
        (str(tmp_path), "expected no target, the folders are the classes"),
        (write(tmp_path / "latin.csv", "a,é\n".encode("latin-1")), "expected UTF-8 text"),
        (write(tmp_path / "binary.csv", b"a,b\n\0,1\n"), "received binary data"),
        (write(tmp_path / "cut.npz", b"PK\x03\x04abc"), "expected an .npz archive"),
        (write(tmp_path / "zero.npz", b""), "received an empty file"),
        ("mnist", "expected one of digits, iris"),
    ]:
        with pytest.raises(DataError) as caught:
            read(path, "label")
        assert message in str(caught.value)
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((3, 2))}, "expected an array y or Y or t"),
        ({"a": np.ones((3, 2)), "y": [0, 1, 0]}, "expected an array x or X"),
        ({"x": np.ones((3, 2)), "y": [0, 1]}, "array 'y': expected shape (3,)"),
        ({"x": np.ones((3, 2)), "y": [0.0, 1.0, 0.0]}, "received dtype float64, such as 0.0"),
        ({"x": np.ones((3, 2)), "y": [0, -2, 0]}, "received -2"),
        ({"x": np.ones((3, 2)), "y": [1, 1, 1]}, "received one only: 1"),
        ({"x": np.array([[1.0, np.nan]] * 3), "y": [0, 1, 0]}, "received nan in row 0, feature 1"),
        ({"x": np.ones(3), "y": [0, 1, 0]}, "expected shape (N, features)"),
        ({"x": np.array([["a"]] * 3), "y": [0, 1, 0]}, "expected real numbers, received dtype <U1"),
        ({"x": np.array([[None]] * 3, dtype=object), "y": [0, 1, 0]}, "archive of plain arrays"),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError) as caught:
        read(str(tmp_path / "bad.npz"))
    assert "bad.npz" in str(caught.value)
    assert message in str(caught.value)


def test_features_for_a_prediction_are_found_by_name(tmp_path):
    path = write(tmp_path / "d.csv", "b,label,a,extra\n1,x,2,text\n")
    x, true, _ = features(path, Coding(("a", "b")), "label")
    assert (x.tolist(), true.tolist()) == ([[2, 1]], ["x"])
    with pytest.raises(DataError, match="without 'c'"):
        features(path, Coding(("a", "c")))
    with pytest.raises(DataError, match="expected 3 features, as the model was trained with, received 64"):
        features("digits", Coding(("a", "b", "c")))


def test_split_holds_out_a_share_of_every_class():
    data = read("digits")
    first, held = data.split(0.25, seed=3)
    assert len(held) == 449
    assert len(first) + len(held) == len(data)
    shares = np.bincount(held.labels) / np.bincount(data.labels)
    assert (np.abs(shares - 0.25) < 1 / np.bincount(data.labels).min()).all()
    assert np.array_equal(data.split(0.25, seed=3)[1].x, held.x)
    assert not np.array_equal(data.split(0.25, seed=4)[1].x, held.x)


def test_split_refuses_what_cannot_be_split(tmp_path):
    lone = read(write(tmp_path / "d.csv", CSV + "1,2,z\n"), "label")
    with pytest.raises(DataError, match="at least 2 examples of each class, received 1 of class 'z'"):
        lone.split(0.25, seed=0)
    with pytest.raises(DataError, match="enough examples"):
        read(write(tmp_path / "d.csv", CSV), "label").split(0.25, seed=0)
