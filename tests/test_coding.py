"""Columns as inputs: kinds, one-hot coding from the training part, new data through the model file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import backproof as bp
from backproof import DataError
from backproof.data import Coding, Dataset, Moments, fit, read
from tests.test_cli import QUICK

HEADER = "size,colour,day,label\n"


def people(place: Path, rows: int = 60, colours: str = "red,green,blue") -> str:
    rng = np.random.default_rng(rows)
    names = colours.split(",")
    lines = []
    for k in range(rows):
        colour = names[int(rng.integers(len(names)))]
        lines.append(f"{rng.normal():.3f},{colour},2024-01-{k % 28 + 1:02},{'yes' if colour == names[0] else 'no'}")
    place.write_text(HEADER + "\n".join(lines) + "\n")
    return str(place)


def written(place: Path, *cells: str) -> str:
    place.write_text("c,label\n" + "".join(f"{cell},{'xy'[i % 2]}\n" for i, cell in enumerate(cells)))
    return str(place)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (("1", "2.5"), "number"),
        (("red", "green"), "category"),
        (("red", ""), "category"),
        (("true", "false"), "category"),
        (("2024-05-01", "1969-12-31"), "date"),
        (("2024-05-01T12:00", "2024-05-01 12:00:30.5+02:00"), "date"),
        (("2024-05-01", "2024-02-30"), "category"),
    ],
)
def test_what_kind_a_column_is(tmp_path, cells, kind):
    data = read(written(tmp_path / "d.csv", *cells), "label")
    assert data.kinds.get("c", "number") == kind
    if kind == "category":
        assert [data.categories["c"][int(i)] for i in data.x[:, 0]] == list(cells)


def test_dates_are_seconds(tmp_path):
    cells = ("1970-01-02", "1969-12-31T23:59:59Z", "1970-01-01T02:00:00+01:00", "2024-05-01 00:00:00.25")
    assert read(written(tmp_path / "d.csv", *cells), "label").x[:, 0].tolist() == [86400, -1, 3600, 1714521600.25]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (
            ("1", "red"),
            {},
            "line 3, column 'c': expected a number, received 'red'; if the column holds categories, name it in categorical",
        ),
        (("", ""), {}, "line 2, column 'c': expected a number, received an empty cell"),
        (("2024-05-01", ""), {}, "line 3, column 'c': expected a date such as 2024-05-01"),
        ([f"id{i}" for i in range(1001)], {}, "column 'c': expected at most 1,000 different values in a categorical column"),
    ],
)
def test_columns_that_are_neither_are_named(tmp_path, cells, options, message):
    with pytest.raises(DataError) as caught:
        read(written(tmp_path / "d.csv", *cells), "label", **options)
    assert message in str(caught.value)


def test_numbers_as_categories_and_columns_left_out(tmp_path):
    place = tmp_path / "d.csv"
    place.write_text("id,zip,label\n" + "".join(f"n{i},{10 * (i % 3)},{'xy'[i % 2]}\n" for i in range(2000)))
    data = read(str(place), "label", categorical=["zip"], ignore=["id"])
    assert data.features == ("zip",)
    assert set(data.categories["zip"]) == {"0", "10", "20"}


def test_one_hot_is_scikit_learns():
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    values = np.array(["b", "a", "", "c"])
    train, new = (values[rng.integers(0, high, (30, 2))] for high in (3, 4))
    theirs = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(train)

    def coded(cells: np.ndarray) -> tuple[np.ndarray, dict[str, tuple[str, ...]]]:
        places = {cell: i for i, cell in enumerate(values.tolist())}
        return np.vectorize(places.get)(cells).astype(float), dict.fromkeys("pq", tuple(values.tolist()))

    x, names = coded(train)
    data = Dataset("d", x, np.arange(30) % 2, (0, 1), ("p", "q"), {"p": "category", "q": "category"}, names)
    coding, _ = fit(data)
    for cells in (train, new):
        assert np.array_equal(coding.encode(*coded(cells)), theirs.transform(cells))
    assert coding.unseen(names) == {"p": ["c"], "q": ["c"]}


def test_coding_is_fitted_on_the_training_part(tmp_path):
    data = read(people(tmp_path / "d.csv", 300, "red,green,blue,grey"), "label")
    train, test = data.split(0.25, 0)
    grey = data.categories["colour"].index("grey")
    without = train.take(np.flatnonzero(train.x[:, 1] != grey))
    coding, moments = fit(without)
    assert coding.categories == {"colour": ("blue", "green", "red")}
    assert np.allclose(moments.mean[0], without.x[:, 0].mean())
    inputs = test.coded(coding).x
    assert np.array_equal(inputs[:, 1:4].sum(axis=1), test.x[:, 1] != grey)


def test_moments_are_numpys_however_the_rows_are_cut():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5000, 3)) * [1, 1e-3, 1e4] + [1e6, 0, -1e4]
    moments = Moments()
    for piece in np.split(x, np.sort(rng.integers(0, 5000, 20))):
        moments.add(piece)
    assert moments.count == 5000
    # every merge rounds a mean to half a unit in the last place, and a variance by that of the means it compares
    eps = np.finfo(float).eps
    assert (np.abs(moments.mean - x.mean(axis=0)) <= 20 * eps * np.abs(x).max(axis=0)).all()
    assert np.allclose(moments.variance, x.var(axis=0), rtol=1e-8)
    assert np.array_equal(moments.range, np.ptp(x, axis=0))


def test_json_and_back():
    coding = Coding(("a", "b", "c"), {"b": ("x", "y")}, ("c",))
    assert Coding.from_json(json.loads(json.dumps(coding.as_json()))) == coding


@pytest.mark.parametrize(
    "change",
    [
        {"features": ["a", "a"]},
        {"features": "ab"},
        {"features": [1]},
        {"categories": {"z": ["x"]}},
        {"categories": {"b": []}},
        {"categories": {"b": ["x", "x"]}},
        {"categories": {"b": [["x"]]}},
        {"dates": ["b"]},
        {"dates": "c"},
        {"image": [1, 2, 1]},
        {"image": [1, 1, 1, False]},
        {"image": [-1, -3, 1, False]},
    ],
)
def test_a_model_file_that_lies_is_refused(change):
    spec = Coding(("a", "b", "c"), {"b": ("x", "y")}, ("c",)).as_json()
    with pytest.raises(ValueError):
        Coding.from_json(spec | change)


def test_train_and_predict_with_categories(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people(Path("d.csv"), 200)
    assert run("train", "d.csv", "--target", "label", "--hidden", "8", "--epochs", "60", "--out", "run")[0] == 0
    model = "run/model.safetensors"
    network = bp.load(model)
    assert network.metadata["categories"] == {"colour": ["blue", "green", "red"]}
    assert network.metadata["dates"] == ["day"]
    assert network.in_shape == (5,)
    Path("new.csv").write_text("day,extra,colour,size\n2024-01-05,?,red,0\n2024-01-05,?,blue,0\n")
    code, out, err = run("predict", model, "new.csv")
    assert (code, err) == (0, "")
    assert [line.split(",")[0] for line in out.splitlines()] == ["label", "yes", "no"]
    Path("new.csv").write_text("day,colour,size\n2024-01-05,mauve,0\n2024-01-05,,0\n")
    code, out, err = run("predict", model, "new.csv")
    assert code == 0
    assert "new.csv, column 'colour': '', 'mauve' did not occur in training and counts as none of its categories" in err
    first, second = (line.split(",")[1:] for line in out.splitlines()[1:])
    assert first == second
    Path("new.csv").write_text("day,colour,size\nMonday,red,0\n")
    assert "line 2, column 'day': expected a date" in run("predict", model, "new.csv")[2]
    np.savez("new.npz", x=np.ones((2, 3)))
    assert "expected a table with the model's categorical columns" in run("predict", model, "new.npz")[2]


def test_a_table_of_categories_alone(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(Path("d.csv"), *["u", "v"] * 30)
    assert run("train", "d.csv", "--target", "label", *QUICK, "--out", "run")[0] == 0
    assert run("predict", "run/model.safetensors", "d.csv", "--target", "label")[0] == 0
