"""Threads that wait for compiled work: one list of helpers for the process, started when first needed."""

from __future__ import annotations

import ctypes
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

Job = tuple[Callable[..., Any], tuple[Any, ...]]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _teller() -> Callable[[], int]:
    """A function that says on which processor the calling thread runs; -1 where the system does not say."""
    try:
        found: Callable[[], int] = ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return lambda: -1
    return found if hasattr(os, "sched_setaffinity") else lambda: -1


here = _teller()


class Helper:
    """A thread that runs what is put before it. It holds the interpreter only between jobs: compiled work releases it.

    A system tends to wake a thread on the processor of the thread that woke it, above all a virtual machine, whose idle processors
    look taken; it moves one of the two only after more milliseconds than a job takes, so that they run one after the other. So a
    helper is kept off the processor of its caller.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.bell = np.zeros(1, dtype=np.int64)  # how many jobs it was given: whoever keeps it waiting lets it go when that changes
        self.process = os.getpid()
        self._avoided = -1
        self._thread = threading.Thread(target=self._serve, name="backproof-helper", daemon=True)
        self._thread.start()

    def give(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Let it call the function, which must not raise, when it has done what it was given before."""
        processor = here()
        if processor != self._avoided:
            self._keep_off(processor)
        self.bell[0] += 1
        self._jobs.put((function, arguments))

    def _keep_off(self, processor: int) -> None:
        others = os.sched_getaffinity(0) - {processor}
        if others and self._thread.native_id is not None:
            with suppress(OSError):  # where it is not allowed, all works as before
                os.sched_setaffinity(self._thread.native_id, others)
        self._avoided = processor

    def _serve(self) -> None:
        while True:
            function, arguments = self._jobs.get()
            function(*arguments)
            del function, arguments  # the arrays of the last job are not kept alive while waiting


AWAKE = 2e-4  # seconds that a caller waits for its helpers before it sleeps: they would wake it on their own processor


def share(task: Callable[[int], None], tasks: int, threads: int) -> None:
    """task(0), ..., task(tasks - 1) by so many threads; each takes the next one when it is free. The first error is raised here.

    More tasks than threads: of two processors that look alike one may be half as fast, or busy with something else.
    """
    numbers = itertools.count()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while (i := next(numbers)) < tasks:
                task(i)
            done.put(None)
        except BaseException as error:
            done.put(error)

    for helper in helpers(threads - 1):
        helper.give(work)
    work()
    until = time.perf_counter() + AWAKE
    while done.qsize() < threads and time.perf_counter() < until:
        time.sleep(0)
    errors = [done.get() for _ in range(threads)]
    for error in errors:
        if error is not None:
            raise error


_helpers: list[Helper] = []
_lock = threading.Lock()


def helpers(count: int) -> list[Helper]:
    """`count` helpers. A forked child has none of its parent's threads and starts its own."""
    if len(_helpers) < count or (_helpers and _helpers[0].process != os.getpid()):
        with _lock:
            if _helpers and _helpers[0].process != os.getpid():
                _helpers.clear()
            while len(_helpers) < count:
                _helpers.append(Helper())
    return _helpers[:count]
