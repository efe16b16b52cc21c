r"""Formulas: TeX between dollars becomes MathML when the site is built, so that no reader's browser has to load anything.

`$h_i$` within a line; a paragraph that begins and ends with `$$` stands alone. A formula that cannot be read ends the build. And an
inner product `<h, s>` in plain text stays text.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import markdown
from markdown.blockprocessors import BlockProcessor
from markdown.inlinepatterns import InlineProcessor
from math_core import LatexToMathML

MACROS = {
    "d": r"\mathrm{d}",
    "T": r"\mathsf{T}",
    "diag": r"\operatorname{diag}",
    "KL": r"\operatorname{KL}",
    "abs": r"\left|#1\right|",
    "inner": r"\langle #1, #2 \rangle",
    "partial": "∂",
}
CONVERTER = LatexToMathML(macros={name: text for name, text in MACROS.items() if name != "partial"}, fancy_error=False)


class Formulas(markdown.Extension):
    """Both kinds of formula."""

    def extendMarkdown(self, md: markdown.Markdown) -> None:
        # code in backticks comes first (190), a backslash's escape later (180)
        md.inlinePatterns.register(_Inline(r"(?<![\\$\w])\$(?=[^\s$])([^$\n]*?[^\s$\\])\$(?![$\w])", md), "formula", 185)
        # an inner product <h, s> is no tag (those come at 90)
        md.inlinePatterns.register(_Inner(r"<(?=[\w^]+, ?[^<>]*>)", md), "inner", 95)
        md.parser.blockprocessors.register(_Alone(md.parser), "formula", 85)


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]
        return self.md.htmlStash.store(mathml(m[1], alone=False)), m.start(0), m.end(0)


class _Inner(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]
        return self.md.htmlStash.store("&lt;"), m.start(0), m.end(0)


class _Alone(BlockProcessor):
    def test(self, parent: ET.Element, block: str) -> bool:
        return block.strip().startswith("$$")

    def run(self, parent: ET.Element, blocks: list[str]) -> None:
        text = blocks.pop(0).strip()
        if not text.endswith("$$") or len(text) < 5:
            raise ValueError(f"a formula of its own: expected $$ ... $$ without an empty line, received {text!r}")
        box = ET.SubElement(parent, "div", {"class": "formula", "tabindex": "0"})
        box.text = self.parser.md.htmlStash.store(mathml(text[2:-2].strip(), alone=True))


def mathml(tex: str, *, alone: bool) -> str:
    """A formula as MathML; ValueError with the formula if it cannot be read."""
    try:
        return CONVERTER.convert_with_local_state(tex, displaystyle=alone)
    except Exception as error:
        raise ValueError(f"{error} in the formula {tex!r}") from error
