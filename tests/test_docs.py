"""Every code block of the documentation runs, page by page, and prints what the page shows below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pages import ROOT, assert_shown, blocks, commands, run_page

# design.md is prose about the code; its one block is a drawing
PAGES = [p for p in sorted((ROOT / "docs").rglob("*.md")) if p.name != "design.md"]
# what no test can do: page -> reasons
NOT_RUN = {
    "index.md": ["it installs packages"],
}


def name(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_not_run_is_known(page):
    reasons = [block.not_run for block in blocks(page.read_text(encoding="utf-8")) if block.not_run]
    assert reasons == NOT_RUN.get(name(page), [])


def test_blocks_are_found_wherever_they_stand():
    page = '```python title="a.py"\nx\n```\n- list\n\n    ```console title="not run by the tests: why"\n    $ rm -r /\n    ```\n'
    first, second = blocks(page)
    assert (first.file, first.text, first.line) == ("a.py", "x\n", 1)
    assert (second.not_run, second.text, second.line) == ("why", "$ rm -r /\n", 6)
    assert commands("$ a b\nc\n\nd\n$ e\n") == [("a b", "c\n\nd\n"), ("e", "")]


def test_a_wrong_output_and_an_unknown_block_fail(tmp_path):
    assert_shown("a 12 b\n", "a ... b", "here")
    with pytest.raises(AssertionError, match="here"):
        assert_shown("a 12 c\n", "a ... b", "here")
    for text in (
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```rust\n1\n```\n",
        "```text\nalone\n```\n",
        "```console\n$ exit 3\n```\n",
    ):
        (tmp_path / "page.md").write_text(text, encoding="utf-8")
        with pytest.raises(AssertionError):
            run_page(tmp_path / "page.md", tmp_path)
