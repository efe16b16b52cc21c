"""What all training-step workers share: the problem to train on, and how a block of steps is timed.

A worker is called as `python -m benchmarks.workers.<name> '<job as JSON>'` and prints one line of JSON.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8

# Batches that the steps go through in turn. Few, so that they stay in the caches as far as they fit, for all alike.
POOL = 4

# A block begins at the initial weights and is short: a net that has learnt its batches by heart has gradients and Adam
# moments that sink into subnormal numbers, and a processor's time for those says nothing about training.
LONGEST_BLOCK = 200
FEWEST_BLOCKS = 5

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Job:
    """What the harness asks of a worker."""

    sizes: tuple[int, ...]
    batch: int
    threads: int
    seconds: float  # to spend on the timed blocks of each variant
    block_seconds: float  # aimed at for one block
    check_steps: int  # steps before the loss that the harness compares
    seed: int = 0

    @classmethod
    def from_json(cls, text: str) -> Job:
        fields = json.loads(text)
        return cls(**{**fields, "sizes": tuple(fields["sizes"])})


@dataclass(frozen=True)
class Problem:
    """Initial weights (inputs, outputs), biases, and batches (x, labels): equal in every worker of the same job."""

    weights: list[Floats]
    biases: list[Floats]
    batches: list[tuple[Floats, Labels]]


def problem(job: Job) -> Problem:
    """He-scaled weights, zero biases; each class is a cloud about its own centre, all classes equally frequent."""
    rng = np.random.default_rng(job.seed)
    pairs = list(zip(job.sizes[:-1], job.sizes[1:], strict=True))
    weights = [rng.normal(0.0, math.sqrt(2 / m), size=(m, n)).astype(np.float32) for m, n in pairs]
    biases = [np.zeros(n, dtype=np.float32) for _, n in pairs]
    inputs, classes = job.sizes[0], job.sizes[-1]
    centres = rng.normal(size=(classes, inputs))
    batches = []
    for _ in range(POOL):
        t = rng.permutation(np.arange(job.batch) % classes)
        x = 0.3 * centres[t] + rng.normal(size=(job.batch, inputs))
        batches.append((np.ascontiguousarray(x, dtype=np.float32), t.astype(np.int64)))
    return Problem(weights, biases, batches)


class Trainer(Protocol):
    """One way of training with a library."""

    def reset(self) -> None:
        """Back to the initial weights, a fresh Adam and the first batch."""

    def run(self, steps: int) -> None:
        """So many training steps on the batches in turn; returns when all of them are done."""

    def next_loss(self) -> float:
        """The loss on the next batch at the weights as they are. What follows it must be a reset."""


def _timed(trainer: Trainer, steps: int) -> tuple[float, float]:
    """(seconds, processor seconds) of a block; the steps right after the reset, on cold caches, are not counted."""
    trainer.reset()
    trainer.run(POOL)
    cpu, start = time.process_time(), time.perf_counter()
    trainer.run(steps)
    return time.perf_counter() - start, time.process_time() - cpu


def _block_length(trainer: Trainer, job: Job) -> int:
    """Steps for one block, a multiple of POOL; warms the library up on the way (compilation, thread pools, caches)."""
    _timed(trainer, POOL)
    per_step = statistics.median(_timed(trainer, POOL)[0] / POOL for _ in range(3))
    wanted = math.ceil(job.block_seconds / per_step / POOL) * POOL
    steps = min(max(wanted, POOL), LONGEST_BLOCK)
    _timed(trainer, steps)
    return steps


def _loss_after(trainer: Trainer, steps: int) -> float:
    trainer.reset()
    trainer.run(steps)
    return float(trainer.next_loss())


def measure(trainers: Mapping[str, Trainer], job: Job) -> dict[str, Any]:
    """Loss check, then timed blocks of each variant, the variants in turn so that a busy moment strikes all of them."""
    losses = {name: _loss_after(trainer, job.check_steps) for name, trainer in trainers.items()}
    lengths = {name: _block_length(trainer, job) for name, trainer in trainers.items()}
    spent = dict.fromkeys(trainers, 0.0)
    cpu_spent = dict.fromkeys(trainers, 0.0)
    blocks: dict[str, list[float]] = {name: [] for name in trainers}
    while any(spent[name] < job.seconds or len(blocks[name]) < FEWEST_BLOCKS for name in trainers):
        for name, trainer in trainers.items():
            if spent[name] >= job.seconds and len(blocks[name]) >= FEWEST_BLOCKS:
                continue
            wall, cpu = _timed(trainer, lengths[name])
            blocks[name].append(1e6 * wall / lengths[name])
            spent[name] += wall
            cpu_spent[name] += cpu
    return {
        name: {
            "loss": losses[name],
            "steps_per_block": lengths[name],
            "blocks_us": blocks[name],
            "cpus_used": cpu_spent[name] / spent[name],  # shows whether the thread limit was kept
        }
        for name in trainers
    }


def _pools() -> list[dict[str, Any]]:
    """The thread pools in this process, without the paths of their files."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return []
    return [{key: pool.get(key) for key in ("internal_api", "version", "num_threads")} for pool in threadpool_info()]


def job_from_command_line() -> Job:
    return Job.from_json(sys.argv[1])


def own_version() -> dict[str, str]:
    """backproof's, if this process has imported it: it may run without being installed."""
    module = sys.modules.get("backproof")
    return {} if module is None else {"backproof": module.__version__}


def report(variants: Mapping[str, Any], distributions: Iterable[str], **versions: str) -> None:
    """Print the worker's answer; `versions` are those of libraries that may run without being installed."""
    found = {name: metadata.version(name) for name in distributions}
    print(json.dumps({"variants": variants, "versions": {**found, **versions}, "pools": _pools()}))
