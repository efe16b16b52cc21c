"""Softmax and its kin, the products with their Jacobians, and cross-entropy with its gradient; a plain copy beside them."""

from __future__ import annotations

from benchmarks.harness import Case, Lane, Settings

SHAPES = {"65536x10": (65536, 10), "8192x1000": (8192, 1000), "512x32000": (512, 32000), "64x256000": (64, 256000)}
LARGEST = "64x256000"  # not for a quick look
LANES = (
    Lane("backproof", "benchmarks.workers.backproof_softmax"),
    # Its OpenMP threads wait for each other by spinning. Where somebody else keeps a core busy, the scheduler may put two
    # of them on one core; bound to cores they cost the same on an idle machine.
    Lane("torch", "benchmarks.workers.torch_softmax", environment={"OMP_PROC_BIND": "true"}),
    Lane("jax", "benchmarks.workers.jax_softmax"),
    Lane("scipy", "benchmarks.workers.scipy_softmax"),
)
# A copy reads one array and writes one, as these do; logsumexp writes next to nothing, the products read two arrays.
MOVED = {
    "softmax": 1.0,
    "log_softmax": 1.0,
    "logsumexp": 0.5,
    "softmax_vjp": 1.5,
    "log_softmax_vjp": 1.5,
    "cross_entropy_and_grad": 1.0,
}


def cases(settings: Settings) -> list[Case]:
    return [
        Case(
            "softmax kernels",
            f"{name}, float32",
            LANES,
            {"rows": rows, "classes": classes, "seconds": settings.seconds_of(0.2)},
            settings.threads,
            settings.rounds_of(5),
            moved=MOVED,
        )
        for name, (rows, classes) in SHAPES.items()
        if settings.wants(name) and not (settings.quick and name == LARGEST)
    ]
