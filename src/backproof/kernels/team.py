"""Threads that wait for compiled work: one list of helpers for the process, started when first needed."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from typing import Any

Job = tuple[Callable[..., Any], tuple[Any, ...]]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Helper:
    """A thread that runs what is put before it. It holds the interpreter only between jobs: compiled work releases it."""

    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.process = os.getpid()
        threading.Thread(target=self._serve, name="backproof-helper", daemon=True).start()

    def _serve(self) -> None:
        while True:
            function, arguments = self.jobs.get()
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
