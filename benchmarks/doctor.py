"""What the doctor costs: whole trainings with and without one, in turn, in float32 as `backproof train` does them.

Validation at each epoch's end is part of both. What is compiled, and imported, is so before.
"""

from __future__ import annotations

import statistics

from benchmarks.harness import Case, Lane, Runs, Settings
from benchmarks.workers.doctor import WITH, WITHOUT

SHAPES = {
    "digits": {"data": "digits", "hidden": [128, 128], "batch": 32, "epochs": 60},
    "20000x100": {"data": "20000x100", "hidden": [128, 128], "batch": 32, "epochs": 10},
    "20000x784": {"data": "20000x784", "hidden": [256], "batch": 128, "epochs": 20},
}


def cases(settings: Settings) -> list[Case]:
    return [
        Case(
            "doctor",
            name,
            (Lane("backproof", "benchmarks.workers.doctor"),),
            {**job, "pairs": 1 if settings.quick else 3},
            settings.threads,
            settings.rounds_of(3),
            kernel="training step",
            remarks=remarks,
        )
        for name, job in SHAPES.items()
        if settings.wants(name) and not (settings.quick and name != "digits")
    ]


def remarks(all_runs: list[Runs]) -> list[str]:
    """By how much the one with a doctor, of two neighbouring trainings, was longer; what part of it was spent in the doctor."""
    answers = [answer["variants"] for runs in all_runs for answer in runs.rounds]
    if not answers:
        return []
    pairs = [
        a / b - 1 for variants in answers for a, b in zip(*(variants[name]["blocks_us"] for name in (WITH, WITHOUT)), strict=True)
    ]
    shares, looks = ([value for variants in answers for value in variants[WITH][name]] for name in ("shares", "looks"))
    return [
        f"longer by {statistics.median(pairs):.1%}, the median of {len(pairs)} pairs ({min(pairs):.1%} to {max(pairs):.1%})",
        f"spent in the doctor: {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}), "
        f"{statistics.median(looks):.0f} looks",
    ]
