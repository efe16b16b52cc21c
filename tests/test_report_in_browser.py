"""The page of a gradient check, and curves, in Chromium: what a person sees, points at, presses and copies."""

from __future__ import annotations

import re

import numpy as np
import pytest

import backproof
from backproof.gradcheck.findings import Comparison, Finding
from backproof.report.markup import element
from backproof.report.page import Section, copyable, page, picture
from tests.browser import CONTRAST, ORDER
from tests.test_report import right, wrong
from tests.test_report_page import EVIL, checked, large


def over(browser_page, which: int, row: float, column: float, rows: int, columns: int) -> None:
    """The mouse over the middle of a cell of one of the maps."""
    plot = browser_page.locator(".maps .plot").nth(which)
    plot.scroll_into_view_if_needed()
    box = plot.locator("canvas").bounding_box()
    browser_page.mouse.move(box["x"] + (column + 0.5) / columns * box["width"], box["y"] + (row + 0.5) / rows * box["height"])


def colour(browser_page, which: int, x: float, y: float) -> list[int]:
    """Red, green and blue of a map's canvas at shares of its size."""
    return browser_page.evaluate(
        """([which, x, y]) => {
          const canvas = document.querySelectorAll(".maps canvas")[which];
          const context = new OffscreenCanvas(1, 1).getContext("2d");
          context.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
          return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }""",
        [which, x, y],
    )


@pytest.mark.parametrize("dark", [False, True])
def test_three_maps_are_drawn_in_one_scale(visit, dark):
    shown = visit(checked(1, 4).to_html(), dark=dark)
    names = shown.locator(".map .name").all_text_contents()
    assert names == ["Numerical", "Yours", "Difference"]
    red, _, blue = colour(shown, 0, 0.03, 0.03)  # the first diagonal entry is positive
    assert blue > red
    red, _, blue = colour(shown, 0, 0.28, 0.06)  # beside it they are negative
    assert red > blue
    red, _, blue = colour(shown, 2, 0.28, 0.06)  # yours is 0 there: the difference is positive
    assert blue > red
    ground = colour(shown, 1, 0.28, 0.06)
    assert max(ground) - min(ground) < 12
    assert (sum(ground) < 200) == dark


@pytest.mark.parametrize("dark", [False, True])
def test_colours_are_symmetric_about_zero(visit, dark):
    j = np.array([[1.0, -1.0], [0.5, -0.5]])
    c = Comparison(0, "x", (2,), "float64", "right", 4, 0, 0, 0.0, 0.0, ((2,),), j, j, np.zeros((2, 2), bool))
    shown = visit(right(comparisons=[c]).to_html(), dark=dark)
    (plus, minus), (half, minus_half) = ([colour(shown, 0, x, y) for x in (0.1, 0.9)] for y in (0.1, 0.9))
    assert all(blue > red for red, _, blue in (plus, half))
    assert all(red > blue for red, _, blue in (minus, minus_half))
    for strong, weak in ((plus, half), (minus, minus_half)):
        assert (sum(strong) > sum(weak)) == dark  # away from the ground
        assert colour(shown, 0, 0.1, 0.1) == colour(shown, 1, 0.1, 0.1)


@pytest.mark.parametrize("dark", [False, True])
def test_numbers_are_read_well_on_every_colour(visit, dark):
    shown = visit(checked(3).to_html(), dark=dark)
    worst = shown.evaluate(
        """() => Math.min(...[...backproof.palette()].map((word) => {
          const bytes = [word & 255, (word >> 8) & 255, (word >> 16) & 255].map((v) => v / 255);
          const light = bytes.map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          return backproof.inkOn(word) === "#000000" ? (light + 0.05) / 0.05 : 1.05 / (light + 0.05);
        }))"""
    )
    assert worst >= 4.5


