"""The time of softmax, its Jacobian product and cross-entropy with gradient in float32: backproof and others, and a plain copy.

    python -m benchmarks.softmax_kernels --json figures.json

Each library in a process of its own, rounds alternating. The share of the copy bound is the time in which a plain copy would move
the bytes that must be moved (logits read, result written; for the product three arrays), over the time taken.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Lane, Runs, alternate, cores, describe_machine, summaries

OURS, TORCH = "backproof", "torch"
LANES = {
    lane.library: lane
    for lane in (
        Lane(OURS, "benchmarks.workers.backproof_softmax"),
        Lane(TORCH, "benchmarks.workers.torch_softmax", {"OMP_PROC_BIND": "true"}),
        Lane("jax", "benchmarks.workers.jax_softmax"),
        Lane("scipy", "benchmarks.workers.scipy_softmax"),
    )
}
SHAPES = {"65536x10": (65536, 10), "8192x1000": (8192, 1000), "512x32000": (512, 32000), "64x256000": (64, 256000)}
ARRAYS_MOVED = {"softmax_vjp": 3}  # a copy moves 2, as do the others
IN_PLACE = ", in place"


def medians(all_runs: list[Runs]) -> dict[str, dict[str, float]]:
    """kernel -> library -> microseconds."""
    found: dict[str, dict[str, float]] = {}
    for runs in all_runs:
        for summary in summaries(runs):
            found.setdefault(summary.variant, {})[runs.lane.library] = summary.median
    return found


def copy_time(times: dict[str, dict[str, float]]) -> float | None:
    """The faster of the copies by two libraries."""
    return min(times.get("copy", {}).values(), default=None)


def judged(times: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    """Of each of our kernels: torch's time over ours, the fastest other's over ours, the share of the copy bound."""
    copy, found = copy_time(times), {}
    for kernel, by_library in times.items():
        if kernel == "copy" or OURS not in by_library:
            continue
        ours = by_library[OURS]
        others = {library: t for library, t in times.get(kernel.removesuffix(IN_PLACE), {}).items() if library != OURS}
        found[kernel] = {
            "torch_over_ours": others[TORCH] / ours if TORCH in others else None,
            "fastest_other_over_ours": min(others.values()) / ours if others else None,
            "share_of_copy_bound": copy * ARRAYS_MOVED.get(kernel, 2) / 2 / ours if copy else None,
        }
    return found


def table_of(name: str, all_runs: list[Runs]) -> Table:
    times = medians(all_runs)
    verdicts = judged(times)
    copy = copy_time(times)
    caption = [f"could not run {runs.lane.library}: {runs.failure}" for runs in all_runs if runs.failure is not None]
    caption += [f"a plain copy: {copy:,.0f} µs"] if copy else []
    busy = [answer["others_cpus"] for runs in all_runs for answer in runs.rounds if answer["others_cpus"] is not None]
    caption += [f"cores that others kept busy meanwhile: {statistics.median(busy):.2f}, at most {max(busy):.2f}"] if busy else []
    table = Table(title=f"{name}, float32, microseconds a call", caption="\n".join(caption), caption_justify="left")
    table.add_column("kernel")
    libraries = [runs.lane.library for runs in all_runs]
    for heading in (*libraries, "torch / ours", "copy bound / ours"):
        table.add_column(heading, justify="right")
    for kernel, verdict in verdicts.items():
        cells = [f"{times[kernel][library]:,.0f}" if library in times[kernel] else "-" for library in libraries]
        numbers = (verdict["torch_over_ours"], verdict["share_of_copy_bound"])
        table.add_row(kernel, *cells, *("-" if number is None else f"{number:.2f}" for number in numbers))
    return table


def raw_figures(all_runs: list[Runs]) -> dict[str, Any]:
    return {
        "verdicts": judged(medians(all_runs)),
        "libraries": {
            runs.lane.library: {
                "failure": runs.failure,
                "versions": runs.rounds[0]["versions"] if runs.rounds else None,
                "us_per_call": [asdict(summary) for summary in summaries(runs)],
            }
            for runs in all_runs
        },
    }


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(min=1), default=cores, show_default="cores", help="Threads per library.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Fresh processes per library and shape.")
@click.option("--seconds", type=float, default=0.5, help="Timed seconds per kernel and round.")
@click.option("--patience", type=float, default=30.0, help="Seconds to wait for a quiet machine; 0: take it as it is.")
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True, default=list(SHAPES))
@click.option("--library", "libraries", type=click.Choice(list(LANES)), multiple=True, default=list(LANES))
@click.option("--quick", is_flag=True, help="2 rounds of 0.1 seconds, no waiting: shows that all works, the figures are rough.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
def main(
    threads: int,
    rounds: int,
    seconds: float,
    patience: float,
    shapes: tuple[str, ...],
    libraries: tuple[str, ...],
    quick: bool,
    target: Path | None,
) -> None:
    if quick:
        rounds, seconds, patience = 2, 0.1, 0.0
    console, machine = Console(), describe_machine()
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {threads} threads, {rounds} rounds", highlight=False)
    results = {}
    for name in shapes:
        rows, classes = SHAPES[name]
        with console.status(name) as status:
            all_runs = alternate(
                [LANES[library] for library in libraries],
                {"rows": rows, "classes": classes, "threads": threads, "seconds": seconds},
                rounds=rounds,
                threads=threads,
                patience=patience,
                progress=lambda message, name=name, status=status: status.update(f"{name}, {message}"),  # type: ignore[misc]
            )
        console.print(table_of(name, all_runs), highlight=False)
        results[name] = raw_figures(all_runs)
    if target is not None:
        settings = {"threads": threads, "rounds": rounds, "seconds": seconds, "patience": patience}
        target.write_text(
            json.dumps({"benchmark": "softmax_kernels", "machine": machine, "settings": settings, "shapes": results}, indent=2)
            + "\n"
        )


if __name__ == "__main__":
    main()
