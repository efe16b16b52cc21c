"""L-BFGS over the whole data as an iterator: SciPy runs in a thread of its own and hands over one iterate at a time."""

from __future__ import annotations

import itertools
import math
import queue
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, DivergenceError
from backproof.arrays import Array
from backproof.diagnosis import first_not_finite
from backproof.kernels import blas
from backproof.network import Network
from backproof.optimisers import FullBatch, norm_of


class _Left(Exception):
    """Ends SciPy's run from within the objective."""


def iterations(
    network: Network, x: Array, t: Array, sample_weight: Array | None, rule: FullBatch, limit: int
) -> Iterator[tuple[int, float, float]]:
    """(iteration, loss, norm of the gradient) after each of at most `limit` iterations; the network then holds its parameters.

    `scipy.optimize.minimize` calls back, a generator is called: the two meet at a pair of queues, so that only one of them runs at
    any time and the caller may look at the network, or leave, between two iterations. A start that is the optimum already is
    handed over as the one iterate there is.
    """
    if network.chain.is_random:
        raise ArgumentError("lbfgs: expected a network without dropout, whose loss is the same at every evaluation")
    from scipy.optimize import OptimizeResult, minimize

    handed: queue.SimpleQueue[tuple[Array, float, float] | BaseException | None] = queue.SimpleQueue()
    resume: queue.SimpleQueue[None] = queue.SimpleQueue()
    left = threading.Event()
    norms: dict[bytes, float] = {}

    def objective(theta: Array) -> tuple[float, Array]:
        if left.is_set():
            raise _Left
        quietly = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # said below, with the layer's name
        with quietly, blas.few(2.0 * len(x) * theta.size):
            loss, gradient = network.loss_and_gradient(x, t, sample_weight, parameters=theta.astype(network.dtype))
            norm = norm_of(gradient)
        if not norms and not (math.isfinite(loss) and math.isfinite(norm)):
            raise _not_finite(network, x, t, sample_weight, 1)  # later in a run the line search itself steps back
        norms[theta.tobytes()] = norm
        return loss, gradient.astype(np.float64)

    def callback(intermediate_result: OptimizeResult) -> None:
        theta = np.array(intermediate_result.x)
        norm = norms.get(theta.tobytes(), math.nan)
        norms.clear()
        norms[theta.tobytes()] = norm
        handed.put((theta, float(intermediate_result.fun), norm))
        resume.get()

    def run() -> None:
        try:
            resume.get()
            options: Any = {"maxiter": limit, "maxcor": rule.memory, "gtol": rule.gradient_tolerance, "ftol": 0.0}
            options["maxfun"] = 20 * limit + 100
            start = network.parameters.astype(np.float64)
            result = minimize(objective, start, jac=True, method="L-BFGS-B", callback=callback, options=options)
            if result.nit == 0:
                handed.put((start, float(result.fun), norms.get(start.tobytes(), math.nan)))
                resume.get()
            handed.put(None)
        except _Left:
            pass
        except BaseException as error:
            handed.put(error)

    thread = threading.Thread(target=run, name="lbfgs", daemon=True)
    thread.start()
    try:
        for count in itertools.count(1):
            resume.put(None)
            given = handed.get()
            if given is None:
                return
            if isinstance(given, BaseException):
                raise given
            theta, loss, norm = given
            if not math.isfinite(loss):
                raise _not_finite(network, x, t, sample_weight, count)
            network.parameters = theta
            yield count, loss, norm
    finally:
        left.set()
        resume.put(None)
        thread.join()


def _not_finite(network: Network, x: Array, t: Array, sample_weight: Array | None, iteration: int) -> DivergenceError:
    place = first_not_finite(network, x, t, sample_weight) or "the loss along the line search"
    return DivergenceError(
        f"training stopped at iteration {iteration}: expected finite numbers, but {place} is the first that is not. "
        "The last good weights are kept."
    )
