"""Threads that wait for compiled work: one list of helpers for the process, started when first needed."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

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

    A system tends to wake a thread on the processor of the thread that woke it, and to move one of them only after more
    milliseconds than a job takes: the two then run one after the other. So a helper that finds itself there moves away.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Job, int]] = queue.SimpleQueue()
        self.process = os.getpid()
        threading.Thread(target=self._serve, name="backproof-helper", daemon=True).start()

    def give(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Let it call the function, which must not raise, when it has done what it was given before."""
        self._jobs.put(((function, arguments), here()))

    def _serve(self) -> None:
        allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        while True:
            (function, arguments), taken = self._jobs.get()
            if taken >= 0 and here() == taken and len(allowed) > 1:
                os.sched_setaffinity(0, allowed - {taken})
            function(*arguments)
            del function, arguments  # the arrays of the last job are not kept alive while waiting


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
