"""The page that all reports share: one self-contained HTML file, light and dark, with pictures and the tables behind them.

    text = page(title, sections, data, lead=..., footer=...)

A `Section` is a heading and HTML made with `backproof.report.markup` (`element`, `table`, `definitions`), which escapes everything.
Within it stand:

- `picture(kind, source, caption, behind)`: drawn by `assets/KIND.js` from `data[source]`; `behind` is a table with the same
  numbers, folded away, for those who do not see the picture. Kinds and their data:

  "curves"   {"x": array, "x_label": "epoch", "y_label": "loss", "series": [{"name": "training", "values": array}, ...],
              "log": False, "best": {"x": 37, "label": "best epoch"}}; all but x and series may be left out. A nan is a gap.
              "log" is how the vertical axis begins, where all that is finite is above zero; there is a switch.
  "jacobian", "scatter"   the Jacobians of a check, see `entries.py`.

- `copyable(text)`: lines of code with a button that copies them.

`data` is dictionaries, lists, strings, numbers and NumPy arrays. Arrays are stored in base64 in their own dtype (float32, float64,
int32, uint8, bool): float32 is enough for what is only drawn.

A new kind is a file in `assets/` that sets `backproof.pictures.KIND = (figure, data) => {...}`. `page.js` is what they build upon
(numbers, formats, colours, a canvas that follows its width and the colour scheme), `plane.js` draws axes, `maps.js` linked heat
maps. What a kind needs of these is in `_NEEDS`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from backproof.report.markup import NOTHING, Html, element, html, joined

_STORED = {"f": ("float32", "float64"), "i": ("int32",), "u": ("uint8", "int32"), "b": ("uint8",)}  # what scripts can read

_NEEDS = {
    "curves": ("plane",),
    "jacobian": ("colours", "maps", "entries"),
    "scatter": ("plane", "entries"),
}  # what a kind of picture is built upon, other files of `assets/`


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    body: Html


def page(title: str, sections: Sequence[Section], data: Mapping[str, Any], *, lead: Html, footer: Html = NOTHING) -> str:
    """The whole file. `lead` stands above the sections, with the page's only h1; `footer` below them."""
    body = joined(_section(section) for section in sections)
    kinds = list(dict.fromkeys(re.findall(r'data-picture="(\w+)"', body)))
    script = "\n".join(
        asset(f"{name}.js") for name in dict.fromkeys(["page", *(n for kind in kinds for n in _NEEDS.get(kind, ())), *kinds])
    )
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{allowed}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(asset("page.css"))),
    )
    # In JSON "<" stands within strings only; written so, no text of a user can end the element.
    stored = json.dumps(encoded(data), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = [
        element("header", lead),
        element("main", body),
        element("footer", footer),
        element("script", Html(stored), type="application/json", id="data"),
        element("script", Html(script)),
    ]
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>{joined(parts)}</body></html>\n'


def picture(kind: str, source: str, caption: object, behind: Html = NOTHING, *, summary: str = "The numbers as a table") -> Html:
    """A figure that a script fills; without scripts, its caption and the table behind it are still there."""
    table = element("details", element("summary", summary), behind) if behind else NOTHING
    return element(
        "figure",
        element("figcaption", caption),
        element("div", element("noscript", "This picture needs JavaScript; its numbers are in the table."), class_="stage"),
        table,
        data_picture=kind,
        data_source=source,
    )


def copyable(text: str, label: str = "Copy") -> Html:
    """Code with a button that copies it."""
    button = element("button", label, type="button", data_copy=True)
    return element("div", button, element("pre", element("code", text), tabindex="0"), class_="copyable")


def asset(name: str) -> str:
    """A file of `assets/` as text."""
    return (files("backproof.report") / "assets" / name).read_text(encoding="utf-8")


def encoded(value: Any) -> Any:
    """`value` in what JSON knows; arrays in base64, numbers that are not finite as null."""
    if isinstance(value, np.ndarray):
        kinds = _STORED[value.dtype.kind]
        kind = next((k for k in kinds if np.can_cast(value.dtype, k)), kinds[-1])
        raw = value.astype(np.dtype(kind).newbyteorder("<")).tobytes()
        return {"dtype": kind, "shape": list(value.shape), "base64": base64.b64encode(raw).decode()}
    if isinstance(value, np.generic):
        return encoded(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): encoded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(part) for part in value]
    return value


def _section(section: Section) -> Html:
    name = re.sub(r"\W+", "-", section.heading.lower()).strip("-")
    return element("section", element("h2", html(section.heading), id=name), section.body, aria_labelledby=name)
