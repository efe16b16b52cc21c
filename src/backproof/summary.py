"""A network as a table, and in a line."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backproof.network import Network


def summary(network: Network) -> str:
    """The layers of `network`, the shapes of their outputs for N examples, and how many parameters each has."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("", justify="right")
    table.add_column("layer", footer=f"loss: {network.loss_function!r}" + (" (fused)" if network.fused else ""))
    table.add_column("output", footer=str(network.dtype))
    table.add_column("parameters", justify="right", footer=f"{network.layout.size:,}")
    counts: dict[str, int] = {}
    for slot in network.layout.slots:
        counts[slot.path[0]] = counts.get(slot.path[0], 0) + slot.stop - slot.start
    for i, layer, _, out_shape in network.chain.shapes(network.in_shape):
        table.add_row(str(i), repr(layer), f"({', '.join(['N', *map(str, out_shape)])})", f"{counts.get(str(i), 0):,}")
    text = io.StringIO()
    Console(file=text, width=100, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def describe(network: Network) -> str:
    """The repr: layers, loss, penalty, and how many parameters of which dtype."""
    parts = [f"[{', '.join(map(repr, network.layers))}]"]
    if network.loss_function is not None:
        parts.append(f"loss={network.loss_function!r}")
    if network.l2:
        parts.append(f"l2={network.l2}")
    size = f", {network.layout.size:,} parameters, {network.dtype}" if network.is_initialised else ", not initialised"
    return f"<Network({', '.join(parts)}){size}>"
