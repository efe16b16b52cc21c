"""The page of a training, against the files beside it, against the network itself, and against hostile names."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

import backproof as bp
from backproof import History, Record
from backproof.calibration import reliability
from backproof.data import read
from backproof.data.rows import Image
from backproof.doctor import LayerVitals, Vitals
from backproof.doctor.vitals import Prefix
from backproof.gradcheck import compare_gradient
from backproof.job import Job, Settings
from backproof.mistakes import Mistakes
from backproof.report.diagrams import Square, agreement_diagram, reliability_diagram
from backproof.report.images import as_bytes, image, png
from backproof.report.training_data import Training, confused_pairs, curve_data, layer_data, remarks, rows_behind
from backproof.report.training_page import training_page

EVIL = "<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Elements with their attributes, tables as rows of text, and the numbers that the scripts get."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.text, self._open = "", [""]
        self.feed(text)
        self.data = json.loads(text.partition('id="data">')[2].partition("</script>")[0] or "{}")

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "script" in self._open or "style" in self._open:
            return
        self.text += data
        if self.tables and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, corner, second=None):
        """The rows below the table's head, which begins with `corner`."""
        return next(rows[1:] for rows in self.tables if rows[0][0] == corner and second in (None, rows[0][1]))

    def curve(self, picture, name):
        one = next(one for one in self.data[picture]["series"] if one["name"] == name)
        return stored(one["values"])


def stored(array):
    return np.frombuffer(base64.b64decode(array["base64"]), np.dtype(array["dtype"]).newbyteorder("<"))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def opened(folder="run"):
    return Page(Path(folder, "report.html").read_text(encoding="utf-8"))


def trained(data="iris", epochs=3, **settings) -> Training:
    job = Job(read(data) if isinstance(data, str) else data, Settings(epochs=epochs, hidden=(4,), **settings))
    agreement, history = job.check(), History(job.run())
    return Training(job, history, agreement, job.evaluate())


# --- the command -----------------------------------------------------------------------------------------------------------
def test_the_page_of_the_main_job(run):
    code, out, _ = run("train", "digits", "--out", "run", "--epochs", "4", "--hidden", "16")
    assert code == 0
    assert "run/report.html" in out
    page, history = opened(), json.loads(Path("run/history.json").read_text())
    records = history["records"]
    losses = [np.float32([record[name] for record in records]) for name in ("train_loss", "validation_loss")]
    assert np.array_equal(page.curve("loss", "training"), losses[0])
    assert np.array_equal(page.curve("loss", "held out"), losses[1])
    assert page.data["loss"]["best"]["x"] == 1 + int(np.argmin(losses[1]))
    assert np.array_equal(page.curve("metrics", "accuracy"), np.float32([r["metrics"]["validation_accuracy"] for r in records]))
    assert np.array_equal(page.curve("gradient", "norm of the gradient"), np.float32([r["gradient_norm"] for r in records]))
    confusion = [[int(cell) for cell in row[1:]] for row in page.table("true class", "0")]
    assert confusion == history["held_out"]["confusion"]
    assert f"digits: {history['held_out']['accuracy']:.1%} of the held-out examples right" in page.text
    for setting in ("label smoothing", "clip norm", "cosine", "numpy", np.__version__, "1,210", "0.002"):
        assert setting in page.text, setting


def test_mistakes_are_shown_as_they_are(run):
    run("train", "digits", "--out", "run", "--epochs", "2", "--hidden", "8")
    page, network = opened(), bp.load("run/model.safetensors")
    _, held = read("digits").split(0.25, seed=0)
    h = network.predict(held.x)
    wrong = np.flatnonzero(h.argmax(1) != held.labels)
    order = wrong[np.argsort(-h[wrong].max(1), kind="stable")][:24]
    shown = page.all("img")
    assert len(shown) == 24 < len(wrong)
    assert (
        f"{len(wrong)} of 449 held-out examples are taken for another class. Here are the 24 most confident. Example 1 is"
        in page.text
    )
    largest = held.x[order].max()
    written = re.findall(r">example ([\d,]+)<", Path("run/report.html").read_text())
    numbers = [int(number.replace(",", "")) for number in written]
    whole = read("digits")
    assert np.array_equal(whole.x[np.array(numbers) - 1], held.x[order])
    assert np.array_equal(whole.labels[np.array(numbers) - 1], held.labels[order])
    for k, i in enumerate(order):
        decoded = pillow.open(io.BytesIO(base64.b64decode(shown[k]["src"].removeprefix("data:image/png;base64,"))))
        assert np.array_equal(np.asarray(decoded), np.rint(255 * held.x[i].reshape(8, 8) / largest))
        assert shown[k]["alt"] == f"an example of {held.labels[i]}, taken for {h[i].argmax()}"


