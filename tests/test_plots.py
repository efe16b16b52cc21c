"""Pictures hold the numbers that they are of: what is in the artists, compared with arrays; and what notebooks show."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import FancyBboxPatch

import backproof as bp
from backproof import History, Linear, Network, Record, ReLU, Residual, Softmax, SoftmaxClassifier
from backproof.gradcheck.findings import Comparison, Report


class Parsed(HTMLParser):
    """Tags and text of a piece of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def records(losses, held=None, **metrics):
    made = []
    for i, loss in enumerate(losses):
        values = {name: curve[i] for name, curve in metrics.items()}
        made.append(Record(i + 1, 10 * (i + 1), loss, None if held is None else held[i], values, 0.1 * loss, 1.0 * i))
    return made


HISTORY = records([3.0, 0.2, 0.1, 0.05], [2.0, 1.0, 0.5, 0.7], validation_accuracy=[0.1, 0.5, 0.9, 0.8])


# --- histories -------------------------------------------------------------------------------------------------------------
def test_a_history_holds_the_records():
    history = History(HISTORY)
    assert history.epochs == 4
    assert history["loss"] == [r.train_loss for r in HISTORY]
    assert history["validation_loss"] == [r.validation_loss for r in HISTORY]
    assert history["validation_accuracy"] == [r.metrics["validation_accuracy"] for r in HISTORY]
    assert (history.best_epoch(), history.best_epoch("loss"), history.best_epoch("validation_accuracy")) == (3, 4, 3)
    assert History().best_epoch() is None
    with pytest.raises(bp.ArgumentError, match="expected score to be one of"):
        history.best_epoch("accuracy")


def test_curves_of_a_history_are_equally_long():
    history = History(records([1.0, 2.0]))
    history.add(Record(1, 1, 3.0, 4.0, {"m": 5.0}, remarks=("look",)))
    history.add(Record(2, 2, 4.0, None))
    assert {len(curve) for curve in history.values()} == {4}
    assert history["validation_loss"][2] == 4.0
    assert np.isnan(history["m"])[[0, 1, 3]].all()
    assert history.remarks == [(3, "look")]


def test_a_history_from_a_file(tmp_path):
    path = tmp_path / "history.json"
    told = bp.Record(2, 20, math.nan, 0.3, {"validation_accuracy": 0.5}, remarks=("careful",))
    given = [*records([1.0], [0.5], validation_accuracy=[0.25]), told]
    described = {"records": [{**vars(r), "train_loss": None if math.isnan(r.train_loss) else r.train_loss} for r in given]}
    path.write_text(json.dumps(described))
    for source in (path, tmp_path, str(path)):
        history = History.load(source)
        assert history["validation_accuracy"] == [0.25, 0.5]
        assert math.isnan(history["loss"][1])
        assert history.remarks == [(2, "careful")]
    for damaged in ("", "[]", '{"records": 3}', '{"records": [{}]}', '{"records": [[]]}', '{"records": [{"train_loss": "x"}]}'):
        path.write_text(damaged)
        with pytest.raises(bp.DataError, match=r"history\.json: expected the history\.json of a run, received something else"):
            History.load(path)
    with pytest.raises(bp.DataError, match="No such file"):
        History.load(tmp_path / "none.json")


def test_histories_can_be_copied_and_pickled():
    history = History([*HISTORY, Record(5, 50, 1.0, 1.0, remarks=("one",))])
    for twin in (pickle.loads(pickle.dumps(history)), copy.deepcopy(history)):
        np.testing.assert_equal(dict(twin), dict(history))
        assert type(twin) is History
        assert twin.remarks == history.remarks


def test_the_figure_of_a_history():
    history = History(HISTORY)
    history.remarks.append((2, "look"))
    loss, metric, norm = history.plot().axes
    lines = {line.get_label(): line for line in loss.lines}
    assert list(lines["training"].get_ydata()) == history["loss"]
    assert list(lines["held out"].get_ydata()) == history["validation_loss"]
    assert list(lines["held out"].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["best: epoch 3"].get_xydata()[0]) == [3, 0.5]
    assert list(lines["remark"].get_xdata()) == [2]
    assert loss.get_yscale() == "log"
    assert list(metric.lines[0].get_ydata()) == history["validation_accuracy"]
    assert metric.get_title("left") == "validation accuracy"
    assert list(norm.lines[0].get_ydata()) == history["gradient_norm"]


