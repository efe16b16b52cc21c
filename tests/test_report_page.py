"""The page of a gradient check as text; and the piece that notebooks show."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import backproof
from backproof.gradcheck.findings import CAUSES, Comparison, Finding, Report
from backproof.report.entries import entry_table, place
from backproof.report.formulas import FORMULAS
from backproof.report.markup import Html, element, joined
from backproof.report.mathml import mathml
from backproof.report.page import encoded
from tests.test_report import right, wrong

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>&\"'"


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def diagonal_only(upstream, x):
    h = softmax(x)
    return h * (1 - h) * upstream


def checked(*shape: int) -> Report:
    return backproof.check(softmax, np.random.default_rng(0).normal(size=shape), backward=diagonal_only)


def large(size: int, share: float) -> Report:
    """A dense Jacobian of which a share of the entries is wrong."""
    rng = np.random.default_rng(0)
    numerical = rng.normal(size=(size, size))
    cells = rng.random((size, size)) < share
    yours, bars = np.where(cells, 1.5 * numerical, numerical), np.abs(rng.normal(size=(size, size))) * 1e-12
    one = Comparison(
        0, "x", (size,), "float64", "wrong", size**2, int(cells.sum()), 0, 2.0, 1e-12, ((size,),), numerical, yours, cells, bars
    )
    return wrong(comparisons=[one])


class Tags(HTMLParser):
    """Every element is closed, and in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def array(stored: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(stored["base64"]), dtype=stored["dtype"]).reshape(stored["shape"])


def test_the_page_has_every_digit_of_both_jacobians_and_their_bars():
    report = checked(4, 5)
    c = report.comparisons[0]
    stored = data_of(report.to_html())["jacobians"][0]
    assert np.array_equal(array(stored["numerical"]), c.numerical)
    assert np.array_equal(array(stored["yours"]), c.analytical)
    assert np.array_equal(array(stored["state"]) == 1, c.wrong_cells)
    assert (array(stored["bars"]) >= c.bars).all()
    assert np.allclose(array(stored["bars"]), c.bars, rtol=1e-6)


def test_a_comparison_has_an_error_bar_for_each_entry():
    x = np.random.default_rng(0).normal(size=(2, 3))
    c = backproof.check(softmax, x, backward=diagonal_only).comparisons[0]
    true = np.zeros((6, 6))
    for n, h in enumerate(softmax(x)):
        true[3 * n : 3 * n + 3, 3 * n : 3 * n + 3] = np.diag(h) - np.outer(h, h)
    assert c.bars.shape == c.numerical.shape
    assert (np.abs(c.numerical - true) <= c.bars + 1e-16).all()
    assert c.bars.max() < 1e-9
    at = np.unravel_index(np.argmax(np.abs(c.analytical - c.numerical)), c.bars.shape)
    assert c.bar == c.bars[at]
    assert np.array_equal(
        json.loads(backproof.check(softmax, x, backward=diagonal_only).to_json())["comparisons"][0]["bars"], c.bars
    )