def test_mistakes_of_a_table_are_a_table(run):
    rng = np.random.default_rng(0)
    lines = ["size,<b>colour,when,label"]
    lines += [f"{rng.normal():.3f},{'ab'[i % 2]},2024-05-{1 + i % 9:02},{'xyz'[rng.integers(3)]}" for i in range(120)]
    Path("t.csv").write_text("\n".join(lines))
    assert run("train", "t.csv", "--target", "label", "--out", "run", "--epochs", "1", "--hidden", "4")[0] == 0
    rows = opened().table("example", "true class")
    assert len(rows) > 5
    for number, true, taken, probability, of_true, size, colour, when in rows:
        assert lines[int(number)] == f"{float(size):.3f},{colour},{when},{true}"
        assert true != taken
        assert float(probability) >= float(of_true)
    assert not opened().all("img")


def test_an_existing_page_is_not_overwritten_unasked(run):
    Path("run").mkdir()
    Path("run/report.html").write_text("mine")
    code, _, err = run("train", "iris", "--out", "run", "--epochs", "1")
    assert code == 2
    assert "run/report.html: exists already" in err
    assert Path("run/report.html").read_text() == "mine"
    assert run("train", "iris", "--out", "run", "--epochs", "1", "--force")[0] == 0
    assert "held-out examples right" in opened().text


def test_a_run_that_diverges_has_a_page(run):
    arguments = ("--optimizer", "sgd", "--lr", "1e30", "--schedule", "constant", "--epochs", "3")
    code, _, err = run("train", "digits", "--out", "run", *arguments)
    assert code == 2
    page = opened()
    assert "digits: the training diverged" in page.text
    assert "training stopped at step" in page.text
    assert "Not one epoch was finished." in page.text
    assert "training stopped at step" in err


def test_a_run_that_was_resumed_shows_all_epochs(run, monkeypatch):
    from backproof.job import Job as job_class

    whole = job_class.run

    def interrupted(self, checkpoint=None):
        for record in whole(self, checkpoint):
            yield record
            if record.epoch == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(job_class, "run", interrupted)
    assert run("train", "iris", "--out", "run", "--epochs", "6", "--checkpoint-every", "1")[0] == 130
    assert not Path("run/report.html").exists()
    monkeypatch.setattr(job_class, "run", whole)
    assert run("train", "--resume", "run")[0] == 0
    page, records = opened(), json.loads(Path("run/history.json").read_text())["records"]
    assert len(records) == 6
    assert np.array_equal(page.curve("loss", "training"), np.float32([r["train_loss"] for r in records]))
    assert "The run was resumed: looks before epoch 4 are not kept." in page.text


def test_streamed_data_have_a_page(run):
    data = read("iris")
    np.save("x.npy", data.x)
    np.save("t.npy", data.labels)
    assert run("train", "x.npy", "--target", "t.npy", "--stream", "--out", "run", "--epochs", "2")[0] == 0
    page = opened()
    assert "Data that are read a piece at a time are not looked into." in page.text
    rows = page.table("example", "true class")
    assert len(rows) > 1
    for number, true, *_, length, _, _, _ in rows:
        assert float(length) == data.x[int(number) - 1, 0]
        assert int(true) == data.labels[int(number) - 1]
    assert len(page.curve("loss", "held out")) == 2


def test_lbfgs_has_a_page(run):
    assert run("train", "iris", "--optimizer", "lbfgs", "--out", "run", "--epochs", "5", "--hidden", "none")[0] == 0
    page = opened()
    assert "updates" not in page.data
    assert {"loss", "metrics", "gradient", "saturated"} <= set(page.data)


