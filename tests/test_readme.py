"""The README's Python blocks run, one after the other, and print what it says they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_python_blocks_print_what_the_readme_shows():
    blocks = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {}
    for code, expected in blocks:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(code, "README.md", "exec"), names)
        # errors of size 1e-16 differ between machines: what is compared is that they are that small
        assert without_tiny(shown.getvalue()) == without_tiny(expected)


def without_tiny(text: str) -> str:
    return re.sub(r"error (\de-1[4-9]|0e\+00)", "error tiny", text)
