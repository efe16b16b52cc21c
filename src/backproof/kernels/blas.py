"""Matrix products by our own threads, each on one thread of NumPy's BLAS.

The threads of a BLAS wait for each other every few hundred terms of a sum, by spinning. A product with a sum over 131,072 classes
was seen to take thirty times as long as soon as another process wanted one of two processors: each wait then lasts until the
scheduler comes round. Threads that take tasks from a list as they become free do not wait until the list is empty. And a BLAS whose
threads still spin after its product would be in the way of the kernel that comes next.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from backproof.kernels import team

Share = Callable[[Callable[[int], None], int], None]


@cache
def _pools() -> Any:
    """The thread pools of the BLAS libraries in this process: NumPy's is there from the start."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_lock = threading.Lock()
_users: list[Any] = []  # one entry for each call under way; the first holds what puts the pools' sizes back


@contextmanager
def shared() -> Iterator[Share]:
    """share(task, n) calls task(0) ... task(n - 1), by as many threads as the BLAS had, which meanwhile keeps to one.

    Its size is one for the whole process: of several calls at a time, the first sets it, and the last puts it back.
    """
    with _lock:
        if not _users:
            size = max((pool["num_threads"] for pool in _pools().info()), default=1)
            _users.append((size, _pools().limit(limits=1) if size > 1 else None))
        else:
            _users.append(_users[0])
        size = _users[0][0]
    try:
        yield lambda task, tasks: _share(task, tasks, min(size, team.processors(), tasks))
    finally:
        with _lock:
            _, limit = _users.pop()
            if not _users and limit is not None:
                limit.restore_original_limits()


def alone(task: Callable[[int], None], tasks: int) -> None:
    """The tasks one after the other, in this thread."""
    with np.errstate(all="ignore"):
        for i in range(tasks):
            task(i)


def _share(task: Callable[[int], None], tasks: int, threads: int) -> None:
    numbers = itertools.count()
    done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            with np.errstate(all="ignore"):
                while (i := next(numbers)) < tasks:
                    task(i)
            done.put(None)
        except BaseException as error:
            done.put(error)

    for helper in team.helpers(threads - 1):
        helper.give(work)
    work()
    errors = [done.get() for _ in range(max(threads, 1))]
    for error in errors:
        if error is not None:
            raise error
