"""Small pictures without a script, as SVG in the colours of the page: a square with axes, and what is drawn in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backproof.report.markup import Html, element, joined

if TYPE_CHECKING:
    from backproof.calibration import Reliability
    from backproof.gradcheck import Agreement

_SIDE, _LEFT, _TOP, _BOTTOM, _RIGHT = 300.0, 62.0, 10.0, 46.0, 12.0  # in units of the drawing


class Square:
    """A square whose sides both run from `low` to `high`."""

    def __init__(self, low: float, high: float, x_label: str, y_label: str, name: str) -> None:
        self.low, self.high = low, high
        self._labels, self._name = (x_label, y_label), name
        self.parts: list[Html] = []

    def x(self, value: float) -> str:
        return f"{_LEFT + _SIDE * (value - self.low) / (self.high - self.low):.1f}"

    def y(self, value: float) -> str:
        return f"{_TOP + _SIDE * (self.high - value) / (self.high - self.low):.1f}"

    def line(self, x: tuple[float, float], y: tuple[float, float], kind: str) -> None:
        """A line of CSS class `kind`."""
        self.parts.append(element("line", x1=self.x(x[0]), x2=self.x(x[1]), y1=self.y(y[0]), y2=self.y(y[1]), class_=kind))

    def bar(self, left: float, right: float, value: float, strength: float, told: str) -> None:
        """A bar from the lower side up to `value`, as opaque as `strength` says."""
        wide = float(self.x(right)) - float(self.x(left)) - 1
        high = float(self.y(self.low)) - float(self.y(value))
        place = {"x": self.x(left), "y": self.y(value), "width": f"{wide:.1f}", "height": f"{high:.1f}"}
        self.parts.append(element("rect", element("title", told), **place, fill_opacity=f"{strength:.2f}"))

    def dot(self, x: float, y: float, kind: str | None, told: str) -> None:
        """A point."""
        self.parts.append(element("circle", element("title", told), cx=self.x(x), cy=self.y(y), r=3.5, class_=kind))

    def drawn(self) -> Html:
        """The picture."""
        left, right, top, bottom = _LEFT, _LEFT + _SIDE, _TOP, _TOP + _SIDE
        axes = [element("rect", x=left, y=top, width=_SIDE, height=_SIDE, class_="frame")]
        for tick in _ticks(self.low, self.high):
            axes.append(element("text", f"{tick:.4g}", x=self.x(tick), y=bottom + 16, text_anchor="middle"))
            axes.append(element("text", f"{tick:.4g}", x=left - 7, y=float(self.y(tick)) + 4, text_anchor="end"))
        middle = (top + bottom) / 2
        x_label, y_label = self._labels
        axes.append(element("text", x_label, x=(left + right) / 2, y=bottom + 36, text_anchor="middle", class_="label"))
        turned = {"transform": f"rotate(-90 12 {middle})", "text_anchor": "middle", "class_": "label"}
        axes.append(element("text", y_label, x=12, y=middle + 4, **turned))
        box = f"0 0 {right + _RIGHT:g} {bottom + _BOTTOM:g}"
        return element("svg", joined(axes), joined(self.parts), viewBox=box, role="img", aria_label=self._name, class_="diagram")


def reliability_diagram(found: Reliability) -> Html:
    """Bars: the share of right examples among those of each confidence, the paler the fewer; on the diagonal all is well."""
    square = Square(0.0, 1.0, "confidence", "accuracy", "reliability diagram: accuracy of the examples by their confidence")
    for k in np.flatnonzero(found.examples):
        low, high, confidence, right = found.edges[k], found.edges[k + 1], found.confidence[k], found.accuracy[k]
        told = f"{found.examples[k]:,} examples of confidence {confidence:.3f}: {right:.3f} of them right"
        square.bar(low, high, right, 0.12 + 0.6 * math.sqrt(found.examples[k] / found.examples.max()), told)
        square.line((low, high), (confidence, confidence), "wanted")
    square.line((0.0, 1.0), (0.0, 1.0), "diagonal")
    return square.drawn()


def agreement_diagram(found: Agreement) -> Html | None:
    """Each compared entry of the gradient against its numerical derivative, with the error bar; None if none are finite."""
    if found.compared is None:
        return None
    places, claimed, numerical, bars = found.compared
    finite = np.isfinite(claimed) & np.isfinite(numerical)
    if not finite.any():
        return None
    both = np.concatenate([claimed[finite], numerical[finite]])
    room = 0.05 * float(np.ptp(both)) or 0.05 * abs(float(both[0])) or 1.0
    low, high = float(both.min()) - room, float(both.max()) + room
    square = Square(low, high, "numerical derivative", "backpropagation", "the gradient against numerical derivatives")
    square.line((low, high), (low, high), "diagonal")
    wrong = set(found.wrong)
    for place, mine, theirs, bar in zip(places[finite], claimed[finite], numerical[finite], bars[finite], strict=True):
        what = f"parameter {place}" if place >= 0 else "a random direction"
        told = f"{what}: backpropagation {mine:.6g}, numerical {theirs:.6g}, error bar {bar:.1g}"
        if math.isfinite(bar):
            square.line((max(low, theirs - bar), min(high, theirs + bar)), (mine, mine), "errorbar")
        square.dot(theirs, mine, "bad" if int(place) in wrong else None, told)
    return square.drawn()


def _ticks(low: float, high: float) -> Sequence[float]:
    """About five round numbers between the two."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(k * power for k in (1, 2, 5, 10) if k * power >= 0.999 * raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]
