"""JAX's kernels under jit, the inputs on the device, the result waited for. It takes no buffers for results."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.workers.common import report
from benchmarks.workers.softmax_common import given, job, measure


def main() -> None:
    asked = job()
    found = given(asked["rows"], asked["classes"])
    z, u, labels = jnp.asarray(found.logits), jnp.asarray(found.upstream), jnp.asarray(found.labels)

    def loss(x: jax.Array, t: jax.Array) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], 1).mean()

    def product(p: jax.Array, s: jax.Array) -> jax.Array:
        return p * (s - (p * s).sum(1, keepdims=True))

    def log_product(q: jax.Array, s: jax.Array) -> jax.Array:
        return s - jnp.exp(q) * s.sum(1, keepdims=True)

    softmax, log_softmax = jax.jit(jax.nn.softmax), jax.jit(jax.nn.log_softmax)
    vjp, both = jax.jit(product), jax.jit(jax.value_and_grad(loss))
    logsumexp, log_vjp = jax.jit(lambda x: jax.nn.logsumexp(x, axis=1)), jax.jit(log_product)
    h, log_h = softmax(z), log_softmax(z)
    kernels = {
        "softmax": lambda: softmax(z).block_until_ready(),
        "log_softmax": lambda: log_softmax(z).block_until_ready(),
        "logsumexp": lambda: logsumexp(z).block_until_ready(),
        "softmax_vjp": lambda: vjp(h, u).block_until_ready(),
        "log_softmax_vjp": lambda: log_vjp(log_h, u).block_until_ready(),
        "cross_entropy_and_grad": lambda: jax.block_until_ready(both(z, labels)),
    }
    report(measure(kernels, asked["seconds"]), ["jax", "numpy"])


if __name__ == "__main__":
    main()
