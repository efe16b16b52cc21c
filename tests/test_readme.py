"""The Python blocks of the README run, one after the other, and print what stands below them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.pages import ROOT, assert_shown, blocks, run_python


def test_the_python_blocks_print_what_the_page_shows():
    found = blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    shown = [(code, below) for code, below in pairwise(found) if (code.language, below.language) == ("python", "text")]
    assert len(shown) == sum(block.language == "python" for block in found) == 7
    names: dict[str, Any] = {}
    for code, below in shown:
        place = f"README.md, line {code.line}"
        assert_shown(run_python(code.text, place, names), below.text, place)
