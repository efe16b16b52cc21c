"""Matrix products by our own threads, each on one thread of NumPy's BLAS.

The threads of a BLAS wait for each other every few hundred terms of a sum, by spinning. A product with a sum over 131,072 classes
was seen to take thirty times as long as soon as another process wanted one of two processors: each wait then lasts until the
scheduler comes round. Threads that take tasks from a list as they become free do not wait until the list is empty. And a BLAS whose
threads still spin after its product would be in the way of the kernel that comes next. Small products gain so little from a second
thread that they are made on one (`few`): a training step of a millisecond was seen to take fifteen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from backproof.kernels import team

Share = Callable[[Callable[[int], None], int], None]


WORTH_THREADS = 3e7  # operations of a product below which a second thread takes longer to wait for than to be of use
ALONE_ANYWAY = 4e5  # operations below which a BLAS takes one thread by itself


@cache
def _pools() -> Any:
    """The thread pools of the BLAS libraries in this process: NumPy's is there from the start."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


_lock = threading.Lock()
_calls = 0  # under way
_sizes: list[int] = []  # of the pools, before the first of them


@contextmanager
def shared() -> Iterator[Share]:
    """share(task, n) calls task(0) ... task(n - 1), by as many threads as the BLAS had, which meanwhile keeps to one.

    Its size is one for the whole process: of several calls at a time, the first sets it, and the last puts it back.
    """
    global _calls
    with _lock:
        if _calls == 0:
            _sizes[:] = [pool.num_threads or 1 for pool in _pools().lib_controllers]
            _resize([1] * len(_sizes))
        _calls += 1
        size = max(_sizes, default=1)
    try:
        yield lambda task, tasks: _share(task, tasks, min(size, team.processors(), tasks))
    finally:
        with _lock:
            _calls -= 1
            if _calls == 0:
                _resize(_sizes)


def _resize(sizes: list[int]) -> None:
    for pool, before, size in zip(_pools().lib_controllers, _sizes, sizes, strict=True):
        if before != 1:
            pool.set_num_threads(size)
            # threadpoolctl from 3.7 on obeys one thread only, until that lets go; that one size holds for all, `_calls` sees to
            getattr(pool, "clear_controlling_thread", lambda: None)()


def few(operations: float) -> AbstractContextManager[Any]:
    """For products of at most so many operations: the BLAS keeps to one thread if more would be of no use."""
    return shared() if ALONE_ANYWAY < operations < WORTH_THREADS else nullcontext()


def alone(task: Callable[[int], None], tasks: int) -> None:
    """The tasks one after the other, in this thread."""
    with np.errstate(all="ignore"):
        for i in range(tasks):
            task(i)


def _share(task: Callable[[int], None], tasks: int, threads: int) -> None:
    def quietly(i: int) -> None:
        with np.errstate(all="ignore"):
            task(i)

    team.share(quietly, tasks, max(threads, 1))
