"""A training run as curves: what is kept of its records, for pictures and for programs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backproof._errors import ArgumentError, DataError
from backproof.progress import EarlyStopping, Record

if TYPE_CHECKING:
    from backproof.plots.figure import Figure


class History(dict[str, list[float]]):
    """A list for each thing that is recorded, with one number an epoch: nan where there was none.

    "loss" is that of training; then "validation_loss", the metrics ("validation_accuracy"), "gradient_norm" and "seconds", as
    in `Record`. remarks : what a doctor said, as (epoch, text).

    records : those of a run, as `train` yields them. An empty history is filled by `add`, which keeps what there is when a run
    diverges.

    >>> import numpy as np
    >>> from backproof import CrossEntropy, History, Linear, Network, Softmax, train
    >>> x, t = np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1])
    >>> history = History(train(Network([Linear(2), Softmax()], CrossEntropy()), x, t, epochs=3, seed=0))
    >>> list(history), history.epochs, history.best_epoch("loss")
    (['loss', 'train_accuracy', 'gradient_norm', 'seconds'], 3, 3)
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__()
        self.remarks: list[tuple[int, str]] = []
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """One more epoch, whatever its number in `record`: runs may follow one another."""
        epochs = self.epochs
        for name, value in _values(record):
            self.setdefault(name, [math.nan] * epochs).append(value)
        for curve in self.values():
            if len(curve) == epochs:
                curve.append(math.nan)
        self.remarks += [(epochs + 1, remark) for remark in record.remarks]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """The history in `path`: the history.json that `backproof train` writes, or the folder that holds it.

        Raises `DataError`, naming the file, if there is none or it is damaged.
        """
        file = Path(path) / "history.json" if Path(path).is_dir() else Path(path)
        try:
            return cls.from_json(json.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(f"{file}: expected the history.json of a run ({error.strerror})") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{file}: expected the history.json of a run, received something else ({error})") from error

    @classmethod
    def from_json(cls, described: dict[str, Any]) -> History:
        """From the contents of a history.json, where null stands for nan."""
        given = described["records"]
        validated = any(record["validation_loss"] is not None for record in given)
        return cls(_record(record, validated) for record in given)

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return len(self["loss"]) if "loss" in self else 0

    def best_epoch(self, score: str | None = None) -> int | None:
        """The epoch, from 1, with the best `score`: least for names that end in "loss" or "error", else greatest.

        By default that of the held-out loss, or of the training loss where nothing is held out. None if no number is finite.
        """
        name = score or ("validation_loss" if "validation_loss" in self else "loss")
        if name not in self and self.epochs:
            raise ArgumentError(f"best_epoch: expected score to be one of {list(self)}, received {name!r}")
        rule, best = EarlyStopping(name), None
        for epoch, value in enumerate(self.get(name, ()), 1):
            if math.isfinite(value) and (best is None or rule.better(value, best[0])):
                best = value, epoch
        return None if best is None else best[1]

    def plot(self) -> Figure:
        """The curves as a matplotlib figure: losses with the best epoch marked, metrics, norm of the gradient.

        Triangles mark the epochs of a doctor's remarks. Raises `ArgumentError` if there is no epoch, or no matplotlib
        (`pip install backproof[plots]`).
        """
        from backproof.plots.history import draw

        return draw(self)

    def _repr_html_(self) -> str:
        rows = "".join(_row(name, curve) for name, curve in self.items())
        said = "".join(f"<li>epoch {epoch}: {escape(text)}</li>" for epoch, text in self.remarks)
        names = ("", "first", "least", "greatest", "last", "")
        head = "".join(f'<th style="text-align:right">{name}</th>' for name in names)
        best = self.best_epoch()
        of = "held-out" if "validation_loss" in self else "training"
        title = f"{self.epochs:,} epochs" + (f"; least {of} loss in epoch {best:,}" if best is not None else "")
        return f"<div><p>{title}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><ul>{said}</ul></div>"


def _values(record: Record) -> Iterator[tuple[str, float]]:
    yield "loss", record.train_loss
    if record.validation_loss is not None:
        yield "validation_loss", record.validation_loss
    yield from record.metrics.items()
    yield "gradient_norm", record.gradient_norm
    yield "seconds", record.seconds


def _record(given: dict[str, Any], validated: bool) -> Record:
    """A record from JSON. null is nan, but for the held-out loss of a run without held-out examples."""
    numbers = {name: _number(given[name]) for name in ("train_loss", "gradient_norm", "seconds")}
    metrics = {str(name): _number(value) for name, value in given["metrics"].items()}
    held = _number(given["validation_loss"]) if validated else None
    said = tuple(str(remark) for remark in given.get("remarks", ()))
    return Record(int(given["epoch"]), int(given["step"]), validation_loss=held, metrics=metrics, remarks=said, **numbers)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _row(name: str, curve: list[float]) -> str:
    finite = [(value, epoch) for epoch, value in enumerate(curve, 1) if math.isfinite(value)]
    cells = [f"{curve[0]:.4g}", *(f"{value:.4g} (epoch {epoch:,})" for value, epoch in _ends(finite)), f"{curve[-1]:.4g}"]
    figures = "".join(f'<td style="text-align:right">{cell}</td>' for cell in cells)
    return f'<tr><th style="text-align:left">{escape(name)}</th>{figures}<td>{_sparkline(finite, len(curve))}</td></tr>'


def _ends(finite: list[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    yield min(finite, default=(math.nan, 0))
    yield max(finite, key=lambda pair: (pair[0], -pair[1]), default=(math.nan, 0))


def _sparkline(finite: list[tuple[float, int]], epochs: int) -> str:
    """The curve, small, in the colour of the text; of many epochs about two hundred."""
    (low, _), (high, _) = _ends(finite)
    kept = finite[:: max(1, len(finite) // 200)] + finite[-1:]
    across, up = 116 / max(1, epochs - 1), 20 / (high - low) if high > low else 0.0
    points = " ".join(f"{2 + across * (epoch - 1):.1f},{22 - up * (value - low):.1f}" for value, epoch in kept)
    line = f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/>'
    return f'<svg width="120" height="24" role="img" aria-label="curve">{line}</svg>'
