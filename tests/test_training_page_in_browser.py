"""The page of a training in Chromium: what is painted, read by keyboard, and how soon; on a phone and a desk, light and dark."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backproof import History, Record
from backproof.data import read
from backproof.doctor import LayerVitals, Vitals
from backproof.job import Job, Settings
from backproof.report.training_data import Training
from backproof.report.training_page import training_page
from tests.browser import CONTRAST, ORDER

EVIL = "<img src=x onerror=alert(1)>"

# The contrast of each cell of the confusion matrix with its own colour, which is laid over the card's.
CELLS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const level = (v) => (v <= 10 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * level(r) + 0.7152 * level(g) + 0.0722 * level(b);
  const paint = (...colours) => {
    for (const colour of colours) {
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
    }
    return light(context.getImageData(0, 0, 1, 1).data);
  };
  const card = getComputedStyle(document.querySelector("main > section")).backgroundColor;
  return [...document.querySelectorAll(".confusion td")].map((cell) => {
    const style = getComputedStyle(cell);
    const [a, b] = [paint(card, style.backgroundColor), paint(style.color)].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), style.backgroundColor];
  });
}"""


@pytest.fixture(scope="module")
def training() -> Training:
    data = replace(read("digits"), classes=(EVIL, *range(1, 10)))
    job = Job(data, Settings(epochs=6, hidden=(16,), activation="tanh"))
    agreement, history = job.check(), History(job.run())
    return Training(job, history, agreement, job.evaluate())


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_in_order(visit, training, width, dark):
    shown = visit(training_page(training), width=width, dark=dark)
    count, weak = shown.evaluate(CONTRAST)
    assert count > 100
    assert weak == shown.evaluate(ORDER) == []
    cells = shown.evaluate(CELLS)
    assert len(cells) == 100
    assert min(contrast for contrast, _ in cells) > 4.5
    assert len({colour for _, colour in cells}) > 5
    assert shown.locator("text=/^Which classes/").count() == 1


def test_class_names_stay_text(visit, training):
    shown = visit(training_page(training))
    assert shown.locator("img[onerror]").count() == 0
    assert shown.locator("th", has_text=EVIL).count() == 2  # a row and a column of the confusion matrix


def test_all_curves_are_painted_and_read(visit, training):
    shown = visit(training_page(training))
    data = json.loads(shown.locator("#data").text_content())
    figures = shown.locator("figure[data-picture]")
    assert figures.count() == len(data) == 7
    for k in range(figures.count()):
        figure = figures.nth(k)
        name = figure.get_attribute("data-source")
        figure.scroll_into_view_if_needed()
        colours = figure.locator("canvas").evaluate(
            """(canvas) => {
              const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              const found = new Set();
              for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255) found.add(pixels.slice(i, i + 3).join());
              return [...found];
            }"""
        )
        assert "11,105,183" in colours, name  # the first curve's own
        figure.locator(".plot").focus()
        shown.keyboard.press("End")
        told = figure.locator(".readout").text_content()
        assert told.startswith("epoch 6: ")
        for one in data[name]["series"]:
            assert one["name"] in told
        figure.locator("summary").click()
        assert figure.locator("tbody tr").count() == 6
        assert figure.locator("tbody tr").last.is_visible()
    history = training.history
    told = shown.locator("figure[data-source=loss] .readout").text_content()
    values = [float(part.split()[-1]) for part in told.split(": ")[1].split(", ")]
    np.testing.assert_allclose(values, [history["loss"][-1], history["validation_loss"][-1]], rtol=1e-4)


def test_diagrams_and_images_are_seen(visit, training):
    shown = visit(training_page(training), width=390)
    for diagram in shown.locator("svg.diagram").all():
        box = diagram.bounding_box()
        assert 250 < box["width"] <= 390
        assert box["height"] > 250
    images = shown.locator(".gallery img")
    assert images.count() == len(training.evaluation.mistakes) > 0
    assert images.evaluate_all("(all) => all.every((one) => one.complete && one.naturalWidth === 8)")


@pytest.fixture
def long(training) -> Training:
    """5,000 epochs, with a look at six layers in each."""
    rng = np.random.default_rng(0)
    fall = 2 * np.exp(-np.arange(5000) / 800)
    history, looks = History(), []
    for i, value in enumerate(fall):
        noise = rng.random(4).tolist()
        history.add(
            Record(i + 1, i + 1, value + 0.1 * noise[0], value + 0.2 * noise[1], {"validation_accuracy": noise[2]}, noise[3])
        )
        layers = [LayerVitals(k, "Tanh", *rng.random(2).tolist(), *rng.random(3).tolist()) for k in range(6)]
        looks.append(Vitals(i + 1, i + 1, tuple(layers), (), (), ()))
    job = copy.copy(training.job)
    job.doctor = replace(job.doctor, vitals=looks)
    return replace(training, job=job, history=history)


def test_five_thousand_epochs(visit, long):
    page = training_page(long)
    assert len(page) < 2_000_000
    shown = visit(page)
    shown.locator("figure[data-source=loss] .plot").focus()
    shown.keyboard.press("End")
    last = [long.history[name][-1] for name in ("loss", "validation_loss")]
    told = shown.locator("figure[data-source=loss] .readout").text_content()
    assert told.startswith("epoch 5000: ")
    np.testing.assert_allclose([float(part.split()[-1]) for part in told.split(": ")[1].split(", ")], last, rtol=1e-4)


@pytest.mark.slow
def test_five_thousand_epochs_are_seen_within_a_second_and_smooth(visit, long):
    page = training_page(long)
    shown = visit(page)
    paint, drawn = shown.evaluate(
        "['first-contentful-paint', 'drawn'].map((name) => performance.getEntriesByName(name)[0].startTime)"
    )
    frames = shown.evaluate(
        """async () => {
          const plot = document.querySelector("figure[data-source=loss] .plot");
          const { left, top } = plot.getBoundingClientRect();
          const times = [];
          for (let i = 0; i < 60; i++) {
            const start = performance.now();
            const at = { clientX: left + 60 + i * 15, clientY: top + 50, pointerType: "mouse" };
            plot.dispatchEvent(new PointerEvent("pointermove", at));
            await new Promise(requestAnimationFrame);
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    print(f"{len(page):,} characters; first paint {paint:.0f} ms, pictures {drawn:.0f} ms, a frame {frames[30]:.0f} ms")
    assert paint < 1000
    assert drawn < 1000
    assert frames[30] < 50


def test_pages_of_the_command_line(visit, tmp_path, monkeypatch):
    from backproof import cli

    monkeypatch.chdir(tmp_path)
    for arguments in ("digits --epochs 2", "digits --epochs 2 --optimizer sgd --lr 1e30 --schedule constant --force"):
        monkeypatch.setattr("sys.argv", ["backproof", "train", *arguments.split(), "--out", "run"])
        with pytest.raises(SystemExit):
            cli.main()
        shown = visit(Path("run/report.html").read_text(encoding="utf-8"))
        assert "digits" in shown.title()
