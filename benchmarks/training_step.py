"""One training step of a ReLU classifier: forward, softmax with cross-entropy, backward, Adam, in float32.

The batch lies in memory already in the library's own kind of array. Where a library offers several ways of doing a step, all are
measured; all start from the same weights, and their losses after some steps must agree.
"""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Runs, Settings

LANES = (
    Lane("backproof", "benchmarks.workers.backproof_mlp"),
    Lane("backproof", "benchmarks.workers.backproof_layers"),
    Lane("torch", "benchmarks.workers.torch_mlp", environment={"OMP_PROC_BIND": "true"}),
    Lane("jax", "benchmarks.workers.jax_mlp"),
)
SCIKIT_LEARN = Lane("scikit-learn", "benchmarks.workers.sklearn_mlp")  # several seconds a block on the largest network
SHAPES = {
    "small": ((64, 32, 10), 32, (*LANES, SCIKIT_LEARN)),
    "medium": ((784, 256, 10), 128, (*LANES, SCIKIT_LEARN)),
    "large": ((784, 1024, 1024, 10), 256, LANES),
}
CHECK_STEPS = 5
AGREEMENT = 1e-3


def cases(settings: Settings) -> list[Case]:
    seconds = settings.seconds_of(0.2)
    return [
        Case(
            "training step",
            f"{list(sizes)}, batch {batch}, float32",
            lanes,
            {"sizes": sizes, "batch": batch, "seconds": seconds, "block_seconds": seconds / 10, "check_steps": CHECK_STEPS},
            settings.threads,
            settings.rounds_of(3),
            kernel="training step",
            remarks=agreement,
        )
        for name, (sizes, batch, lanes) in SHAPES.items()
        if settings.wants(name)
    ]


def agreement(all_runs: list[Runs]) -> list[str]:
    """Whether all variants of all libraries were at the same training: the loss after CHECK_STEPS steps."""
    losses = [figures["loss"] for runs in all_runs if runs.rounds for figures in runs.rounds[0]["variants"].values()]
    if len(losses) < 2:
        return []
    difference = (max(losses) - min(losses)) / min(losses)
    verdict = "the same training" if difference <= AGREEMENT else "NOT THE SAME TRAINING: do not compare the times"
    return [f"losses after {CHECK_STEPS} steps differ by at most {difference:.1e}: {verdict}"]
