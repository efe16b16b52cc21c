"""L-BFGS over the whole data as an iterator: SciPy runs in a thread of its own and hands over one iterate at a time."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from backproof._errors import DivergenceError
from backproof.arrays import Array
from backproof.diagnosis import first_not_finite
from backproof.network import Network
from backproof.optimisers import FullBatch, norm_of


def iterations(
    network: Network, x: Array, t: Array, sample_weight: Array | None, rule: FullBatch, limit: int
) -> Iterator[tuple[int, float, float]]:
    """(iteration, loss, norm of the gradient) after each of at most `limit` iterations; the network then holds its parameters.

    `scipy.optimize.minimize` calls back, a generator is called: the two meet at a pair of queues of length one, so that only one
    of them runs at any time and the caller may look at the network, or leave, between two iterations.
    """
    from scipy.optimize import OptimizeResult, minimize

    handed: queue.Queue[tuple[Array, float, float] | BaseException | None] = queue.Queue(1)
    resume: queue.Queue[bool] = queue.Queue(1)
    last: dict[str, float] = {}

    def objective(theta: Array) -> tuple[float, Array]:
        loss, gradient = network.loss_and_gradient(
            x, t, sample_weight, parameters=theta.astype(network.dtype), train=True, rng=np.random.default_rng(0)
        )
        last["norm"] = norm_of(gradient)
        return loss, gradient.astype(np.float64)

    def callback(intermediate_result: OptimizeResult) -> None:
        handed.put((np.array(intermediate_result.x), float(intermediate_result.fun), last["norm"]))
        if not resume.get():
            raise StopIteration

    def run() -> None:
        try:
            if not resume.get():
                return
            options: Any = {
                "maxiter": limit,
                "maxcor": rule.memory,
                "gtol": rule.gradient_tolerance,
                "ftol": 0.0,
                "maxfun": 20 * limit + 100,
            }
            start = network.parameters.astype(np.float64)
            minimize(objective, start, jac=True, method="L-BFGS-B", callback=callback, options=options)
            handed.put(None)
        except BaseException as error:
            handed.put(error)

    thread = threading.Thread(target=run, name="lbfgs", daemon=True)
    thread.start()
    finished = False
    try:
        for count in itertools.count(1):
            resume.put(True)
            result = handed.get()
            if result is None:
                finished = True
                return
            if isinstance(result, BaseException):
                finished = True
                raise result
            theta, loss, norm = result
            if not np.isfinite(loss) or not np.isfinite(norm):
                place = first_not_finite(network, x, t, sample_weight) or "the loss along the line search"
                raise DivergenceError(
                    f"training stopped at iteration {count}: expected finite numbers, but {place} is the first that is not. "
                    "The weights of the iteration before are kept."
                )
            network.parameters = theta
            yield count, loss, norm
    finally:
        if not finished:
            resume.put(False)
        thread.join()
