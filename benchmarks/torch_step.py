"""A training step in torch with torch.nn.functional.cross_entropy, and with backproof.torch's: only the import differs.

    python -m benchmarks.torch_step

A linear layer to many classes, the loss, its backward, SGD; and the loss with its backward alone. float32, each library in a
process of its own, rounds alternating, medians.
"""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Lane, alternate, cores, describe_machine, summaries

WORKER = "benchmarks.workers.torch_step"
MODULES = {"torch": "torch.nn.functional", "backproof": "backproof.torch"}
SHAPES = {"128x10": (128, 10), "8192x1000": (8192, 1000), "512x32000": (512, 32000), "64x256000": (64, 256000)}


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(min=1), default=cores, show_default="cores", help="Threads per library.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Fresh processes per library and shape.")
@click.option("--seconds", type=float, default=1.0, help="Timed seconds per figure and round.")
@click.option("--width", type=click.IntRange(min=1), default=64, help="Inputs of the layer.")
@click.option("--patience", type=float, default=30.0, help="Seconds to wait for a quiet machine; 0: take it as it is.")
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True, default=list(SHAPES))
def main(threads: int, rounds: int, seconds: float, width: int, patience: float, shapes: tuple[str, ...]) -> None:
    console, machine = Console(), describe_machine()
    console.print(f"{machine['cpu']}, {machine['cores']} cores, {threads} threads, {rounds} rounds", highlight=False)
    for shape in shapes:
        rows, classes = SHAPES[shape]
        medians: dict[str, dict[str, float]] = {}
        collected: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for library, module in MODULES.items():
                job = {"rows": rows, "classes": classes, "width": width, "threads": threads, "seconds": seconds, "module": module}
                (runs,) = alternate([Lane(library, WORKER)], job, rounds=1, threads=threads, patience=patience)
                if runs.failure is not None:
                    raise click.ClickException(f"{library}: {runs.failure}")
                collected.setdefault(library, []).append({s.variant: s.median for s in summaries(runs)})
        for library, figures in collected.items():
            for variant in figures[0]:
                ordered = sorted(each[variant] for each in figures)
                medians.setdefault(variant, {})[library] = ordered[len(ordered) // 2]
        table = Table(title=f"{shape}, float32, microseconds")
        for heading in ("", *MODULES, "torch / ours"):
            table.add_column(heading, justify="right" if heading else "left")
        for variant, times in medians.items():
            table.add_row(variant, *(f"{times[m]:,.0f}" for m in MODULES), f"{times['torch'] / times['backproof']:.2f}")
        console.print(table, highlight=False)


if __name__ == "__main__":
    main()