def test_a_figure_of_a_run_that_diverged():
    history = History(records([1.0, math.inf, math.nan]))
    figure = history.plot()
    np.testing.assert_equal(figure.axes[0].lines[0].get_ydata(), history["loss"])
    assert figure.axes[0].get_yscale() == "linear"
    figure.canvas.draw()
    assert Parsed(History(records([math.nan]))._repr_html_()).tags.count("tr") == 4
    History(records([math.nan])).plot().canvas.draw()
    with pytest.raises(bp.ArgumentError, match="at least one epoch"):
        History().plot()


def test_a_history_in_a_notebook():
    history = History([*HISTORY, Record(5, 50, 1.0, 0.6, {"<b>m": 1.0}, remarks=("<img src=x onerror=alert(1)>",))])
    shown = Parsed(history._repr_html_())
    assert "img" not in shown.tags
    assert "b" not in shown.tags
    assert "epoch 5: <img src=x onerror=alert(1)>" in shown.text
    assert "0.5 (epoch 3)" in shown.text
    assert "5 epochs; least held-out loss in epoch 3" in shown.text
    assert shown.tags.count("polyline") == len(history)
    assert "0 epochs" in History()._repr_html_()


def test_estimators_keep_a_history():
    x = np.random.default_rng(0).normal(size=(40, 3))
    model = SoftmaxClassifier(hidden=(4,), epochs=3, random_state=0).fit(x, x[:, 0] > 0)
    assert isinstance(model.history_, History)
    assert list(model.history_.plot().axes[0].lines[0].get_ydata()) == model.loss_curve_


# --- networks --------------------------------------------------------------------------------------------------------------
def network():
    layers = [Linear(6), ReLU(), Residual(Linear(6), ReLU()), Linear(3), Softmax()]
    return Network(layers, bp.CrossEntropy()).initialise(np.zeros((1, 4)), seed=0)


def test_the_figure_of_a_network():
    net = network()
    figure = net.plot()
    blocks, *others = figure.axes
    assert sum(isinstance(patch, FancyBboxPatch) for patch in blocks.patches) == 5
    words = " ".join(text.get_text() for text in blocks.texts)
    for expected in ("0  Linear(6)", "4 → 6 · 30 parameters", "6 → 3 · 21 parameters", "CrossEntropy() (fused)", "93 parameters"):
        assert expected in words
    maps = [axes for axes in others if axes.images]
    assert [axes.get_title("left") for axes in maps] == ["0.weight", "2.0.weight", "3.weight"]
    for axes, name in zip(maps, ("0.weight", "2.0.weight", "3.weight"), strict=True):
        weight = net.named_parameters()[name]
        assert np.array_equal(axes.images[0].get_array(), weight)
        low, high = axes.images[0].get_clim()
        assert high == -low == np.abs(weight).max()
    counts = [sum(patch.get_height() for patch in axes.patches) for axes in others if not axes.images and axes.patches]
    assert counts == [24, 36, 18]


def test_figures_of_unusual_networks():
    bare = Network([Linear(3), Softmax()]).plot()
    assert len(bare.axes) == 1
    assert "not initialised" in [text.get_text() for text in bare.axes[0].texts]
    net = network()
    net.parameters[:3] = [np.nan, np.inf, -np.inf]
    titles = [axes.get_title("left") for axes in net.plot().axes]
    assert any(title.startswith("3 weights are not finite") for title in titles)
    net.parameters = np.full_like(net.parameters, np.nan)
    net.plot().canvas.draw()
    wide = Network([Linear(3000)]).initialise(np.zeros((1, 1000)), seed=0)
    image = next(axes for axes in wide.plot().axes if axes.images)
    assert np.array_equal(image.images[0].get_array(), wide.named_parameters()["0.weight"][::2, ::2])
    assert image.get_title("left") == "0.weight, every 2th row and column"


def test_a_network_in_a_notebook():
    shown = Parsed(network()._repr_html_())
    assert shown.tags.count("tr") == 7
    for word in ("Residual(Linear(6), ReLU())", "(N, 6)", "42", "93", "float64", "CrossEntropy() (fused)"):
        assert word in shown.text
    assert "not initialised" in Parsed(Network([Linear(3)])._repr_html_()).text


# --- checks ----------------------------------------------------------------------------------------------------------------
def report(numerical, yours, wrong):
    parts = {"numerical": numerical, "analytical": yours, "wrong_cells": wrong}
    c = Comparison(0, "x", (yours.shape[1],), "float64", "wrong", yours.size, int(wrong.sum()), 0, 1.0, 1e-9, **parts)
    return Report("Thing", False, [], [c], [], "every entry", {}, 0.1, 0)


