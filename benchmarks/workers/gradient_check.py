"""A gradient check of one torch function, by backproof or by torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.workers.softmax_common import job

SHAPES = {
    "tanh": (50,), "softmax": (10, 10), "gelu": (150,), "layer_norm": (10, 20), "sigmoid": (300,), "log_softmax": (25, 20),
    "normalize": (40, 20), "cumsum": (10, 100), "logsumexp": (50, 30), "softplus": (2000,),
}  # fmt: skip


def function(name: str) -> Callable[[Any], Any]:
    import torch
    from torch.nn import functional as F

    found: dict[str, Callable[[Any], Any]] = {
        "tanh": torch.tanh,
        "softmax": lambda x: torch.softmax(x, -1),
        "gelu": F.gelu,
        "layer_norm": lambda x: F.layer_norm(x, (20,)),
        "sigmoid": torch.sigmoid,
        "log_softmax": lambda x: torch.log_softmax(x, -1),
        "normalize": lambda x: F.normalize(x, dim=-1),
        "cumsum": lambda x: torch.cumsum(x, -1),
        "logsumexp": lambda x: torch.logsumexp(x, -1),
        "softplus": F.softplus,
    }
    return found[name]


def main() -> None:
    import torch

    from benchmarks.workers.common import own_version, report

    asked = job()
    torch.set_num_threads(asked["threads"])
    checked = function(asked["function"])
    x = torch.randn(SHAPES[asked["function"]], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if asked["tool"] == "check":
        import backproof

        def call() -> int:
            found = backproof.check(checked, x)
            assert found.ok, found
            return int(found.calls["forward"])
    else:
        given = x.clone().requires_grad_()

        def call() -> int:
            assert torch.autograd.gradcheck(checked, (given,))
            return 2 * x.numel() + 1

    forwards, times = call(), []
    for _ in range(asked["calls"]):
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    report({asked["tool"]: {"blocks_us": times, "note": f"{forwards} forward calls"}}, ["torch", "numpy"], **own_version())


if __name__ == "__main__":
    main()
