"""Softmax, the products with the Jacobians and cross-entropy with its gradient on a GPU, beside torch, its compiler and Liger.

Arrays are larger than the GPU's caches; times are the GPU's own, of calls in a queue. Skipped where there is no GPU.
"""

from __future__ import annotations

import shutil

from benchmarks.harness import Case, Lane, Settings
from benchmarks.softmax_kernels import MOVED

WORKER = "benchmarks.workers.gpu_kernels"
LANES = tuple(Lane(library, WORKER, {"library": library}) for library in ("backproof", "torch", "liger"))
SHAPES = {
    "4194304x10": (4194304, 10),
    "65536x1000": (65536, 1000),
    "16384x8192": (16384, 8192),
    "8192x32000": (8192, 32000),
    "2048x131072": (2048, 131072),
    "16x21x512x512": (16, 21, 512, 512),  # classes along the second axis, as in segmentation
}
DTYPES = ("float32", "bfloat16")


def cases(settings: Settings) -> list[Case]:
    if shutil.which("nvidia-smi") is None:
        return []
    return [
        Case(
            "GPU kernels",
            f"{name}, {dtype}",
            LANES,
            {"shape": shape, "dtype": dtype, "seconds": settings.seconds_of(0.1)},
            settings.threads,
            settings.rounds_of(1),
            moved={name: share for name, share in MOVED.items() if name != "logsumexp"},
        )
        for name, shape in SHAPES.items()
        for dtype in DTYPES
        if settings.wants(name)
    ]
