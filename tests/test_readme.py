"""The Python blocks of the README and of the documentation run, one after the other, and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("page", "count"), [("README.md", 7), ("docs/estimators.md", 3)])
def test_the_python_blocks_print_what_the_page_shows(page, count):
    blocks = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == count
    names: dict[str, object] = {}
    for code, expected in blocks:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(code, page, "exec"), names)
        # errors of size 1e-16 differ between machines: what is compared is that they are that small
        assert without_tiny(shown.getvalue()) == without_tiny(expected)


def without_tiny(text: str) -> str:
    return re.sub(r"error (\de-1[4-9]|0e\+00)", "error tiny", text)
