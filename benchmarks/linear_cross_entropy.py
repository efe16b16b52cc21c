"""Linear layer and cross-entropy with all gradients, float32: time, and memory beyond inputs and results.

torch's own function is measured as it comes, and with its chunking if asked (minutes at the full size). Memory is resident memory
at the peak, less what was there before the first call (inputs, libraries, a small warm-up) and less the gradients.
"""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Settings

ROWS, FEATURES, CLASSES = 1024, 512, 131072
TORCH_VARIANTS = ("linear and cross_entropy", "linear_cross_entropy")
CHUNKED = "linear_cross_entropy in chunks"


def cases(settings: Settings, rooms: tuple[int, ...] = (), chunked: bool = False) -> list[Case]:
    """`rooms`: MiB that backproof may work in, measured beside what it takes by itself."""
    rows = ROWS // 8 if settings.quick else ROWS
    lanes = [Lane("backproof", "benchmarks.workers.backproof_linear", {"max_mib": room}) for room in (0, *rooms)]
    for variant in (*TORCH_VARIANTS, CHUNKED) if chunked else TORCH_VARIANTS:
        lanes.append(Lane("torch", "benchmarks.workers.torch_linear", {"variant": variant}, {"OMP_PROC_BIND": "true"}))
    name = f"{rows}x{FEATURES}x{CLASSES}"
    if not settings.wants(name):
        return []
    job = {"rows": rows, "features": FEATURES, "classes": CLASSES, "calls": 1 if settings.quick else 3}
    return [
        Case(
            "linear layer and cross-entropy",
            f"{name}, float32",
            tuple(lanes),
            job,
            settings.threads,
            settings.rounds_of(3),
            kernel="linear_cross_entropy_and_grad",
        )
    ]