def test_hostile_names_stay_text(run):
    rng = np.random.default_rng(0)
    lines = [f"a,</script><script>alert(2)</script>,{EVIL}"]
    lines += [f"{rng.normal():.3f},{'p' if i % 3 else EVIL},{[EVIL, '</title>', 'c'][rng.integers(3)]}" for i in range(120)]
    Path(f"{EVIL.replace('/', '')}.csv").write_text("\n".join(lines))
    assert run("train", f"{EVIL}.csv", "--target", EVIL, "--out", "run", "--epochs", "1", "--hidden", "4")[0] == 0
    page = opened()
    assert not page.all("img")
    assert len(page.all("script")) == 2
    assert len(page.all("title")) == 1 + len(page.all("circle")) + len([r for r in page.all("rect") if r.get("class") != "frame"])
    assert f"{EVIL}.csv: " in page.text
    assert {row[0] for row in page.table("class", "precision")} == {EVIL, "</title>", "c"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


# --- what it is made of ----------------------------------------------------------------------------------------------------
def test_mistakes_are_the_most_confident_ones_of_all_pieces():
    rng = np.random.default_rng(0)
    z, t, x = rng.normal(size=(300, 4)), rng.integers(0, 4, 300), rng.normal(size=(300, 2))
    z[7], z[9] = np.nan, np.inf
    found = Mistakes(most=10)
    for start in range(0, 300, 37):
        found.add(x[start : start + 37], z[start : start + 37], t[start : start + 37])
    kept = np.isfinite(z).all(1)
    h = np.exp(z[kept]) / np.exp(z[kept]).sum(1, keepdims=True)
    wrong = np.flatnonzero(h.argmax(1) != t[kept])
    order = wrong[np.argsort(-h[wrong].max(1))][:10]
    assert found.count == len(wrong)
    assert np.array_equal(found.x, x[kept][order])
    assert np.array_equal(found.true, t[kept][order])
    assert np.array_equal(found.order, np.flatnonzero(kept)[order])
    assert np.array_equal(found.taken, h[order].argmax(1))
    np.testing.assert_allclose(found.confidence, h[order].max(1))
    np.testing.assert_allclose(found.true_probability, h[order, t[kept][order]])
    empty = Mistakes()
    assert (len(empty), empty.count, len(empty.x), len(empty.true)) == (0, 0, 0, 0)


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1)])
def test_png_is_read_by_others(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(np.asarray(pillow.open(io.BytesIO(png(pixels)))), pixels)


def test_large_images_are_thinned():
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200), dtype=np.uint8)
    inner = Page(image(pixels, "a < b")).all("img")[0]
    assert (inner["width"], inner["height"], inner["alt"]) == ("50", "75", "a < b")
    assert as_bytes(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 128, 255]
    assert as_bytes(np.zeros(3)).tolist() == [0, 0, 0]


def test_which_data_are_images(tmp_path):
    assert read("digits").image == Image(8, 8, 1)
    assert read("iris").image is None
    labels = np.arange(20) % 2
    for shape, dtype, expected in (
        ((20, 4, 6), np.uint8, Image(4, 6, 1)),
        ((20, 4, 6, 3), np.uint8, Image(4, 6, 3)),
        ((20, 4, 6, 1), np.uint8, Image(4, 6, 1)),
        ((20, 4, 6), np.float64, None),  # a table of numbers with three axes may be anything
        ((20, 4, 6, 2), np.uint8, None),
        ((20, 24), np.uint8, None),
    ):
        np.savez(tmp_path / "a.npz", x=np.ones(shape, dtype), y=labels)
        assert read(str(tmp_path / "a.npz")).image == expected, shape


def test_reliability_diagram_has_the_bins():
    z = np.random.default_rng(0).normal(size=(200, 3))
    found = reliability(z, np.random.default_rng(1).integers(0, 3, 200), bins=5)
    page = Page(reliability_diagram(found))
    bars = [bar for bar in page.all("rect") if bar.get("class") != "frame"]
    filled = np.flatnonzero(found.examples)
    assert len(bars) == len(filled)
    for bar, k in zip(bars, filled, strict=True):
        assert float(bar["height"]) / 300 == pytest.approx(found.accuracy[k], abs=4e-4)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, "0 0.2 0.4 0.6 0.8 1"),
        (-0.3, 0.31, "-0.2 0 0.2"),
        (1000, 1007, "1000 1002 1004 1006"),
        (1e-9, 6e-9, "1e-09 2e-09"),
    ],
)
def test_axes_have_round_ticks(low, high, ticks):
    drawn = Square(low, high, "across", "up", "name").drawn()
    words = [part.partition("<")[0] for part in drawn.split(">")]
    assert [word for word in words if word][::2][: len(ticks.split())] == ticks.split()


