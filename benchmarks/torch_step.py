"""A training step in torch with torch.nn.functional.cross_entropy, and with backproof.torch's: only the import differs.

A linear layer to many classes, the loss, its backward, SGD; and the loss with its backward alone.
"""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Settings

WORKER = "benchmarks.workers.torch_step"
LANES = tuple(
    Lane(library, WORKER, {"module": module})
    for library, module in (("backproof", "backproof.torch"), ("torch", "torch.nn.functional"))
)
SHAPES = {"128x10": (128, 10), "8192x1000": (8192, 1000), "512x32000": (512, 32000), "64x256000": (64, 256000)}
LARGEST = "64x256000"  # not for a quick look
WIDTH = 64  # inputs of the layer


def cases(settings: Settings) -> list[Case]:
    return [
        Case(
            "torch step",
            f"{name}, float32",
            LANES,
            {"rows": rows, "classes": classes, "width": WIDTH, "seconds": settings.seconds_of(0.2)},
            settings.threads,
            settings.rounds_of(3),
            moved={"loss and its gradient": 1.0},
        )
        for name, (rows, classes) in SHAPES.items()
        if settings.wants(name) and not (settings.quick and name == LARGEST)
    ]
