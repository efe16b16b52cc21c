"""What a reader needs to judge figures: processor, cores, system; nothing that names the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _gpu() -> str:
    """ "NVIDIA H200, " if there is one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return f"{said[0].strip()}, " if said else ""


def describe() -> str:
    """ "AMD EPYC, 2 cores, x86_64, Linux, Python 3.12.3"."""
    n, python = cores(), platform.python_version()
    return f"{_gpu()}{_cpu_model()}, {n} core{'s'[: n > 1]}, {platform.machine()}, {platform.system()}, Python {python}"
