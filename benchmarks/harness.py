"""Rounds of fresh processes, one library each, and the statistics over them.

A worker is a module that takes one JSON argument and prints one line of JSON with "variants" (name -> "blocks_us", a
list of microseconds per step, and more) and "versions". What the steps are is the worker's business.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import load

ROOT = Path(__file__).resolve().parent.parent

QUIET = 0.2  # processors that others may keep busy during a run before it is repeated
ATTEMPTS = 3


@dataclass(frozen=True)
class Lane:
    """A library, the module of its worker, and what else its environment needs."""

    library: str
    module: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Runs:
    """All that one lane's processes answered, or why there is nothing."""

    lane: Lane
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None


@dataclass(frozen=True)
class Summary:
    """Microseconds per step of one variant: median over rounds of a round's median over blocks; the rounds' range."""

    variant: str
    median: float
    low: float
    high: float


def thread_environment(threads: int) -> dict[str, str]:
    """Environment in which every library in use keeps to so many threads.

    XLA has no public setting for its pool: it takes the size from NPROC (PJRT_NPROC in newer versions), and with one
    thread its matrix products are told to stay in the calling thread.
    """
    names = ("OMP", "OPENBLAS", "MKL", "NUMBA", "BLIS", "VECLIB", "NUMEXPR")
    limits = {f"{name}_NUM_THREADS": str(threads) for name in names}
    limits["VECLIB_MAXIMUM_THREADS"] = limits.pop("VECLIB_NUM_THREADS")
    xla = os.environ.get("XLA_FLAGS", "")
    if threads == 1:
        xla = f"{xla} --xla_cpu_multi_thread_eigen=false".strip()
    source = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **limits,
        "NPROC": str(threads),
        "PJRT_NPROC": str(threads),
        "XLA_FLAGS": xla,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_X64": "0",
        "PYTHONPATH": os.pathsep.join(filter(None, source)),  # the checkout's backproof, not an installed one
    }


def run_worker(lane: Lane, job: Mapping[str, Any], threads: int, timeout: float) -> dict[str, Any]:
    """The worker's answer. RuntimeError with its last line of complaint if it has none."""
    command = [sys.executable, "-m", lane.module, json.dumps(job)]
    environment = {**thread_environment(threads), **lane.environment}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {timeout:.0f} s") from None
    if done.returncode:
        complaints = done.stderr.strip().splitlines()
        raise RuntimeError(complaints[-1] if complaints else f"exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _quiet_run(lane: Lane, job: Mapping[str, Any], threads: int, timeout: float, patience: float) -> dict[str, Any]:
    """A run that others disturbed little, or the least disturbed of ATTEMPTS; its figures play no part in that."""
    answers = []
    for _ in range(ATTEMPTS if patience else 1):
        load.wait_until_quiet(QUIET, patience)
        start = load.now()
        answer = run_worker(lane, job, threads, timeout)
        answers.append({**answer, "others_cpus": load.others_since(start)})
        if (answers[-1]["others_cpus"] or 0.0) <= QUIET:
            break
    return min(answers, key=lambda each: each["others_cpus"] or 0.0)


def alternate(
    lanes: Iterable[Lane],
    job: Mapping[str, Any],
    *,
    rounds: int,
    threads: int,
    timeout: float = 600.0,
    patience: float = 0.0,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Runs]:
    """`rounds` times all lanes in turn. A lane that fails is left out from then on, and keeps the reason."""
    runs = [Runs(lane) for lane in lanes]
    for i in range(rounds):
        for run in runs:
            if run.failure is not None:
                continue
            progress(f"round {i + 1} of {rounds}: {run.lane.library}")
            try:
                run.rounds.append(_quiet_run(run.lane, job, threads, timeout, patience))
            except RuntimeError as error:
                run.failure = str(error)
    return runs


def summaries(runs: Runs) -> list[Summary]:
    """One for each variant of the lane, the fastest first."""
    if runs.failure is not None or not runs.rounds:
        return []
    found = []
    for variant in runs.rounds[0]["variants"]:
        per_round = [statistics.median(answer["variants"][variant]["blocks_us"]) for answer in runs.rounds]
        found.append(Summary(variant, statistics.median(per_round), min(per_round), max(per_round)))
    return sorted(found, key=lambda summary: summary.median)


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


def describe_machine() -> dict[str, Any]:
    """What a reader needs to judge the figures; nothing that names the machine."""
    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }
