"""Time backproof's kernels beside torch, JAX, SciPy and scikit-learn, and beside a plain copy of the bytes that must move.

Each library runs in a process of its own, fresh in every round, with its threads set; rounds alternate over the libraries; figures
are medians of rounds, which are medians of calls or blocks. BENCHMARKS: which of them; all if none is named.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console

from benchmarks import (
    doctor,
    first_call,
    gpu_kernels,
    gradient_check,
    linear_cross_entropy,
    machine,
    softmax_kernels,
    tables,
    torch_step,
    training_step,
)
from benchmarks.figures import Figure, figures_of, write_csv
from benchmarks.harness import Case, Patience, Settings, alternate

BENCHMARKS = {
    "softmax_kernels": softmax_kernels.cases,
    "linear_cross_entropy": linear_cross_entropy.cases,
    "training_step": training_step.cases,
    "torch_step": torch_step.cases,
    "gradient_check": gradient_check.cases,
    "first_call": first_call.cases,
    "doctor": doctor.cases,
    "gpu_kernels": gpu_kernels.cases,
}

WIDTH = 132  # columns of a table that nobody watches in a terminal


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


@click.command(help=__doc__, context_settings={"show_default": True})
@click.argument("names", metavar="[BENCHMARKS]...", type=click.Choice(list(BENCHMARKS)), nargs=-1)
@click.option("--threads", type=click.IntRange(min=1), default=machine.cores, show_default="cores", help="Threads per library.")
@click.option("--rounds", type=click.IntRange(min=1), show_default="3 to 5", help="Fresh processes per library and shape.")
@click.option("--shape", "shapes", multiple=True, help="Only these, as in the tables: 512x32000, small, tanh; several times.")
@click.option("--patience", type=float, default=120.0, help="Seconds in all to wait for a quiet machine and to repeat runs.")
@click.option("--minutes", type=float, default=20.0, help="After these every shape gets one round only.")
@click.option("--quick", is_flag=True, help="One short round, fewer shapes, no waiting: shows that all works; rough figures.")
@click.option("--max-mib", "rooms", type=int, multiple=True, help="linear_cross_entropy: with so much memory too; several times.")
@click.option("--chunked", is_flag=True, help="linear_cross_entropy: torch's own chunks too, which take minutes.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write figures.csv and figures.png here.")
def main(
    names: tuple[str, ...],
    threads: int,
    rounds: int | None,
    shapes: tuple[str, ...],
    patience: float,
    minutes: float,
    quick: bool,
    rooms: tuple[int, ...],
    chunked: bool,
    out: Path | None,
) -> None:
    settings = Settings(threads, quick, rounds, shapes)
    cases: list[Case] = []
    for name in names or BENCHMARKS:
        if name == "linear_cross_entropy":
            cases += linear_cross_entropy.cases(settings, rooms, chunked)
        else:
            cases += BENCHMARKS[name](settings)
    if not cases:
        raise click.UsageError(f"no benchmark named here has a shape {', '.join(shapes)}" if shapes else "there is no GPU here")
    console, described, began = _console(), machine.describe(), time.perf_counter()
    console.print(f"{described}; {threads} threads", highlight=False)
    waiting, figures = Patience(0.0 if quick else patience, minutes), list[Figure]()
    for case in cases:
        with console.status("") as status:
            all_runs = alternate(case, waiting, progress=status.update)
        found = figures_of(case, all_runs, described)
        figures += found
        console.print(tables.table_of(case, all_runs, found), highlight=False)
        if out is not None:  # after each case: what has been measured is not lost
            out.mkdir(parents=True, exist_ok=True)
            write_csv(figures, out / "figures.csv")
    versions = {part for figure in figures for part in figure.versions.split(", ")}
    console.print(f"{', '.join(sorted(versions))}; {time.perf_counter() - began:.0f} s", highlight=False)
    if out is not None and figures:
        from benchmarks import chart

        chart.draw(figures, out / "figures.png")
        console.print(f"Written: {out / 'figures.csv'}, {out / 'figures.png'}", highlight=False)


if __name__ == "__main__":
    main()
