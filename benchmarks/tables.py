"""Figures as tables for the terminal: a row for each of our ways of computing a kernel, beside every library's fastest."""

from __future__ import annotations

import statistics

from rich.table import Table

from benchmarks.figures import OURS, TORCH, Figure, fastest
from benchmarks.harness import Case, Runs


def table_of(case: Case, all_runs: list[Runs], figures: list[Figure]) -> Table:
    table = Table(
        title=f"{case.benchmark}: {case.shape}", caption="\n".join(_caption(case, all_runs, figures)), caption_justify="left"
    )
    others = list(dict.fromkeys(runs.lane.library for runs in all_runs if runs.lane.library != OURS))
    table.add_column("microseconds", min_width=30)
    for heading in (OURS, "lowest to highest", *others, "torch / ours", "copy / ours"):
        table.add_column(heading, justify="right")
    for kernel in dict.fromkeys(figure.kernel for figure in figures):
        ways = [f for f in figures if f.kernel == kernel and f.library == OURS]
        beside = [_microseconds(fastest(figures, kernel, library)) for library in others]
        for figure in ways:
            ratios = (figure.torch_over_it, figure.share_of_copy_bound)
            spread = f"{figure.low_us:,.0f}..{figure.high_us:,.0f}"
            table.add_row(figure.name, _microseconds(figure), spread, *beside, *("-" if r is None else f"{r:.2f}" for r in ratios))
        if not ways:
            table.add_row(kernel, "-", "-", *beside, "-", "-")
    return table


def _microseconds(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.median_us:,.1f}" if figure.median_us < 100 else f"{figure.median_us:,.0f}"


def _caption(case: Case, all_runs: list[Runs], figures: list[Figure]) -> list[str]:
    lines = [f"could not run {runs.lane.library}: {runs.failure}" for runs in all_runs if runs.failure is not None]
    lines += [f"{f.library}, {f.name}: {f.note}" for f in figures if f.note]
    for kernel in dict.fromkeys(f.kernel for f in figures):
        ways = [f for f in figures if f.kernel == kernel and f.library == TORCH]
        if len(ways) > 1:
            times = "; ".join(f"{f.variant} {_microseconds(f)}" for f in ways)
            lines.append(f"{kernel}, {TORCH}: {times}")
    lines += case.remarks(all_runs)
    busy = [answer["others_cpus"] for runs in all_runs for answer in runs.rounds if answer["others_cpus"] is not None]
    if busy:
        lines.append(f"cores that others kept busy meanwhile: {statistics.median(busy):.2f}, at most {max(busy):.2f}")
    return lines
