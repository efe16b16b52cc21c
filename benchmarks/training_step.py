"""The time of one training step of a ReLU classifier (softmax, cross-entropy, Adam, float32): backproof and others.

    python -m benchmarks.training_step --json figures.json

A step is forward + loss + backward + Adam on a batch that lies in memory already in the library's own kind of array.
Where a library offers several ways of doing a step, all are measured and its fastest stands in the table.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Lane, Runs, alternate, cores, describe_machine, summaries

OURS = "backproof"
LANES = {
    lane.library: lane
    for lane in (
        Lane(OURS, "benchmarks.workers.backproof_mlp"),
        Lane(f"{OURS}, layers", "benchmarks.workers.backproof_layers"),
        # Its OpenMP threads wait for each other by spinning. Where somebody else keeps a core busy, the scheduler may
        # put two of them on one core, and a step takes 100 ms; bound to cores they cost the same on an idle machine.
        Lane("torch", "benchmarks.workers.torch_mlp", {"OMP_PROC_BIND": "true"}),
        Lane("jax", "benchmarks.workers.jax_mlp"),
        Lane("scikit-learn", "benchmarks.workers.sklearn_mlp"),
    )
}
CHECK_STEPS = 5
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Case:
    sizes: tuple[int, ...]
    batch: int

    @property
    def title(self) -> str:
        return f"[{', '.join(map(str, self.sizes))}], batch {self.batch}"


CASES = {
    "small": Case((64, 32, 10), 32),
    "medium": Case((784, 256, 10), 128),
    "large": Case((784, 1024, 1024, 10), 256),
}


def fastest_other(all_runs: list[Runs]) -> tuple[str, float] | None:
    """(library, microseconds per step) of the fastest library that is not backproof."""
    times = [(runs.lane.library, summaries(runs)[0].median) for runs in all_runs if summaries(runs)]
    others = [pair for pair in times if not pair[0].startswith(OURS)]
    return min(others, key=lambda pair: pair[1]) if others else None


def ours(all_runs: list[Runs]) -> float | None:
    times = [summaries(runs)[0].median for runs in all_runs if runs.lane.library == OURS and summaries(runs)]
    return times[0] if times else None


def losses(all_runs: list[Runs]) -> dict[str, float]:
    """Loss after CHECK_STEPS steps of each variant of each library."""
    return {
        f"{runs.lane.library}: {variant}": figures["loss"]
        for runs in all_runs
        if runs.failure is None and runs.rounds
        for variant, figures in runs.rounds[0]["variants"].items()
    }


def disagreement(all_runs: list[Runs]) -> float | None:
    """Largest relative difference of those losses; None where there is nothing to compare."""
    values = losses(all_runs).values()
    return (max(values) - min(values)) / min(values) if len(values) > 1 else None


def table_of(case: Case, all_runs: list[Runs]) -> Table:
    table = Table(title=case.title, caption=caption_of(all_runs), caption_justify="left")
    table.add_column("library")
    table.add_column("fastest variant")
    table.add_column("µs per step", justify="right")
    table.add_column("min..max of rounds", justify="right")
    table.add_column(f"÷ {OURS}", justify="right")
    reference = ours(all_runs)
    for runs in all_runs:
        if not summaries(runs):
            table.add_row(runs.lane.library, "could not run", "-", "-", "-")
            continue
        best = summaries(runs)[0]
        ratio = f"{best.median / reference:.2f}" if reference else "-"
        table.add_row(runs.lane.library, best.variant, f"{best.median:,.1f}", f"{best.low:,.1f}..{best.high:,.1f}", ratio)
    return table


def caption_of(all_runs: list[Runs]) -> str:
    lines = [f"could not run {runs.lane.library}: {runs.failure}" for runs in all_runs if runs.failure is not None]
    other, reference = fastest_other(all_runs), ours(all_runs)
    if other and reference:
        lines.append(f"fastest other / {OURS}: {other[1] / reference:.2f} ({other[0]})")
    difference = disagreement(all_runs)
    if difference is not None:
        verdict = "the same training" if difference <= AGREEMENT else "NOT THE SAME TRAINING: do not compare the times"
        lines.append(f"losses after {CHECK_STEPS} steps differ by at most {difference:.1e}: {verdict}")
    busy = [answer["others_cpus"] for runs in all_runs for answer in runs.rounds if answer["others_cpus"] is not None]
    if busy:
        lines.append(f"cores that others kept busy meanwhile: {statistics.median(busy):.2f}, at most {max(busy):.2f}")
    return "\n".join(lines)


def raw_figures(case: Case, all_runs: list[Runs]) -> dict[str, Any]:
    other, reference = fastest_other(all_runs), ours(all_runs)
    return {
        "sizes": case.sizes,
        "batch": case.batch,
        "fastest_other_over_backproof": other[1] / reference if other and reference else None,
        "loss_after_steps": losses(all_runs),
        "largest_relative_loss_difference": disagreement(all_runs),
        "libraries": {
            runs.lane.library: {
                "failure": runs.failure,
                "us_per_step": [asdict(summary) for summary in summaries(runs)],
                "rounds": runs.rounds,
            }
            for runs in all_runs
        },
    }


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(min=1), default=cores, show_default="cores", help="Threads per library.")
@click.option("--rounds", type=click.IntRange(min=1), default=7, help="Fresh processes per library and shape.")
@click.option("--seconds", type=float, default=0.5, help="Timed seconds per variant and round.")
@click.option("--patience", type=float, default=30.0, help="Seconds to wait for a quiet machine; 0: take it as it is.")
@click.option("--case", "cases", type=click.Choice(list(CASES)), multiple=True, default=list(CASES))
@click.option("--library", "libraries", type=click.Choice(list(LANES)), multiple=True, default=list(LANES))
@click.option("--quick", is_flag=True, help="2 rounds of 0.1 seconds, no waiting: shows that all works, the figures are rough.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write all raw figures here.")
def main(
    threads: int,
    rounds: int,
    seconds: float,
    patience: float,
    cases: tuple[str, ...],
    libraries: tuple[str, ...],
    quick: bool,
    target: Path | None,
) -> None:
    if quick:
        rounds, seconds, patience = 2, 0.1, 0.0
    console, machine = Console(), describe_machine()
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {threads} threads, {rounds} rounds", highlight=False)
    results = {}
    for name in cases:
        case = CASES[name]
        job = {
            "sizes": case.sizes,
            "batch": case.batch,
            "threads": threads,
            "seconds": seconds,
            "block_seconds": seconds / 10,
            "check_steps": CHECK_STEPS,
        }
        with console.status(name) as status:
            all_runs = alternate(
                [LANES[library] for library in libraries],
                job,
                rounds=rounds,
                threads=threads,
                patience=patience,
                progress=lambda message, name=name, status=status: status.update(f"{name}, {message}"),  # type: ignore[misc]
            )
        console.print(table_of(case, all_runs), highlight=False)
        results[name] = raw_figures(case, all_runs)
    if target is not None:
        settings = {"threads": threads, "rounds": rounds, "seconds": seconds, "patience": patience}
        document = {"benchmark": "training_step", "machine": machine, "settings": settings, "cases": results}
        target.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