def test_what_was_compared_with_numerical_derivatives():
    a = np.linspace(1, 2, 5)
    theta, gradient = np.arange(5.0), 2 * a * np.arange(5.0)
    gradient[3] += 1
    found = compare_gradient(lambda x: float(a @ x**2), gradient, theta, directions=2)
    places, claimed, numerical, bars = found.compared
    assert places.tolist() == [0, 1, 2, 3, 4, -1, -1]
    assert np.array_equal(claimed[:5], gradient)
    np.testing.assert_allclose(numerical[:5], 2 * a * theta, atol=1e-9)
    assert (bars >= 0).all()
    assert found.wrong == (3,)
    assert "compared" not in found.as_json()
    page = Page(agreement_diagram(found))
    assert [dot.get("class") for dot in page.all("circle")] == [None, None, None, "bad", None, None, None]
    assert agreement_diagram(replace(found, compared=None)) is None


def test_confused_pairs():
    confusion = np.random.default_rng(0).integers(0, 9, (6, 6))
    pairs = confused_pairs(confusion, most=100)
    assert len(pairs) == np.count_nonzero(confusion) - np.count_nonzero(confusion.diagonal())
    assert [count for *_, count in pairs] == sorted((count for *_, count in pairs), reverse=True)
    assert all(confusion[i, j] == count and i != j for i, j, count in pairs)
    assert len(confused_pairs(confusion, most=3)) == 3


def test_many_classes_have_no_matrix():
    rng = np.random.default_rng(0)
    data = read("iris")
    many = replace(data, x=rng.normal(size=(400, 4)), labels=np.arange(400) % 40, classes=tuple(range(40)))
    page = Page(training_page(trained(many)))
    pairs = page.table("class", "taken for")
    assert len(pairs) == 30
    assert not [one for one in page.all("table") if one.get("class") == "confusion"]


def test_curves_of_layers():
    looks = []
    for epoch in (1, 4):
        layers = LayerVitals(0, "Linear", gradient=1 / epoch, update=0.1, weight=2.0), LayerVitals(1, "Sigmoid", 0.1 * epoch)
        looks.append(Vitals(epoch, epoch, layers, (), (), ()))
    found = layer_data(looks)
    assert set(found) == {"updates", "gradients", "saturated"}
    assert found["updates"]["x"].tolist() == [1, 4]
    assert [one["name"] for one in found["updates"]["series"]] == ["0 Linear"]
    np.testing.assert_allclose(found["updates"]["series"][0]["values"], [0.05, 0.05])
    np.testing.assert_allclose(found["saturated"]["series"][0]["values"], [0.1, 0.4], rtol=1e-6)
    assert layer_data([]) == {}


def test_each_remark_is_shown_once():
    history = History([Record(1, 1, 1.0, None, remarks=("a", "b")), Record(2, 2, 1.0, None, remarks=("b", "c"))])
    assert remarks(history) == [(1, "a"), (1, "b"), (2, "c")]


def test_long_tables_are_thinned_but_keep_the_best():
    losses = np.linspace(2, 1, 4999).tolist()
    losses[1233] = 0.5
    history = History(Record(i + 1, i + 1, value, value) for i, value in enumerate(losses))
    head, rows, step = rows_behind(curve_data(history)["loss"])
    epochs = [int(row[0].replace(",", "")) for row in rows]
    assert head == ["epoch", "training", "held out"]
    assert len(rows) <= 203
    assert step == 25
    assert {1, 1234, 4999} <= set(epochs)
    assert rows[epochs.index(1234)][1:] == ["0.5", "0.5"]


def test_numbers_that_are_not_finite_are_no_obstacle():
    training = trained()
    history = History(Record(i + 1, i + 1, value, value) for i, value in enumerate([1.0, math.nan, math.inf]))
    network = training.job.network
    network.parameters = np.full_like(network.parameters, np.nan)
    page = Page(training_page(replace(training, history=history, evaluation=training.job.evaluate(), diverged="it ran away")))
    assert "The logits of the held-out examples are not finite." in page.text
    assert "it ran away" in page.text
    assert page.data["loss"]["best"]["x"] == 1


def test_a_prefix_is_like_a_tuple():
    grown = [3.0, 1.0, 2.0]
    prefix = Prefix(grown, 2)
    grown.append(0.0)
    assert (len(prefix), prefix[0], prefix[-1], min(prefix), list(prefix), prefix[1:]) == (2, 3.0, 1.0, 1.0, [3.0, 1.0], [1.0])
    assert int(np.argmin(prefix)) == 1
    with pytest.raises(IndexError):
        prefix[2]
