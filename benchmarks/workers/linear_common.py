"""What the workers of the linear cross-entropy benchmark share: arrays, timing, and the memory that a call adds."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Given(NamedTuple):
    x: npt.NDArray[np.float32]
    w: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]


def job() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def given(rows: int, features: int, classes: int) -> Given:
    """Equal in every worker; logits with a standard deviation of about 1."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, features), dtype=np.float32)
    w = rng.standard_normal((classes, features), dtype=np.float32)
    w /= np.float32(features**0.5)
    return Given(x, w, rng.integers(0, classes, rows))


def measure(call: Callable[[], float], warm: Callable[[], Any], calls: int, results: int) -> dict[str, Any]:
    """Microseconds and loss of each call, and MiB of resident memory at the peak beyond what was there and the `results` (bytes).

    `warm` is the same at a small size: compilation, thread pools and code pages are there before anything is counted.
    """
    warm()
    before = _resident()
    times, loss = [], 0.0
    for _ in range(calls):
        start = time.perf_counter()
        loss = call()
        times.append(1e6 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    extra = (peak - before - results) / 2**20
    return {"blocks_us": times, "loss": loss, "note": f"{extra:,.0f} MiB beyond inputs and results, loss {loss:.6f}"}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
