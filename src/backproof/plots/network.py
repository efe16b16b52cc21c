"""A network as blocks from top to bottom, and beside each layer with weights a map and a histogram of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from backproof.arrays import Array
from backproof.plots.figure import BLUE, DIVERGING, FAINT, FILLED, GROUND, INK, Axes, Figure, bare, count, new_figure

if TYPE_CHECKING:
    from backproof.layers.base import Layer
    from backproof.network import Network

_MOST_CELLS, _MOST_NUMBERS = 1 << 20, 1 << 20  # of a map and of a histogram; of more a regular part is taken
_TALL, _LOW, _HEAD, _FOOT = 1.75, 0.62, 0.45, 0.45  # inches: a layer with weights, one without, margins


class _Row(NamedTuple):
    """A layer: what is written on its block, its weight matrices, and how many parameters it has."""

    name: str
    shapes: str
    weights: dict[str, Array]
    parameters: int

    @property
    def height(self) -> float:
        return _TALL if self.weights else _LOW


def draw(network: Network) -> Figure:
    """The figure of `Network.plot`."""
    rows = _rows(network)
    weighty = any(row.weights for row in rows)
    width, height = (10.6 if weighty else 4.4), _HEAD + sum(row.height for row in rows) + _FOOT
    figure = new_figure(width, height, layout=None)

    def panel(left: float, bottom: float, across: float, up: float) -> Axes:
        """Axes at a place in inches, so that maps and blocks stand side by side."""
        return figure.add_axes((left / width, bottom / height, across / width, up / height))

    _blocks(panel(0.1, 0.0, 4.2, height), rows, network, height)
    top = height - _HEAD
    for row in rows:
        top -= row.height
        if row.weights:
            _map(panel(5.0, top + 0.42, 2.05, row.height - 0.75), panel(7.12, top + 0.42, 0.08, row.height - 0.75), row)
            _histogram(panel(8.35, top + 0.42, 2.1, row.height - 0.75), row)
    return figure


def _rows(network: Network) -> list[_Row]:
    if not network.is_initialised:
        return [_Row(_named(i, layer), "no parameters yet", {}, 0) for i, layer in enumerate(network.layers)]
    named, found = network.named_parameters(), []
    for i, layer, in_shape, out_shape in network.chain.shapes(network.in_shape):
        own = [slot for slot in network.layout.slots if slot.path[0] == str(i)]
        weights = {slot.name: named[slot.name] for slot in own if slot.penalised}
        size = sum(slot.stop - slot.start for slot in own)
        found.append(_Row(_named(i, layer), f"{_shape(in_shape)} → {_shape(out_shape)}", weights, size))
    return found


def _named(i: int, layer: Layer) -> str:
    text = f"{i}  {layer!r}"
    return text if len(text) <= 38 else f"{i}  {type(layer).__name__}(...)"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _blocks(axes: Axes, rows: list[_Row], network: Network, height: float) -> None:
    """The layers as blocks, with arrows in the direction of the forward pass; all in inches."""
    from matplotlib.patches import FancyBboxPatch

    axes.set(xlim=(0, 4.2), ylim=(0, height))
    axes.set_axis_off()
    top, before = height - _HEAD, None
    for row in rows:
        middle, half = top - row.height / 2, 0.21
        box = FancyBboxPatch(
            (0.1, middle - half), 4.0, 2 * half, boxstyle="round,pad=0,rounding_size=0.08", linewidth=0.8, edgecolor=INK,
            facecolor=FILLED if row.weights else GROUND,
        )  # fmt: skip
        axes.add_patch(box)
        size = f" · {row.parameters:,} parameters" if row.parameters else ""
        axes.text(2.1, middle + 0.09, row.name, ha="center", va="center", fontsize=9, color=INK, parse_math=False)
        axes.text(2.1, middle - 0.1, f"{row.shapes}{size}", ha="center", va="center", fontsize=8, color=INK)
        if before is not None:
            _arrow(axes, before, middle + half)
        top, before = top - row.height, middle - half
    assert before is not None
    _arrow(axes, before, _FOOT - 0.12)
    loss = repr(network.loss_function) + (" (fused)" if network.fused else "")
    text = loss if network.loss_function is not None else "output"
    axes.text(2.1, _FOOT - 0.26, text, ha="center", va="center", fontsize=9, color=INK, parse_math=False)
    size = f"{network.layout.size:,} parameters, {network.dtype}" if network.is_initialised else "not initialised"
    axes.text(0.1, height - 0.22, size, fontsize=10, color=INK, va="center")


def _arrow(axes: Axes, start: float, end: float) -> None:
    axes.annotate(
        "", (2.1, end), (2.1, start), arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    )


def _map(axes: Axes, bar: Axes, row: _Row) -> None:
    """The largest weight matrix of the layer, one colour scale that is symmetric about 0."""
    name, weight = max(row.weights.items(), key=lambda pair: pair[1].size)
    matrix = weight.reshape(weight.shape[0], -1) if weight.ndim > 1 else weight.reshape(1, -1)
    step = math.ceil(math.sqrt(matrix.size / _MOST_CELLS))
    with np.errstate(invalid="ignore"):
        shown = np.ma.masked_invalid(matrix[::step, ::step].astype(np.float64))
    largest = float(np.abs(shown).max()) if shown.count() else 0.0
    image = axes.imshow(
        shown, cmap=DIVERGING, vmin=-(largest or 1.0), vmax=largest or 1.0, aspect="auto",
        extent=(-0.5, matrix.shape[1] - 0.5, matrix.shape[0] - 0.5, -0.5),
    )  # fmt: skip
    bare(axes, name + (f", every {step}th row and column" if step > 1 else ""))
    count(axes.xaxis, axes.yaxis)
    axes.set_ylabel("outputs", fontsize=8)
    axes.set_xlabel("inputs", fontsize=8)
    axes.figure.colorbar(image, cax=bar).ax.tick_params(labelsize=7)


def _histogram(axes: Axes, row: _Row) -> None:
    """All weights of the layer, with their mean and standard deviation."""
    values = np.concatenate([weight.reshape(-1) for weight in row.weights.values()]).astype(np.float64)
    finite = values[np.isfinite(values)]
    lost = len(values) - len(finite)
    finite = finite[:: math.ceil(len(finite) / _MOST_NUMBERS) or 1]
    title = f"{lost:,} weights are not finite" if lost else "weights"
    if len(finite):
        axes.hist(finite, bins=min(60, max(10, len(finite) // 8)), color=BLUE)
        axes.axvline(0.0, color=FAINT, linewidth=0.8)
        title += f": {finite.mean():.2g} ± {finite.std():.2g}"
    bare(axes, title)
    axes.set_ylabel("how many", fontsize=8)
