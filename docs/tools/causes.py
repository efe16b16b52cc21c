"""A page for each cause of a wrong gradient, from the text of `backproof explain`."""

from __future__ import annotations

import re

from backproof.gradcheck.explain import explain
from backproof.gradcheck.findings import CAUSES, NOTES

INDEX = """# Causes

What `backproof check` says is wrong with a gradient. `backproof explain NAME` prints the same page in a terminal.

| cause | what is wrong |
|---|---|
"""
_FENCE = re.compile(r"^```python (wrong|right)$", re.MULTILINE)
_THREAD = re.compile(r"(?<![\w/.])([\w-]+/[\w.-]+)#(\d+)")


def names() -> list[str]:
    return list(CAUSES)


def pages() -> dict[str, str]:
    """name -> Markdown, with an index."""
    rows = [f"| [{name}]({name}.md) | {line} |\n" for name, line in CAUSES.items() if name not in NOTES]
    notes = [f"| [{name}]({name}.md) | {line} |\n" for name, line in CAUSES.items() if name in NOTES]
    return {"index": INDEX + "".join(rows + notes)} | {name: _page(explain(name)) for name in CAUSES}


def _page(text: str) -> str:
    """A fence's second word as its title, and a thread as a link."""
    head, case, tail = _FENCE.sub(r'```python title="\1"', text).partition("## A real case")
    return head + case + _THREAD.sub(r"[\1#\2](https://github.com/\1/issues/\2)", tail)
