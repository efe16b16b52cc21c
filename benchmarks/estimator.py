"""SoftmaxClassifier beside scikit-learn's MLPClassifier: time of a fit, and accuracy in 5-fold cross-validation.

    python -m benchmarks.estimator

Same architecture, epochs, batch, Adam and data; each in a process of its own, in turn; the first fit of a process does not count.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Lane, run_worker

CASES: dict[str, dict[str, Any]] = {
    "digits": {"hidden": [100], "batch": 32, "epochs": 40, "fits": 3},
    "wine": {"hidden": [50], "batch": 32, "epochs": 100, "fits": 5},
    "breast_cancer": {"hidden": [50], "batch": 32, "epochs": 60, "fits": 5},
    "synthetic": {"hidden": [100], "batch": 200, "epochs": 10, "fits": 1},
}
LANES = ("backproof", "backproof, compiled", "backproof, layers", "scikit-learn")
FOLDS = {"synthetic": 1}
"""Repetitions of the five folds; 2 where nothing else is said."""


def measured(name: str, lanes: tuple[str, ...], rounds: int, threads: int, dtype: str, accuracy: bool) -> dict[str, Any]:
    """lane -> medians of its rounds in seconds, first fits, and accuracies (taken in the first round)."""
    found: dict[str, Any] = {lane: {"rounds_s": [], "first_s": [], "accuracies": []} for lane in lanes}
    for i in range(rounds):
        for lane in lanes:
            folds = FOLDS.get(name, 2) if accuracy and i == 0 else 0
            job = {**CASES[name], "data": name, "library": lane, "folds": folds, "dtype": dtype}
            answer = run_worker(Lane(lane, "benchmarks.workers.estimator_fit"), job, threads, 1800.0)
            fit = answer["variants"]["fit"]
            found[lane]["rounds_s"].append(statistics.median(fit["blocks_us"]) / 1e6)
            found[lane]["first_s"].append(fit["first_us"] / 1e6)
            found[lane]["accuracies"] += fit["accuracies"]
    return found


def table_of(name: str, found: dict[str, Any]) -> Table:
    case = CASES[name]
    table = Table(title=f"{name}: hidden {case['hidden']}, batch {case['batch']}, {case['epochs']} epochs")
    for heading in ("", "fit, s", "lowest..highest", "scikit-learn / it", "first fit, s", "accuracy", "standard error"):
        table.add_column(heading, justify="left" if not heading else "right")
    theirs = statistics.median(found["scikit-learn"]["rounds_s"]) if "scikit-learn" in found else None
    for lane, figures in found.items():
        times, scores = figures["rounds_s"], figures["accuracies"]
        median = statistics.median(times)
        table.add_row(
            lane, f"{median:.3f}", f"{min(times):.3f}..{max(times):.3f}", f"{theirs / median:.1f}" if theirs else "-",
            f"{statistics.median(figures['first_s']):.2f}", f"{statistics.mean(scores):.4f}" if scores else "-",
            f"{statistics.stdev(scores) / len(scores) ** 0.5:.4f}" if scores else "-",
        )  # fmt: skip
    return table


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--case", "cases", type=click.Choice(list(CASES)), multiple=True, default=list(CASES))
@click.option("--library", "lanes", type=click.Choice(LANES), multiple=True, default=LANES)
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Fresh processes per library.")
@click.option("--threads", type=click.IntRange(min=1), default=os.cpu_count() or 1, help="Threads per library.")
@click.option("--dtype", type=click.Choice(["float64", "float32"]), default="float64", help="Of the features, for all alike.")
@click.option("--no-accuracy", is_flag=True, help="Times only.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Write all raw figures here.")
def main(
    cases: tuple[str, ...], lanes: tuple[str, ...], rounds: int, threads: int, dtype: str, no_accuracy: bool, target: Path | None
) -> None:
    console, results = Console(width=110), {}
    for name in cases:
        results[name] = measured(name, lanes, rounds, threads, dtype, not no_accuracy)
        console.print(table_of(name, results[name]), highlight=False)
        if target is not None:
            target.write_text(json.dumps({"threads": threads, "dtype": dtype, "cases": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