def test_the_colours_follow_the_scheme_while_the_page_is_open(visit):
    shown = visit(checked(3).to_html())
    strip = "document.querySelector('.scale canvas').toDataURL()"
    before = colour(shown, 0, 0.17, 0.1), shown.evaluate(strip)
    shown.emulate_media(color_scheme="dark")
    shown.wait_for_timeout(100)
    after = colour(shown, 0, 0.17, 0.1), shown.evaluate(strip)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_wrong_entries_are_outlined(visit):
    j = np.zeros((5, 5))
    yours = j.copy()
    yours[2, 3] = 1.0
    c = Comparison(0, "x", (5,), "float64", "wrong", 25, 1, 0, 1.0, 0.0, ((5,),), j, yours, yours > 0)
    shown = visit(wrong(comparisons=[c]).to_html())
    over(shown, 0, 0, 0, 5, 5)
    shown.wait_for_timeout(100)
    edge = [colour(shown, 0, (3 + across) / 5 + dx, (2 + down) / 5 + dy) for across, down, dx, dy in
            ((0, 0.5, 0.003, 0), (1, 0.5, -0.003, 0), (0.5, 0, 0, 0.003), (0.5, 1, 0, -0.003))]  # fmt: skip
    assert all(sum(pixel) < 150 for pixel in edge)
    assert sum(colour(shown, 0, 1.03 / 5, 0.5)) > 600


@pytest.mark.parametrize("which", [0, 1, 2])
def test_pointing_at_a_wrong_entry_shows_both_values(visit, which):
    report = checked(2, 3)
    c = report.comparisons[0]
    shown = visit(report.to_html())
    over(shown, which, 3, 5, 6, 6)
    fields = shown.locator(".fields")
    assert c.wrong_cells[3, 5]
    assert "∂ y[1, 0] / ∂ x[1, 2]" in fields.text_content()
    assert f"{c.numerical[3, 5]:.7g}"[:9] in fields.text_content()
    assert "±" in fields.text_content()
    values = fields.locator("b").all_text_contents()
    assert float(values[2]) == 0.0 == c.analytical[3, 5]
    assert float(values[1].split(" ± ")[0]) == pytest.approx(c.numerical[3, 5], rel=1e-8)
    assert float(values[1].split(" ± ")[1]) >= 0.9 * c.bars[3, 5]
    assert values[4] == "wrong"
    assert "∂ y[1, 0] / ∂ x[1, 2]" in shown.locator("[data-picture=scatter] .readout").text_content()


def test_a_finger_does_what_the_mouse_does(visit):
    shown = visit(checked(2, 3).to_html(), width=390)
    plot = shown.locator(".maps .plot").nth(2)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    shown.touchscreen.tap(box["x"] + box["width"] * 0.5 / 6, box["y"] + box["height"] * 1.5 / 6)
    assert "∂ y[0, 1] / ∂ x[0, 0]" in shown.locator(".fields").text_content()


def test_the_keyboard_goes_everywhere(visit):
    report = checked(4, 5)
    shown = visit(report.to_html())
    for _ in range(30):
        shown.keyboard.press("Tab")
        if shown.evaluate("document.activeElement.matches('.maps .plot')"):
            break
    assert shown.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2")
    fields = shown.locator(".fields")
    shown.keyboard.press("Home")
    shown.keyboard.press("PageUp")
    assert "∂ y[0, 0] / ∂ z[0, 0]".replace("z", "x") in fields.text_content()
    shown.keyboard.press("ArrowDown")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowRight")
    assert "∂ y[0, 1] / ∂ x[0, 2]" in fields.text_content()
    shown.get_by_role("button", name="Next wrong").press("Enter")
    assert "∂ y[0, 1] / ∂ x[0, 3]" in fields.text_content()
    shown.get_by_role("button", name="Previous wrong").press("Enter")
    shown.get_by_role("button", name="Previous wrong").press("Enter")
    assert "∂ y[0, 1] / ∂ x[0, 0]" in fields.text_content()
    shown.keyboard.press("Shift+Tab")
    shown.locator("summary", has_text="The entries").press("Enter")
    assert shown.get_by_role("cell", name="y[0, 0]").first.is_visible()


def test_zooming_one_map_zooms_all(visit):
    shown = visit(large(60, 0.1).to_html())
    pictures = "() => [...document.querySelectorAll('.maps canvas')].map((canvas) => canvas.toDataURL())"
    before = shown.evaluate(pictures)
    over(shown, 1, 20, 40, 60, 60)
    shown.keyboard.down("Control")
    shown.mouse.wheel(0, -600)
    shown.keyboard.up("Control")
    shown.wait_for_timeout(100)
    closer = shown.evaluate(pictures)
    assert all(a != b for a, b in zip(before, closer, strict=True))
    over(shown, 0, 0, 0, 60, 60)
    over(shown, 1, 20, 40, 60, 60)
    assert shown.locator(".fields b").first.text_content() == "∂ y[20] / ∂ x[40]"  # what was under the mouse is there still
    over(shown, 2, 0, 0, 60, 60)
    corner = int(re.search(r"y\[(\d+)\]", shown.locator(".fields b").first.text_content())[1])
    assert corner > 5
    shown.get_by_role("button", name="Show all").click()
    over(shown, 2, 0, 0, 60, 60)
    assert "y[0]" in shown.locator(".fields b").first.text_content()


