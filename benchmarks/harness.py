"""Rounds of fresh processes, one library each, and the statistics over them.

A worker is a module that takes one JSON argument and prints one line of JSON with "variants" (name -> "blocks_us", a
list of microseconds per step, and more) and "versions". What the steps are is the worker's business.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import load

ROOT = Path(__file__).resolve().parent.parent

QUIET = 0.2  # processors that others may keep busy during a run before it is repeated
ATTEMPTS = 3
LONGEST_WAIT = 30.0  # seconds before one run


@dataclass(frozen=True)
class Lane:
    """A library, the module of its worker, what its job has beyond the case's, and what else its environment needs."""

    library: str
    module: str
    job: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Runs:
    """All that one lane's processes answered, or why there is nothing."""

    lane: Lane
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: str | None = None


def no_remarks(all_runs: list[Runs]) -> list[str]:
    return []


@dataclass(frozen=True)
class Case:
    """What is measured at one shape: lanes in turn, so many rounds.

    kernel: what all variants are ways of doing; None: a variant is "kernel" or "kernel, how".
    moved: of a kernel, the bytes that must move, in units of those that a copy of one of the arrays moves.
    discarded: rounds before the first that counts.
    """

    benchmark: str
    shape: str
    lanes: tuple[Lane, ...]
    job: Mapping[str, Any]
    threads: int
    rounds: int
    kernel: str | None = None
    moved: Mapping[str, float] = field(default_factory=dict)
    discarded: int = 0
    remarks: Callable[[list[Runs]], list[str]] = no_remarks


@dataclass(frozen=True)
class Settings:
    """What the command line says to all benchmarks; each knows its own numbers of rounds and seconds."""

    threads: int
    quick: bool = False
    rounds: int | None = None
    shapes: tuple[str, ...] = ()  # none: all

    def rounds_of(self, usual: int) -> int:
        return self.rounds or (1 if self.quick else usual)

    def seconds_of(self, usual: float) -> float:
        return usual / 10 if self.quick else usual

    def wants(self, shape: str) -> bool:
        return not self.shapes or shape in self.shapes


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


class Patience:
    """Seconds that may be spent on waiting for a quiet machine, and on repeating what others disturbed, in all; and minutes
    after which cases get no more than one round."""

    def __init__(self, seconds: float, minutes: float) -> None:
        self.left = seconds
        self.end = time.perf_counter() + 60 * minutes

    @property
    def late(self) -> bool:
        return time.perf_counter() > self.end

    def run(self, lane: Lane, job: Mapping[str, Any], threads: int, timeout: float) -> dict[str, Any]:
        """A run that others disturbed little, or the least disturbed of ATTEMPTS; its figures play no part in that."""
        answers: list[dict[str, Any]] = []
        while True:
            begin = time.perf_counter()
            load.wait_until_quiet(QUIET, min(self.left, LONGEST_WAIT))
            self.left -= time.perf_counter() - begin if self.left > 0 else 0.0
            start, begin = load.now(), time.perf_counter()
            answer = run_worker(lane, job, threads, timeout)
            answers.append({**answer, "others_cpus": load.others_since(start)})
            disturbed = (answers[-1]["others_cpus"] or 0.0) > QUIET
            if not disturbed or self.left <= 0 or len(answers) == ATTEMPTS:
                return min(answers, key=lambda each: each["others_cpus"] or 0.0)
            self.left -= time.perf_counter() - begin


def alternate(
    case: Case,
    patience: Patience,
    *,
    timeout: float = 600.0,
    progress: Callable[[str], None] = lambda message: None,
) -> list[Runs]:
    """All lanes in turn, round after round. A lane that fails is left out from then on, and keeps the reason."""
    runs = [Runs(lane) for lane in case.lanes]
    for i in range(-case.discarded, case.rounds):
        if i > 0 and patience.late:
            break
        for run in runs:
            if run.failure is not None:
                continue
            progress(f"{case.benchmark}, {case.shape}, round {i + 1} of {case.rounds}: {run.lane.library}")
            try:
                answer = patience.run(run.lane, {**case.job, **run.lane.job, "threads": case.threads}, case.threads, timeout)
            except RuntimeError as error:
                run.failure = str(error)
            else:
                run.rounds += [answer] if i >= 0 else []
    return runs


def summaries(runs: Runs) -> list[Summary]:
    """One for each variant of the lane."""
    if not runs.rounds:
        return []
    found = []
    for variant in runs.rounds[0]["variants"]:
        per_round = [statistics.median(answer["variants"][variant]["blocks_us"]) for answer in runs.rounds]
        found.append(Summary(variant, statistics.median(per_round), min(per_round), max(per_round)))
    return found
