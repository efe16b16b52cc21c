"""`backproof.check` beside `torch.autograd.gradcheck`: torch functions of 50 to 2000 inputs in float64, one thread.

gradcheck compares values (and repeats each backward); check does that, with error bars, and all its probes and special points.
"""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Settings
from benchmarks.workers.gradient_check import SHAPES

WORKER = "benchmarks.workers.gradient_check"
LANES = (Lane("backproof", WORKER, {"tool": "check"}), Lane("torch", WORKER, {"tool": "gradcheck"}))
QUICK = ("softmax", "normalize")


def cases(settings: Settings) -> list[Case]:
    return [
        Case(
            "gradient check",
            f"{name} of {shape}, float64",
            LANES,
            {"function": name, "calls": 2 if settings.quick else 5},
            1,
            settings.rounds_of(3),
            kernel="gradient check",
        )
        for name, shape in SHAPES.items()
        if settings.wants(name) and not (settings.quick and name not in QUICK)
    ]
