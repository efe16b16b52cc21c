"""HTML that is safe by construction: everything is escaped, unless it was made here.

>>> element("p", "a < b, ", element("b", "<img>"), class_="note")
'<p class="note">a &lt; b, <b>&lt;img&gt;</b></p>'
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"br", "hr", "img", "link", "meta"})  # elements without an end tag


class Html(str):
    """Text that is HTML already; any other string is escaped before it goes into a page."""

    __slots__ = ()

    def __add__(self, other: str) -> Html:
        return Html(str(self) + html(other))


NOTHING = Html()


def html(part: object) -> Html:
    """`part` as HTML: itself if it is, nothing for None, else its text, escaped."""
    return part if isinstance(part, Html) else Html("" if part is None else escape(str(part)))


def joined(parts: Iterable[object]) -> Html:
    """The parts one after the other, each escaped if need be."""
    return Html("".join(map(html, parts)))


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An element. Attributes: an underscore stands for a hyphen (one at the end for nothing); None and False are left out."""
    written = []
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {name}")
        elif value is not None and value is not False:
            written.append(f' {name}="{escape(str(value))}"')
    start = f"<{tag}{''.join(written)}>"
    return Html(start if tag in _VOID else f"{start}{joined(children)}</{tag}>")


def table(head: Iterable[object], rows: Iterable[Iterable[object]], caption: object, *, numeric: Iterable[int] = ()) -> Html:
    """A table that scrolls by itself where it is too wide; `numeric` columns are aligned at their right."""
    kind = dict.fromkeys(numeric, "number")
    heads = joined(element("th", cell, scope="col", class_=kind.get(i)) for i, cell in enumerate(head))
    body = joined(
        element("tr", *(element("td", cell, class_=kind.get(i)) for i, cell in enumerate(row))) + "\n" for row in map(list, rows)
    )
    whole = element("table", element("caption", caption), element("thead", element("tr", heads)), element("tbody", Html(body)))
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def definitions(pairs: Iterable[tuple[object, object]]) -> Html:
    """A list of terms and what they are."""
    return element("dl", *(element("dt", term) + element("dd", meaning) for term, meaning in pairs))
