"""A network as a table, in a line, and in a notebook."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from backproof.network import Network
    from backproof.plots.figure import Figure


class Shown:
    """How a `Network` shows itself."""

    def summary(self) -> str:
        """A table of the layers: shapes of their outputs for N examples, numbers of parameters."""
        return summary(cast("Network", self))

    def plot(self) -> Figure:
        """A matplotlib figure: the layers with their shapes and numbers of parameters; a map and a histogram of each one's weights.

        Of a network without parameters, the layers alone. Raises `ArgumentError` where matplotlib is not installed
        (`pip install backproof[plots]`).
        """
        from backproof.plots.network import draw

        return draw(cast("Network", self))

    def _repr_html_(self) -> str:
        return html(cast("Network", self))

    def __repr__(self) -> str:
        return describe(cast("Network", self))


class LayerRow(NamedTuple):
    """A layer: its number, what it is, the shape of its output for N examples, how many parameters it has."""

    number: str
    layer: str
    output: str
    parameters: str


def summary(network: Network) -> str:
    """The layers of `network`, the shapes of their outputs for N examples, and how many parameters each has."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows, foot = layer_rows(network), _foot(network)
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("", justify="right")
    table.add_column("layer", footer=foot.layer)
    table.add_column("output", footer=foot.output)
    table.add_column("parameters", justify="right", footer=foot.parameters)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=100, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def html(network: Network) -> str:
    """The same table for a notebook; of a network without parameters, its layers."""
    if not network.is_initialised:
        items = "".join(f"<li>{escape(repr(layer))}</li>" for layer in network.layers)
        return f'<div><ol start="0">{items}</ol><p>{escape(_loss(network))}; not initialised</p></div>'
    head = _html_row(LayerRow("", "layer", "output", "parameters"), "th")
    body = "".join(_html_row(row, "td") for row in layer_rows(network))
    return f"<table><thead>{head}</thead><tbody>{body}</tbody><tfoot>{_html_row(_foot(network), 'th')}</tfoot></table>"


def _html_row(row: LayerRow, cell: str) -> str:
    cells = zip(("right", "left", "left", "right"), row, strict=True)
    return f"<tr>{''.join(f'<{cell} style=text-align:{side}>{escape(text)}</{cell}>' for side, text in cells)}</tr>"


def layer_rows(network: Network) -> list[LayerRow]:
    """The table without its frame; the network has parameters."""
    counts: dict[str, int] = {}
    for slot in network.layout.slots:
        counts[slot.path[0]] = counts.get(slot.path[0], 0) + slot.stop - slot.start
    return [
        LayerRow(str(i), repr(layer), f"({', '.join(['N', *map(str, out_shape)])})", f"{counts.get(str(i), 0):,}")
        for i, layer, _, out_shape in network.chain.shapes(network.in_shape)
    ]


def _foot(network: Network) -> LayerRow:
    return LayerRow("", _loss(network), str(network.dtype), f"{network.layout.size:,}")


def _loss(network: Network) -> str:
    return f"loss: {network.loss_function!r}" + (" (fused)" if network.fused else "")


def describe(network: Network) -> str:
    """The repr: layers, loss, penalty, and how many parameters of which dtype."""
    parts = [f"[{', '.join(map(repr, network.layers))}]"]
    if network.loss_function is not None:
        parts.append(f"loss={network.loss_function!r}")
    if network.l2:
        parts.append(f"l2={network.l2}")
    size = f", {network.layout.size:,} parameters, {network.dtype}" if network.is_initialised else ", not initialised"
    return f"<Network({', '.join(parts)}){size}>"
