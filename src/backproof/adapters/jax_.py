"""JAX functions: plain, custom_vjp, custom_jvp; pytrees in and out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from backproof.adapters.functions import argument_names, first_call
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject


class JaxSubject(Subject):
    """Leaves of the arguments are the inputs. Double precision is switched on for the calls, whatever the session's setting."""

    def __init__(self, target: Any, inputs: Sequence[Any]) -> None:
        import jax

        self.target = target
        self.name = getattr(target, "__name__", type(target).__name__)
        leaves, self.tree = jax.tree_util.tree_flatten(tuple(inputs))
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(tuple(inputs))[0]]
        plain = argument_names(target, len(inputs))
        self.inputs = tuple(np.array(x) for x in leaves)
        self.names = plain if len(leaves) == len(inputs) else tuple(paths)
        self.arguments = len(leaves)
        self.wrt = tuple(k for k, x in enumerate(self.inputs) if is_float(x))
        self.packed = len(first_call(self.name, lambda *x: self.forward(x), self.inputs)) > 1

    def _on(self, leaves: Sequence[Any]) -> list[Any]:
        import jax

        return list(jax.tree_util.tree_leaves(self.target(*jax.tree_util.tree_unflatten(self.tree, leaves))))

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        with _x64():
            return tuple(np.asarray(y) for y in self._on(_leaves(inputs)))

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        import jax
        import jax.numpy as jnp

        with _x64():
            leaves = _leaves(inputs)

            def outputs(*moved: Any) -> list[Any]:
                there = list(leaves)
                for k, x in zip(self.wrt, moved, strict=True):
                    there[k] = x
                return [y for y in self._on(there) if jnp.issubdtype(y.dtype, jnp.floating)]

            out, pull = jax.vjp(outputs, *[leaves[k] for k in self.wrt])
            us = [u for u in upstream if is_float(np.asarray(u))]
            grads = pull([jnp.asarray(u, dtype=y.dtype) for u, y in zip(us, out, strict=True)])
        result: list[Array | None] = [None] * len(inputs)
        for k, g in zip(self.wrt, grads, strict=True):
            result[k] = np.asarray(g)
        return tuple(result)


def _leaves(arrays: Sequence[Array]) -> list[Any]:
    import jax.numpy as jnp

    return [jnp.asarray(x) for x in arrays]


def _x64() -> Any:
    import jax

    return jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()


def is_jax(target: Any, inputs: Sequence[Any]) -> bool:
    jax = sys.modules.get("jax")
    if jax is None:
        return False
    leaves = jax.tree_util.tree_leaves(list(inputs))
    return any(isinstance(x, jax.Array) for x in leaves) or type(target).__name__ in ("custom_vjp", "custom_jvp")
