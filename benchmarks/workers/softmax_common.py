"""What the workers of the softmax benchmark share: the arrays, and how a kernel is timed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FEWEST_CALLS = 5


class Given(NamedTuple):
    logits: npt.NDArray[np.float32]
    upstream: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    out: npt.NDArray[np.float32]


def job() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def given(rows: int, classes: int) -> Given:
    """Equal in every worker; the pages of `out` are there already."""
    rng = np.random.default_rng(0)
    z, u = (rng.standard_normal((rows, classes), dtype=np.float32) for _ in range(2))
    return Given(z, u, rng.integers(0, classes, rows), np.zeros_like(z))


def measure(kernels: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Microseconds a call, the kernels in turn so that a busy moment strikes all of them.

    What has had its seconds and its calls is left alone, so that the slowest kernel does not cost everyone's time.
    """
    for kernel in kernels.values():
        kernel()
        kernel()
    times: dict[str, list[float]] = {name: [] for name in kernels}
    spent = dict.fromkeys(kernels, 0.0)
    unfinished = list(kernels)
    while unfinished := [name for name in unfinished if len(times[name]) < FEWEST_CALLS or spent[name] < 1e6 * seconds]:
        for name in unfinished:
            kernel = kernels[name]
            start = time.perf_counter()
            kernel()
            times[name].append(1e6 * (time.perf_counter() - start))
            spent[name] += times[name][-1]
    return {name: {"blocks_us": t} for name, t in times.items()}
