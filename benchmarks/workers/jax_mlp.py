"""JAX: loss, gradient and Adam in one jitted function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from benchmarks.workers.common import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    Problem,
    job_from_command_line,
    measure,
    problem,
    report,
)

Tree = Any
Unpack = Callable[[Tree], Tree]  # from the parameters as they are kept to a list of (weight, bias)


def loss_of(params: Tree, x: jax.Array, t: jax.Array) -> jax.Array:
    *hidden, (last_weight, last_bias) = params
    for weight, bias in hidden:
        x = jnp.maximum(x @ weight + bias, 0)
    log_p = jax.nn.log_softmax(x @ last_weight + last_bias)
    return -jnp.mean(jnp.take_along_axis(log_p, t[:, None], axis=1))


def step(unpack: Unpack, state: Tree, x: jax.Array, t: jax.Array) -> tuple[Tree, jax.Array]:
    """(params, first moments, second moments, count) after one step, and the loss before it."""
    params, m, v, count = state
    loss, gradient = jax.value_and_grad(lambda packed: loss_of(unpack(packed), x, t))(params)
    count = count + 1
    root = jnp.sqrt(1 - BETA2**count)
    rate = LEARNING_RATE * root / (1 - BETA1**count)
    m = jax.tree.map(lambda a, g: BETA1 * a + (1 - BETA1) * g, m, gradient)
    v = jax.tree.map(lambda a, g: BETA2 * a + (1 - BETA2) * g * g, v, gradient)
    params = jax.tree.map(lambda p, a, b: p - rate * a / (jnp.sqrt(b) + EPSILON * root), params, m, v)
    return (params, m, v, count), loss


def _ready(tree: Tree) -> Tree:
    return jax.block_until_ready(tree)  # type: ignore[no-untyped-call]


class Jitted:
    """`donate`: may XLA write the new state over the old one; `on_device`: is the batch a JAX or a NumPy array;
    `flat`: are the parameters kept as one vector (fewer buffers to hand in and out, but copies inside)."""

    def __init__(self, given: Problem, *, donate: bool, on_device: bool, flat: bool = False) -> None:
        self.given = given
        self.flatten, unpack = self._flat_layout() if flat else (lambda tree: tree, lambda tree: tree)
        self.jitted = jax.jit(partial(step, unpack), donate_argnums=(0,) if donate else ())
        batches = [(x, t.astype(np.int32)) for x, t in given.batches]
        self.batches = [jax.device_put(pair) for pair in batches] if on_device else batches

    def _initial(self) -> Tree:
        # copies: a donated buffer must not be one that NumPy owns
        pairs = zip(self.given.weights, self.given.biases, strict=True)
        return [(jnp.array(weight, copy=True), jnp.array(bias, copy=True)) for weight, bias in pairs]

    def _flat_layout(self) -> tuple[Unpack, Unpack]:
        return lambda tree: ravel_pytree(tree)[0], ravel_pytree(self._initial())[1]

    def reset(self) -> None:
        params = self.flatten(self._initial())
        m, v = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        self.state = _ready((params, m, v, jnp.zeros((), jnp.int32)))
        self.next_batch = cycle(self.batches)

    def run(self, steps: int) -> None:
        state, jitted = self.state, self.jitted
        for x, t in islice(self.next_batch, steps):
            state, _ = jitted(state, x, t)
        # once for all: each step waits for the one before it anyway
        self.state = _ready(state)

    def next_loss(self) -> float:
        return float(self.jitted(self.state, *next(self.next_batch))[1])


def main() -> None:
    job = job_from_command_line()
    jax.config.update("jax_enable_x64", False)  # type: ignore[no-untyped-call]
    given = problem(job)
    trainers = {
        "donated, device batch": Jitted(given, donate=True, on_device=True),
        "donated, device batch, flat": Jitted(given, donate=True, on_device=True, flat=True),
        "donated, NumPy batch": Jitted(given, donate=True, on_device=False),
        "not donated, device batch": Jitted(given, donate=False, on_device=True),
        "not donated, NumPy batch": Jitted(given, donate=False, on_device=False),
    }
    report(measure(trainers, job), ["jax", "jaxlib", "numpy"])


if __name__ == "__main__":
    main()