@pytest.mark.parametrize("before", ["", "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))"])
def test_the_copy_button_copies(visit, before):
    report = wrong(replay=f"import backproof  # {before}\nx = '<b>'")  # another each time: the clipboard outlives the page
    shown = visit(report.to_html(), before=before)
    button = shown.locator("section", has_text="Repeat it").get_by_role("button", name="Copy")
    button.click()
    shown.wait_for_function("() => [...document.querySelectorAll('button')].some((one) => one.textContent === 'Copied')")
    shown.evaluate("document.body.prepend(document.createElement('textarea')); document.querySelector('textarea').focus()")
    shown.keyboard.press("Control+V")
    assert shown.evaluate("document.querySelector('textarea').value") == report.replay


def test_names_that_look_like_markup_do_nothing(visit):
    c = wrong().comparisons[0]
    named = [Comparison(**{**vars(c), "name": EVIL, "input": k}) for k in (0, 1)]
    finding = Finding("unknown", 0.5, 0, EVIL, EVIL, EVIL, {EVIL: EVIL}, EVIL)
    text = wrong(target=EVIL, findings=[finding], comparisons=named, notes=[EVIL], replay=EVIL).to_html()
    shown = visit(text.replace('http-equiv="Content-Security-Policy"', 'name="none"'))  # the escaping alone must do
    assert shown.evaluate("document.querySelectorAll('img, script').length") == 2
    assert EVIL in shown.locator("h1").text_content()
    assert EVIL in shown.locator(".fields").text_content()
    assert EVIL in shown.locator("select").text_content()


