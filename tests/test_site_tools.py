"""What the documentation site is built with: pages of causes, and the look for dead links. (.ci/run builds the site itself.)"""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest

from backproof.gradcheck.explain import explain
from backproof.gradcheck.findings import CAUSES
from tests.pages import ROOT


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_a_cause_is_the_text_of_explain():
    pages = tool("causes").pages()
    assert sorted(pages) == sorted(["index", *CAUSES])
    for name in CAUSES:
        text = re.sub(r'^```python title="(\w+)"$', r"```python \1", pages[name], flags=re.MULTILINE)
        assert re.sub(r"\[([\w/.#-]+)\]\(https://github\.com/\S+/issues/\d+\)", r"\1", text) == explain(name)
        assert f"[{name}]({name}.md)" in pages["index"]
        assert "](https://github.com/" in pages[name]


def test_titles_for_the_tests_are_not_shown():
    pytest.importorskip("mkdocs")
    pytest.importorskip("math_core")
    page = '```console title="not run by the tests: why"\n$ a\n```\n```python title="a.py"\n```\n'
    assert tool("site").on_page_markdown(page) == '```console\n$ a\n```\n```python title="a.py"\n```\n'


def test_what_leads_nowhere_and_what_comes_from_elsewhere_is_found(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        '<h1 id="top">x</h1><a href="#top">.</a><a href="sub/">.</a><a href="https://example.org">.</a>'
        '<a href="sub/index.html#here">.</a>'
    )
    (tmp_path / "sub" / "index.html").write_text(
        '<p id="here">x</p><a href="../index.html#top">.</a><img src="data:image/png;base64,AA">'
    )
    faults = tool("links").faults
    assert faults(tmp_path) == []
    wrong = {
        '<a href="nothing.html">.</a>': "nothing.html, which is not there",
        '<a href="sub/index.html#there">.</a>': "no such place",
        '<script src="https://example.org/a.js"></script>': "from another host",
        '<link rel="stylesheet" href="//example.org/a.css">': "from another host",
        '<img src="picture.png">': "picture.png, which is not there",
        "J s = h (s - <h, s>)": "<h, ...>, which is no HTML",
    }
    for html, told in wrong.items():
        (tmp_path / "page.html").write_text(html)
        (fault,) = faults(tmp_path)
        assert told in fault


@pytest.mark.parametrize(
    ("tex", "part"),
    [
        (r"h_i", "<msub><mi>h</mi><mi>i</mi></msub>"),
        (r"\frac{a}{b}", "<mfrac>"),
        (r"\inner{h}{s}", "⟨"),
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", "<mtable"),
    ],
)
def test_formulas_become_mathml(tex, part):
    formulas = tool_of_the_site("formulas")
    assert part in formulas.mathml(tex, alone=True)


def test_formulas_stand_in_text_or_alone_and_not_in_code():
    formulas = tool_of_the_site("formulas")
    import markdown

    def html(text: str) -> str:
        return markdown.markdown(text, extensions=[formulas.Formulas()])

    assert html("It is $h_i$, see.").count("<math") == 1
    assert 'class="formula"' in html("It is\n\n$$\nh_i\n= 1\n$$\n\nthen.")
    assert "<math" not in html("It costs 5 $ or $ 6 and `$h_i$`.\n\n    $h_i$\n")
    assert "(s - &lt;h, s&gt;) <b>x</b> <code>&lt;h, s&gt;</code>" in html("(s - <h, s>) <b>x</b> `<h, s>`")
    for broken in (r"$\nothing$", "$$\na", r"$\frac{a}$"):
        with pytest.raises(ValueError, match="formula"):
            html(broken)


def test_docstrings_become_markdown():
    prepared = tool_of_the_site("docstrings").markdown
    assert prepared("One.\n\n>>> f()\n1\n\nTwo.") == "One.\n\n```pycon\n>>> f()\n1\n```\n\nTwo."
    assert prepared("One:\n>>> f()\n1") == "One:\n\n```pycon\n>>> f()\n1\n```"
    assert prepared("a : one\nand more; b, c: two\nd : x: y. Raises `E`.") == (
        "- **a**: one and more;\n- **b, c**: two\n- **d**: x: y.\n\nRaises `E`."
    )
    assert prepared("Formula\n\n    J = <h, s>") == "Formula\n\n    J = <h, s>"


def tool_of_the_site(name: str) -> Any:
    """A tool that needs what the extra `docs` brings."""
    for needed in ("markdown", "math_core", "griffe"):
        pytest.importorskip(needed)
    return tool(name)
