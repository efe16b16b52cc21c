"""The pages, one Markdown file a cause beside this module, and the Python that they show."""

from __future__ import annotations

import difflib
import re
from importlib.resources import files

from backproof._errors import ArgumentError
from backproof.gradcheck.findings import CAUSES

_BLOCK = re.compile(r"^```python (wrong|right)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def explain(cause: str) -> str:
    """The page on a cause, a key of `CAUSES`, in Markdown. Raises `ArgumentError`, with the nearest names, for another.

    >>> print(explain("sign-flipped").splitlines()[0])
    # sign-flipped
    """
    if cause not in CAUSES:
        near = difflib.get_close_matches(str(cause).strip().lower().replace("_", "-").replace(" ", "-"), CAUSES, n=3, cutoff=0.5)
        hint = f"perhaps {' or '.join(near)}" if near else f"one of {', '.join(CAUSES)}"
        raise ArgumentError(f"cause: expected the name of a cause, {hint}; received {cause!r}")
    return (files("backproof.gradcheck.explain") / "pages" / f"{cause}.md").read_text(encoding="utf-8")


def markdown(cause: str) -> str:
    """The page for those who render Markdown: what each piece of code is stands above it, not within its mark."""
    # their highlighters know languages, not our second word
    return re.sub(r"^```python (wrong|right)$", r"*\1*\n\n```python", explain(cause), flags=re.MULTILINE)


def blocks(cause: str) -> dict[str, str]:
    """The page's code: "wrong" and "right", each a Python text that defines `inputs`, `forward` and `backward`.

    >>> sorted(blocks("sign-flipped"))
    ['right', 'wrong']
    """
    return {match[1]: match[2] for match in _BLOCK.finditer(explain(cause))}
