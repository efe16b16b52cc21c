"""How busy everybody else kept the machine during a measurement (Linux; elsewhere nothing is known)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Moment:
    wall: float
    busy: float  # processor seconds of all processes and of other guests on the same host ("steal")
    children: float  # processor seconds of our own children that have ended


def _busy() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, STAT.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def now() -> Moment | None:
    try:
        busy = _busy()
    except (OSError, ValueError):
        return None
    spent = os.times()
    return Moment(time.perf_counter(), busy, spent.children_user + spent.children_system)


def others_since(start: Moment | None) -> float | None:
    """Processors that others kept busy since then, on average; call it when the measured child has ended."""
    end = now()
    if start is None or end is None:
        return None
    others = (end.busy - start.busy) - (end.children - start.children)
    return max(0.0, others / (end.wall - start.wall))


def wait_until_quiet(limit: float, patience: float) -> None:
    """Return once others have used at most `limit` processors for a second, or after `patience` seconds."""
    deadline = time.perf_counter() + patience
    while time.perf_counter() < deadline:
        start = now()
        time.sleep(1.0)
        if (others_since(start) or 0.0) <= limit:
            return
