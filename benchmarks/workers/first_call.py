"""The time of a library's imports and of the first call of one of its functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.workers.softmax_common import job

ROWS, CLASSES = 512, 1000


def backproof_softmax() -> Callable[[], Any]:
    import numpy as np

    from backproof.functional import softmax

    z = np.zeros((ROWS, CLASSES), np.float32)
    return lambda: softmax(z)


def backproof_cross_entropy() -> Callable[[], Any]:
    import numpy as np

    from backproof.functional import cross_entropy_and_grad

    z, labels = np.zeros((ROWS, CLASSES), np.float32), np.zeros(ROWS, np.int64)
    return lambda: cross_entropy_and_grad(z, labels)


def backproof_step() -> Callable[[], Any]:
    import numpy as np

    import backproof as bp

    x, labels = np.zeros((32, 64), np.float32), np.zeros(32, np.int64)
    net = bp.Network([bp.Linear(32), bp.ReLU(), bp.Linear(10), bp.Softmax()], loss=bp.CrossEntropy(), dtype="float32")
    net.initialise(x, seed=0)
    return lambda: bp.TrainingStep(net, bp.adam(1e-3), compiled=True)(x, labels)


def torch_softmax() -> Callable[[], Any]:
    import torch

    z = torch.zeros((ROWS, CLASSES))
    return lambda: torch.softmax(z, 1)


def torch_cross_entropy() -> Callable[[], Any]:
    import torch

    z, labels = torch.zeros((ROWS, CLASSES), requires_grad=True), torch.zeros(ROWS, dtype=torch.int64)
    return lambda: torch.nn.functional.cross_entropy(z, labels).backward()  # type: ignore[no-untyped-call]


def jax_softmax() -> Callable[[], Any]:
    import jax

    z = jax.numpy.zeros((ROWS, CLASSES))
    return lambda: jax.jit(jax.nn.softmax)(z).block_until_ready()


def scipy_softmax() -> Callable[[], Any]:
    import numpy as np
    from scipy.special import softmax

    z = np.zeros((ROWS, CLASSES), np.float32)
    return lambda: softmax(z, axis=1)


CALLS = {
    ("backproof", "softmax"): backproof_softmax,
    ("torch", "softmax"): torch_softmax,
    ("jax", "softmax"): jax_softmax,
    ("scipy", "softmax"): scipy_softmax,
    ("backproof", "cross_entropy_and_grad"): backproof_cross_entropy,
    ("torch", "cross_entropy_and_grad"): torch_cross_entropy,
    ("backproof", "compiled training step"): backproof_step,
}
DISTRIBUTIONS = {"backproof": ["numpy", "numba"], "torch": ["torch"], "jax": ["jax"], "scipy": ["scipy", "numpy"]}


def main() -> None:
    asked = job()
    start = time.perf_counter()
    call = CALLS[asked["library"], asked["function"]]()
    ready = time.perf_counter()
    call()
    done = time.perf_counter()

    from benchmarks.workers.common import own_version, report

    times = {"imports": ready - start, "first call": done - ready, "imports and first call": done - start}
    variants = {name: {"blocks_us": [1e6 * seconds]} for name, seconds in times.items()}
    report(variants, DISTRIBUTIONS[asked["library"]], **own_version())


if __name__ == "__main__":
    main()