def test_a_page_needs_nothing_else_and_is_well_formed():
    for report in (wrong(), right(), wrong(findings=[], comparisons=[]), checked(3)):
        text = report.to_html()
        tags = Tags(text).seen
        loaded = [attributes.get(name) for _, attributes in tags for name in ("src", "href") if attributes.get(name)]
        assert loaded == ["data:,"]
        policy = next(a["content"] for tag, a in tags if tag == "meta" and "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        assert not re.search(r"url\(|@import|https?:(?!//www\.w3\.org)", text)


def test_what_users_name_stays_text():
    evil = Finding("unknown", 0.5, 0, EVIL, EVIL, EVIL, {EVIL: EVIL}, EVIL)
    c = wrong().comparisons[0]
    named = Comparison(0, EVIL, (4, 5), EVIL, "wrong", 400, 80, 0, 0.2, 1e-12, ((4, 5),), c.numerical, c.analytical, c.wrong_cells)
    report = wrong(target=EVIL, findings=[evil, evil], comparisons=[named], notes=[EVIL], method=EVIL, replay=EVIL, calls={EVIL: 1})
    for text, scripts in ((report.to_html(), 2), (report._repr_html_(), 0)):
        tags = [tag for tag, _ in Tags(text).seen]
        assert "img" not in tags
        assert tags.count("script") == scripts
        assert "&lt;img" in text
    assert data_of(report.to_html())["jacobians"][0]["name"] == EVIL


def test_markup_escapes_whatever_it_has_not_made():
    assert element("p", "<", Html("<b>"), title='"') == '<p title="&quot;">&lt;<b></p>'
    assert joined(["<", element("br"), None]) == "&lt;<br>"
    assert element("b", "x") + "<" == "<b>x</b>&lt;"
    assert element("a", hidden=True, title=None, for_="x", aria_label="y") == '<a hidden for="x" aria-label="y"></a>'


def test_arrays_keep_their_values():
    arrays = [np.arange(3, dtype=np.int64), np.array([0.1, np.nan]), np.array([1.5], dtype=np.float32), np.array([True, False])]
    stored = [encoded(a) for a in arrays]
    assert [s["dtype"] for s in stored] == ["int32", "float64", "float32", "uint8"]
    assert all(np.array_equal(array(s), a, equal_nan=a.dtype.kind == "f") for s, a in zip(stored, arrays, strict=True))
    assert encoded({"a": (1, float("nan"), np.float64(2.0)), "b": None}) == {"a": [1, None, 2.0], "b": None}
    big_endian = np.array([1.0, 2.0], dtype=">f8")
    assert np.array_equal(array(encoded(big_endian)), big_endian)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_a_formula_that_browsers_can_typeset(cause):
    assert set(FORMULAS) == set(CAUSES)
    for tex in FORMULAS[cause][:2]:
        root = ElementTree.fromstring(mathml(tex))
        kinds = {"span", "math", "mrow", "mi", "mn", "mo", "mtext", "mfrac", "msub", "msup", "msubsup", "munder", "mover", "mspace"}
        assert {node.tag for node in root.iter()} <= kinds
        arguments = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2}
        assert all(len(node) == arguments[node.tag] for node in root.iter() if node.tag in arguments)
        assert "\\" not in "".join(root.itertext())
    text = wrong(findings=[Finding(cause, 0.9, 0, "x", "a message", "a cure", {}, "x")]).to_html()
    assert text.count("<math ") == 2
    assert f"More about {cause}" in text


def test_formulas_are_read_as_tex_reads_them():
    assert "".join(ElementTree.fromstring(mathml(r"dx_j = \sum_i g_i \frac{a}{b}^2")).itertext()) == "dxj=∑igiab2"
    nested = ElementTree.fromstring(mathml(r"x_{i j}^{\top} \text{ and so}"))
    assert [node.tag for node in nested.iter()].count("msubsup") == 1
    assert "\u00a0and\u00a0so" in "".join(nested.itertext())


def test_the_factor_is_in_the_formula():
    finding = Finding("wrong-scale", 0.97, 0, "x", "m", "", {"factor": np.float64(1 / 3)}, "x")
    assert "<mn>0.3333</mn>" in wrong(findings=[finding]).to_html()


def test_places_of_entries():
    assert place("x", 5, [(2, 3)]) == "x[1, 2]"
    assert place("y", 4, [(3,), (2, 2)]) == "y1[0, 1]"
    assert place("y", 0, [()]) == "y"


def test_the_table_has_all_entries_of_a_small_jacobian_and_two_hundred_wrong_ones_of_a_large_one():
    small = entry_table(checked(3).comparisons[0])
    assert small.count("<tr>") == 1 + 9
    c = large(40, 0.5).comparisons[0]
    many = entry_table(c)
    assert many.count("<tr>") == 1 + 200
    assert f"the first 200 of {c.wrong:,}" in many
    i, j = np.argwhere(c.wrong_cells)[0]
    assert repr(float(c.numerical[i, j])) in many
    assert repr(float(c.analytical[i, j])) in many


def test_entries_with_wide_bars_are_neither_right_nor_wrong():
    c = right().comparisons[0]
    bars = np.full((3, 3), 1e-12)
    bars[0, 1], bars[1, 1] = np.inf, 0.5
    one = Comparison(**{**vars(c), "bars": bars})
    assert array(data_of(right(comparisons=[one]).to_html())["jacobians"][0]["state"]).tolist() == [[0, 2, 0], [0, 2, 0], [0, 0, 0]]
    assert entry_table(one).count("cannot tell") == 2
    assert entry_table(one).count("not known") == 1


def test_sizes_of_pages():
    assert len(large(200, 0.5).to_html().encode()) < 1.5e6
    assert len(wrong().to_html().encode()) < 150e3


def test_jacobians_beyond_the_page_are_named():
    one = large(400, 0.1).comparisons[0]
    report = wrong(comparisons=[one, Comparison(**{**vars(one), "name": "second", "input": 1})])
    text = report.to_html()
    assert len(data_of(text)["jacobians"]) == 1
    assert "too large for a page: second." in text


def test_the_check_keeps_a_jacobian_of_400_by_400():
    x = np.random.default_rng(0).normal(size=(8, 50))
    c = backproof.check(softmax, x, backward=diagonal_only).comparisons[0]
    assert c.numerical.shape == c.bars.shape == (400, 400)


def test_verdicts_in_words():
    assert "Wrong gradient of x" in wrong().to_html()
    assert "Right gradient of x" in right().to_html()
    unsure = Comparison(0, "x", (2,), "float64", "cannot tell", 4, 0, 4, 0.0, 1.0)
    text = right(comparisons=[unsure]).to_html()
    assert "Nothing wrong found; cannot tell for x" in text
    assert "not accurate enough" in text


def test_the_page_is_written_whole_and_never_over_another_unasked(tmp_path):
    path = tmp_path / "new" / "report.html"
    assert wrong().to_html(path) is None
    text = wrong().to_html()
    assert path.read_text(encoding="utf-8") == text
    with pytest.raises(backproof.OutputExistsError, match="overwrite=True"):
        right().to_html(path)
    assert path.read_text(encoding="utf-8") == text
    right().to_html(str(path), overwrite=True)
    assert path.read_text(encoding="utf-8") == right().to_html()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_bad_paths_are_refused_with_one_error(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, "", tmp_path / "file" / "report.html", "a\0b"):
        with pytest.raises(backproof.ArgumentError, match="path: expected a file"):
            wrong().to_html(path)
    with pytest.raises(backproof.ArgumentTypeError, match="path: expected a path, received int"):
        wrong().to_html(3)


def test_a_notebook_gets_tables_and_no_script():
    text = wrong()._repr_html_()
    tags = [tag for tag, _ in Tags(text).seen]
    assert "script" not in tags
    for name in ("numerical", "yours", "difference"):
        assert f"<figcaption>{name}</figcaption>" in text
    assert text.count('class="x"') == 2 * 80
    assert wrong(20, 20)._repr_html_().count("<td style=") + wrong(20, 20)._repr_html_().count('<td class="x"') == 3 * 24 * 24


def test_a_gradient_with_nan_is_shown():
    yours = np.eye(3)
    yours[1, 1] = np.nan
    c = Comparison(0, "x", (3,), "float64", "wrong", 9, 1, 0, np.nan, 0.0, ((3,),), np.eye(3), yours, ~np.isfinite(yours))
    assert np.isnan(array(data_of(wrong(comparisons=[c]).to_html())["jacobians"][0]["yours"])[1, 1])
    assert ">nan<" in wrong(comparisons=[c])._repr_html_()
