"""Docstrings as they stand in the source, made ready for Markdown: examples become code, lines about arguments a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

# "x (N, features): the inputs", at the beginning of a paragraph, of a line or after a sentence
_ARGUMENT = re.compile(r"(?:^|(?<=[.;] )|(?<=\n))(\*{0,2}\w+(?:, \w+)*) ?: (?=\S)")
_RAISES = re.compile(r"\s(?=Raises )")


class Prepared(griffe.Extension):
    """Changes every docstring of the package when it is collected."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring's text as Markdown."""
    return "\n\n".join(_paragraph(part) for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip())


def _paragraph(text: str) -> str:
    if text.startswith(">>> "):
        return f"```pycon\n{text}\n```"
    if text.startswith("    "):
        return text
    prose, example, code = text.partition("\n>>> ")  # an example right below its sentence
    if _ARGUMENT.match(prose):
        listed, *raised = _RAISES.split(prose, maxsplit=1)
        items = _ARGUMENT.split(listed)[1:]
        pairs = zip(items[::2], items[1::2], strict=True)
        prose = "\n".join(f"- **{name}**: {' '.join(said.split())}" for name, said in pairs)
        prose = "\n\n".join([prose, *raised])
    return prose + (f"\n\n```pycon\n>>> {code}\n```" if example else "")