def test_the_browser_itself_refuses_scripts_that_are_not_the_page_s_own(visit):
    shown = visit(wrong().to_html(), expected="Content Security Policy")
    refused = shown.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = "document.title = 'ran'";
          document.body.append(script);
        })"""
    )
    assert refused == "script-src-elem"
    assert shown.title() != "ran"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1200])
def test_contrast_headings_and_names(visit, dark, width):
    kink = Finding("kink", 0.9, 0, "x[1]", "x[1] is at a kink", "", {}, "x")
    report = checked(4, 5)
    for made in (report, right(findings=[kink]), wrong(20, 20)):
        shown = visit(made.to_html(), dark=dark, width=width)
        shown.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        count, weak = shown.evaluate(CONTRAST)
        assert count > 40
        assert weak == []
        assert shown.evaluate(ORDER) == []


@pytest.mark.parametrize("width", [390, 1200])
def test_long_names_and_lines_do_not_widen_the_page(visit, width):
    name = "very_long_" * 40
    c = Comparison(**{**vars(wrong().comparisons[0]), "name": name})
    finding = Finding("unknown", 0.5, 0, name, name, f"dx = {name}", {name: name}, name)
    report = wrong(target=name, findings=[finding, finding], comparisons=[c, c], notes=[name], method=name, replay=name)
    assert visit(report.to_html(), width=width).evaluate(ORDER) == []


def test_a_gradient_of_one_output_has_the_shape_of_its_input(visit):
    report = backproof.check(
        lambda x: (x**2).sum(), np.random.default_rng(0).normal(size=(3, 7)), backward=lambda g, x: g * x, names=["x"]
    )
    shown = visit(report.to_html())
    over(shown, 0, 2, 4, 3, 7)
    assert "∂ y / ∂ x[2, 4]" in shown.locator(".fields").text_content()
    assert "drawn in the shape of x" in shown.locator("[data-picture=jacobian]").text_content()
    assert "y = 0.5 x" in shown.locator("[data-picture=scatter]").text_content()


def test_several_inputs_can_be_chosen(visit):
    rng = np.random.default_rng(0)
    report = backproof.check(
        lambda x, w: x * w, rng.normal(size=3), rng.normal(size=3), backward=lambda g, x, w: (g * w, -g * x), names=["x", "w"]
    )
    shown = visit(report.to_html())
    assert shown.locator("select option").all_text_contents() == ["w (wrong)", "x (right)"]
    shown.locator("select").select_option(label="x (right)")
    over(shown, 1, 1, 1, 3, 3)
    assert "∂ y[1] / ∂ x[1]" in shown.locator(".fields").text_content()
    assert shown.locator(".fields b").last.text_content() == "right"


def test_what_is_not_known_is_grey_and_said(visit):
    c = right().comparisons[0]
    bars = np.full(c.numerical.shape, 1e-12)
    bars[0, 1] = np.inf
    shown = visit(right(comparisons=[Comparison(**{**vars(c), "bars": bars})]).to_html())
    over(shown, 0, 0, 1, 3, 3)
    assert shown.locator(".fields b").all_text_contents()[1] == "not known"
    assert shown.locator(".fields b").last.text_content() == "cannot tell"
    assert "1 without a finite value" in shown.locator("[data-picture=scatter]").text_content()


def test_the_scatter_finds_the_nearest_point(visit):
    shown = visit(large(30, 0.2).to_html())
    plot = shown.locator(".plot.scatter")
    plot.scroll_into_view_if_needed()
    before = shown.locator(".fields").text_content()
    box = plot.bounding_box()
    shown.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.45)
    assert shown.locator(".fields").text_content() != before


def test_a_jacobian_of_400_by_400_can_be_looked_at(visit):
    shown = visit(large(400, 0.3).to_html())
    over(shown, 2, 150, 250, 400, 400)
    assert "y[150]" in shown.locator(".fields").text_content()
    assert shown.evaluate("performance.getEntriesByName('drawn')[0].startTime") > 0


@pytest.mark.slow
def test_the_first_paint_comes_within_a_second_and_looking_around_is_smooth(visit):
    shown = visit(large(400, 0.3).to_html())
    paint, drawn = shown.evaluate(
        "['first-contentful-paint', 'drawn'].map((name) => performance.getEntriesByName(name)[0].startTime)"
    )
    frames = shown.evaluate(
        """async () => {
          const plot = document.querySelector(".maps .plot");
          const { left, top } = plot.getBoundingClientRect();
          const times = [];
          for (let i = 0; i < 60; i++) {
            const start = performance.now();
            const at = { clientX: left + 60 + i, clientY: top + 60 + i, bubbles: true, cancelable: true };
            plot.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: i < 30 ? -60 : 60, ctrlKey: true }));
            plot.dispatchEvent(new PointerEvent("pointermove", { ...at, pointerType: "mouse" }));
            await new Promise(requestAnimationFrame);
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    print(f"first paint {paint:.0f} ms, pictures {drawn:.0f} ms, a frame while zooming {frames[30]:.0f} to {frames[54]:.0f} ms")
    assert paint < 1000
    assert drawn < 1000
    assert frames[30] < 50


def curves(count: int) -> str:
    epochs = np.arange(1, count + 1)
    loss = (2 / epochs).astype(np.float32)
    other = np.where(epochs == 3, np.nan, 3 / epochs).astype(np.float32)
    series = [{"name": "training", "values": loss}, {"name": "<b>", "values": other}]
    data = {"x": epochs, "y_label": "loss", "series": series, "best": {"x": 2, "label": "best epoch"}}
    body = picture("curves", "loss", "Loss", element("p", "a table")) + copyable("x = 1")
    return page("t", [Section("Loss", body)], {"loss": data}, lead=element("h1", "A training"))


@pytest.mark.parametrize("count", [1, 4, 5000])
def test_curves_are_read_with_mouse_and_keyboard(visit, count):
    shown = visit(curves(count))
    plot = shown.locator(".plot")
    box = plot.bounding_box()
    shown.mouse.move(box["x"] + box["width"] - 13, box["y"] + 100)
    readout = shown.locator(".readout")
    assert readout.text_content().startswith(f"epoch {count}: training")
    plot.focus()
    shown.keyboard.press("Home")
    assert readout.text_content() == "epoch 1: training 2, <b> 3"
    if count > 2:
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("ArrowRight")
        assert readout.text_content() == "epoch 3: training 0.66667, <b> nan"
    image = "document.querySelector('canvas').toDataURL()"
    linear = shown.evaluate(image)
    shown.get_by_label("Logarithmic").check()
    shown.wait_for_timeout(100)
    assert shown.evaluate(image) != linear
    shown.get_by_label("training").uncheck()
    assert "training" not in readout.text_content()
    assert shown.evaluate(CONTRAST)[1] == shown.evaluate(ORDER) == []
