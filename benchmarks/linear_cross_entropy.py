"""Linear layer and cross-entropy with gradients, float32: time, and memory beyond inputs and results, of backproof and of torch.

    python -m benchmarks.linear_cross_entropy --json figures.json

Each in a process of its own, rounds alternating. torch's own function is measured as it comes, and with its chunking
switched on if asked (`--chunked`).
Memory is resident memory at the peak, less what was there before the first call (inputs, libraries, a small warm-up) and less the
gradients. `--max-mib` sets the memory that backproof may work in: several give the curve.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Lane, Runs, alternate, cores, describe_machine, summaries

OURS, TORCH = "backproof", "torch: linear, cross_entropy"
TORCH_VARIANTS = ("linear, cross_entropy", "linear_cross_entropy")
CHUNKED = "linear_cross_entropy, chunked"


def lanes(rooms: tuple[int, ...], chunked: bool) -> list[tuple[Lane, dict[str, Any]]]:
    """Each with what its job has beyond the sizes."""
    ours = [(f"{OURS}, {room} MiB", room) for room in rooms]
    found: list[tuple[Lane, dict[str, Any]]] = [
        (Lane(name, "benchmarks.workers.backproof_linear"), {"max_mib": room}) for name, room in [(OURS, 0), *ours]
    ]
    for variant in (*TORCH_VARIANTS, CHUNKED) if chunked else TORCH_VARIANTS:
        lane = Lane(f"torch: {variant}", "benchmarks.workers.torch_linear", {"OMP_PROC_BIND": "true"})
        found.append((lane, {"variant": variant}))
    return found


def figures(runs: Runs) -> dict[str, Any] | None:
    """Median, lowest and highest round in seconds, memory in MiB, loss; None if it could not run."""
    found = summaries(runs)
    if not found:
        return None
    answers = [next(iter(answer["variants"].values())) for answer in runs.rounds]
    return {
        "seconds": found[0].median / 1e6,
        "lowest": found[0].low / 1e6,
        "highest": found[0].high / 1e6,
        "extra_mib": max(answer["extra_mib"] for answer in answers),
        "loss": answers[0]["loss"],
        "others_cpus": [answer["others_cpus"] for answer in runs.rounds],
        "versions": runs.rounds[0]["versions"],
        "pools": runs.rounds[0]["pools"],
    }


def table_of(title: str, found: dict[str, dict[str, Any] | None], failures: list[str]) -> Table:
    busy = [cpus for each in found.values() if each for cpus in each["others_cpus"] if cpus is not None]
    caption = failures + (
        [f"cores that others kept busy meanwhile: {statistics.median(busy):.2f}, at most {max(busy):.2f}"] if busy else []
    )
    table = Table(title=title, caption="\n".join(caption), caption_justify="left")
    table.add_column("")
    for heading in ("seconds", "lowest to highest", f"over {TORCH}", "MiB beyond inputs and results"):
        table.add_column(heading, justify="right")
    base = found.get(TORCH)
    for name, each in found.items():
        if each is not None:
            ratio = f"{each['seconds'] / base['seconds']:.2f}" if base else "-"
            spread = f"{each['lowest']:.2f} to {each['highest']:.2f}"
            table.add_row(name, f"{each['seconds']:.2f}", spread, ratio, f"{each['extra_mib']:,.0f}")
    return table


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--rows", type=click.IntRange(min=1), default=1024)
@click.option("--features", type=click.IntRange(min=1), default=512)
@click.option("--classes", type=click.IntRange(min=1), default=131072)
@click.option("--threads", type=click.IntRange(min=1), default=cores, show_default="cores", help="Threads per library.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="Fresh processes per library.")
@click.option("--calls", type=click.IntRange(min=1), default=2, help="Timed calls per process; the figure is their median.")
@click.option("--patience", type=float, default=30.0, help="Seconds to wait for a quiet machine; 0: take it as it is.")
@click.option(
    "--max-mib", "rooms", type=click.IntRange(min=1), multiple=True, help="backproof with so much memory, beside its own."
)
@click.option("--chunked", is_flag=True, help="Measure torch's chunked function too: minutes at the full size.")
@click.option("--quick", is_flag=True, help="1 round of 1 call on an eighth of the rows, no waiting: the figures are rough.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures here.")
def main(
    rows: int,
    features: int,
    classes: int,
    threads: int,
    rounds: int,
    calls: int,
    patience: float,
    rooms: tuple[int, ...],
    chunked: bool,
    quick: bool,
    target: Path | None,
) -> None:
    if quick:
        rows, rounds, calls, patience = math.ceil(rows / 8), 1, 1, 0.0
    console, machine = Console(), describe_machine()
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {threads} threads, {rounds} rounds", highlight=False)
    size = {"rows": rows, "features": features, "classes": classes, "threads": threads, "calls": calls}
    every = [(Runs(lane), {**size, **more}) for lane, more in lanes(rooms, chunked)]
    with console.status("") as status:
        for i in range(rounds):
            for runs, asked in every:
                if runs.failure is not None:
                    continue
                status.update(f"round {i + 1} of {rounds}: {runs.lane.library}")
                one = alternate([runs.lane], asked, rounds=1, threads=threads, patience=patience)[0]
                runs.rounds += one.rounds
                runs.failure = one.failure
    found = {runs.lane.library: figures(runs) for runs, _ in every}
    failures = [f"could not run {runs.lane.library}: {runs.failure}" for runs, _ in every if runs.failure is not None]
    title = f"{rows} rows, {features} features, {classes:,} classes, float32: loss and gradients"
    console.print(table_of(title, found, failures), highlight=False)
    if target is not None:
        target.write_text(
            json.dumps({"benchmark": "linear_cross_entropy", "machine": machine, "settings": size, "results": found}, indent=2)
            + "\n"
        )


if __name__ == "__main__":
    main()