def test_the_figure_of_a_check():
    rng = np.random.default_rng(0)
    numerical = rng.normal(size=(5, 4))
    yours, wrong = numerical.copy(), np.zeros((5, 4), dtype=bool)
    yours[1, 2], yours[3, 0] = 4.0, -0.5
    wrong[1, 2] = wrong[3, 0] = True
    figure = report(numerical, yours, wrong).plot()
    images = [axes.images[0] for axes in figure.axes if axes.images]
    for image, expected in zip(images, (numerical, yours, yours - numerical), strict=True):
        assert np.array_equal(image.get_array(), expected)
        largest = max(np.abs(yours).max(), np.abs(yours - numerical).max())
        assert image.get_clim() == (-largest, largest)
    outlines = [c for axes in figure.axes for c in axes.collections if isinstance(c, LineCollection) and axes.images]
    assert [len(c.get_segments()) for c in outlines] == [8, 8]
    corners = {tuple(point) for segment in outlines[0].get_segments() for point in segment}
    assert corners == {(x + dx, y + dy) for x, y in ((2, 1), (0, 3)) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)}
    scatter = next(axes for axes in figure.axes if axes.get_xlabel() == "numerical")
    points = {c.get_label(): c.lines[0].get_xydata() for c in scatter.containers}
    assert np.array_equal(points["wrong"], np.stack([numerical[wrong], yours[wrong]], axis=1))
    assert np.array_equal(points["right"], np.stack([numerical[~wrong], yours[~wrong]], axis=1))
    assert "2 entries wrong" in figure.get_suptitle()


def test_very_many_wrong_entries_are_not_outlined():
    wrong = np.random.default_rng(0).random((100, 100)) < 0.3
    figure = report(np.zeros((100, 100)), wrong.astype(float), wrong).plot()
    assert not [c for axes in figure.axes if axes.images for c in axes.collections if isinstance(c, LineCollection)]
    assert figure.get_suptitle().endswith(f"{wrong.sum():,} entries wrong")


def test_error_bars_are_drawn_where_they_are_known():
    j, bars = np.eye(2), np.array([[0.05, np.inf], [0.5, np.inf]])
    c = replace(report(j, j, j > 2).comparisons[0], bars=bars)
    scatter = next(axes for axes in replace(report(j, j, j > 2), comparisons=[c]).plot().axes if axes.get_xlabel() == "numerical")
    kinds = {container.get_label(): container for container in scatter.containers}
    assert list(kinds) == ["right", "cannot tell"]
    assert kinds["right"].lines[0].get_xydata().tolist() == [[1.0, 1.0]]
    (drawn,) = kinds["right"].lines[2]
    np.testing.assert_allclose(drawn.get_segments()[0][:, 0], [0.95, 1.05])
    (drawn,) = kinds["cannot tell"].lines[2]
    assert [segment[:, 0].tolist() for segment in drawn.get_segments() if len(segment)] == [[-0.5, 0.5]]


def test_the_figure_of_a_real_check():
    class Diagonal:
        def forward(self, x):
            e = np.exp(x)
            self.h = e / e.sum(axis=1, keepdims=True)
            return self.h

        def backward(self, g):
            return self.h * (1 - self.h) * g

    found = bp.check(Diagonal(), np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    image = found.plot().axes[0].images[0].get_array()
    h = np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    block = np.diag(h) - np.outer(h, h)
    np.testing.assert_allclose(image, np.kron(np.eye(2), block), atol=1e-8)


def test_what_has_no_jacobian_has_no_figure():
    whole = np.ones((2, 2))
    few = report(None, whole, whole > 2)
    with pytest.raises(bp.ArgumentError, match="expected a comparison with its Jacobian"):
        few.plot()
    with pytest.raises(bp.ArgumentError, match="name of one of the inputs x, received 'y'"):
        few.plot("y")


def test_nan_is_drawn_as_a_gap():
    numerical, yours = np.ones((2, 2)), np.array([[np.nan, 1.0], [1.0, 1.0]])
    figure = report(numerical, yours, ~np.isfinite(yours)).plot()
    assert figure.axes[1].images[0].get_array().mask.tolist() == [[True, False], [False, False]]
    figure.canvas.draw()


# --- matplotlib ------------------------------------------------------------------------------------------------------------
def test_figures_use_no_pyplot_and_show_themselves():
    code = (
        "import sys, backproof as bp; figure = bp.Network([bp.Linear(2)]).plot(); png = figure._repr_png_();"
        "print(png[:4] == b'\\x89PNG', 'matplotlib.pyplot' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "True False\n"


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("backproof.plots.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "backproof.gradcheck.plotting", raising=False)
    whole = np.ones((1, 1))
    for thing in (History(HISTORY), network(), report(whole, whole, whole > 2)):
        with pytest.raises(bp.ArgumentError, match=r"expected the package matplotlib .*backproof\[plots\]"):
            thing.plot()
