"""What this process holds in memory, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells what memory a process holds")


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def resident_bytes() -> int:
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most that was resident since `forget_peak`. (getrusage would count the parent's memory, too.)"""
    return _status("VmHWM")


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")
