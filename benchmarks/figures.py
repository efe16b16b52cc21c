"""The figures of a case: one line for each library, kernel and way of computing it, with what it is compared to."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from benchmarks.harness import Case, Runs, summaries

OURS, TORCH, COPY = "backproof", "torch", "copy"


@dataclass(frozen=True)
class Figure:
    """Microseconds: the median over rounds of a round's median, the lowest and the highest round."""

    benchmark: str
    shape: str
    kernel: str
    library: str
    variant: str
    threads: int
    median_us: float
    low_us: float
    high_us: float
    torch_over_it: float | None  # the time of torch's fastest variant over this one's
    share_of_copy_bound: float | None  # the time in which a plain copy moves the bytes that must move, over this one's
    note: str
    others_cpus: float | None  # processors that others kept busy meanwhile
    versions: str
    machine: str

    @property
    def name(self) -> str:
        return f"{self.kernel}, {self.variant}" if self.variant else self.kernel


def figures_of(case: Case, all_runs: list[Runs], machine: str) -> list[Figure]:
    """Those of all lanes that ran; `all_runs` are the case's."""
    found = []
    for runs in all_runs:
        for summary in summaries(runs):
            kernel, _, variant = (case.kernel, "", summary.variant) if case.kernel else summary.variant.partition(", ")
            answer = runs.rounds[0]
            busy = [each["others_cpus"] for each in runs.rounds if each["others_cpus"] is not None]
            found.append(
                Figure(
                    benchmark=case.benchmark,
                    shape=case.shape,
                    kernel=kernel,
                    library=runs.lane.library,
                    variant=variant,
                    threads=case.threads,
                    median_us=summary.median,
                    low_us=summary.low,
                    high_us=summary.high,
                    torch_over_it=None,
                    share_of_copy_bound=None,
                    note=answer["variants"][summary.variant].get("note", ""),
                    others_cpus=statistics.median(busy) if busy else None,
                    versions=", ".join(f"{name} {version}" for name, version in answer["versions"].items()),
                    machine=machine,
                )
            )
    return [_compared(figure, found, case) for figure in found if figure.kernel != COPY]


def _compared(figure: Figure, all_figures: list[Figure], case: Case) -> Figure:
    torch, copy = fastest(all_figures, figure.kernel, TORCH), fastest(all_figures, COPY)
    moved = case.moved.get(figure.kernel)
    return Figure(
        **{
            **asdict(figure),
            "torch_over_it": torch.median_us / figure.median_us if torch else None,
            "share_of_copy_bound": moved * copy.median_us / figure.median_us if copy and moved else None,
        }
    )


def fastest(figures: Iterable[Figure], kernel: str, library: str | None = None) -> Figure | None:
    """The fastest way of doing `kernel`, in one library or in all."""
    chosen = [f for f in figures if f.kernel == kernel and library in (None, f.library)]
    return min(chosen, key=lambda f: f.median_us, default=None)


def write_csv(figures: Iterable[Figure], path: Path) -> None:
    """One row a figure; times to a tenth of a microsecond, ratios to three digits after the point."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Figure)], lineterminator="\n")
        writer.writeheader()
        for figure in figures:
            row = asdict(figure)
            for name, value in row.items():
                if isinstance(value, float):
                    row[name] = f"{value:.1f}" if name.endswith("_us") else f"{value:.3f}"
            writer.writerow(row)
