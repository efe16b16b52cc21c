"""The entries of the compared Jacobians: what the pictures are drawn from, and the tables behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from backproof.arrays import Array, Shape
from backproof.gradcheck.rendering import has_picture, leading, wrong_cells
from backproof.gradcheck.values import unsettled
from backproof.report.markup import Html, element, table

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Comparison, Report

DRAWN = 2**18  # entries of all Jacobians of a page together: 21 bytes each, and a third more in base64
RIGHT, WRONG, UNSETTLED = range(3)  # what is known of an entry
LISTED = 200  # rows of a table


def drawn(report: Report) -> list[Comparison]:
    """The comparisons whose Jacobians the page shows: wrong ones first, the first finding's at the top, while there is room."""
    first = leading(report)
    kept = [c for c in report.comparisons if has_picture(c)]
    kept.sort(key=lambda c: (c.status != "wrong", first is None or c.input != first.input))
    shown: list[Comparison] = []
    entries = 0
    for c in kept:
        entries += np.asarray(c.numerical).size
        if not shown or entries <= DRAWN:
            shown.append(c)
    return shown


def stored(c: Comparison, factor: float | None) -> dict[str, Any]:
    """One Jacobian for the scripts: both values with all their digits, the bars in single precision, rounded up."""
    numerical, yours, state = _arrays(c)
    with np.errstate(over="ignore"):
        bars = None if c.bars is None else np.nextafter(np.asarray(c.bars, dtype=np.float32), np.float32(np.inf))
    return {
        "name": c.name,
        "status": c.status,
        "shape": list(c.shape),
        "outputs": [list(shape) for shape in _outputs(c)],
        "rows": numerical.shape[0],
        "columns": numerical.shape[1],
        "numerical": numerical,
        "yours": yours,
        "bars": bars,
        "state": state.astype(np.uint8),
        "factor": factor,
    }


def entry_table(c: Comparison) -> Html:
    """The entries in full digits: all of a small Jacobian, of a larger one those that are wrong, the first two hundred."""
    numerical, yours, state = _arrays(c)
    everything = numerical.size <= LISTED
    chosen = np.argwhere(state >= 0 if everything else state == WRONG)
    rows = []
    for i, j in chosen[:LISTED].tolist():
        value, own, bar = (
            float(numerical[i, j]),
            float(yours[i, j]),
            math.nan if c.bars is None else float(np.asarray(c.bars)[i, j]),
        )
        known = not math.isinf(bar)
        rows.append(
            [
                place("y", i, _outputs(c)),
                place(c.name, j, [c.shape]),
                repr(value) if known else "not known",
                f"{bar:.1e}" if math.isfinite(bar) else "",
                repr(own),
                f"{own - value:.3g}" if known else "",
                ("right", element("span", "wrong", class_="wrong"), "cannot tell")[state[i, j]],
            ]
        )
    total = f"{len(chosen):,}" if len(chosen) <= LISTED else f"the first {LISTED} of {len(chosen):,}"
    if everything:
        caption = f"All entries of the Jacobian of {c.name}"
    else:
        caption = f"The wrong entries of the Jacobian of {c.name}: {total}"
    return table(
        ["output", "input", "numerical", "error bar", "yours", "difference", "verdict"], rows, caption, numeric=[2, 3, 4, 5]
    )


def place(name: str, flat: int, shapes: Sequence[Shape]) -> str:
    """Where the entry `flat` of arrays laid end to end is: y[0, 2], or y1[0, 2] where there are several."""
    for k, shape in enumerate(shapes):
        size = math.prod(shape)
        if flat < size:
            index = ", ".join(str(int(i)) for i in np.unravel_index(flat, shape)) if shape else ""
            return (f"{name}{k}" if len(shapes) > 1 else name) + (f"[{index}]" if index else "")
        flat -= size
    return f"{name}[{flat}]"


def _arrays(c: Comparison) -> tuple[Array, Array, Array]:
    """numerical, yours, and what is known of each entry."""
    numerical, yours = np.asarray(c.numerical, dtype=np.float64), np.asarray(c.analytical, dtype=np.float64)
    unknown = np.zeros(numerical.shape, bool) if c.bars is None else unsettled(numerical, np.asarray(c.bars))
    return numerical, yours, np.where(wrong_cells(c), WRONG, np.where(unknown, UNSETTLED, RIGHT))


def _outputs(c: Comparison) -> Sequence[Shape]:
    rows = np.asarray(c.numerical).shape[0]
    return c.output_shapes if sum(map(math.prod, c.output_shapes)) == rows else [(rows,)]
