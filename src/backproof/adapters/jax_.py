"""JAX functions, plain or with custom derivatives; pytrees in and out.

jax is imported when a target needs it, through importlib, so that type checking does not depend on whether it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentTypeError
from backproof.adapters.common import Adapted, argument_names, name_of, require_real
from backproof.arrays import Array
from backproof.gradcheck.subject import Arrays, Gradients, Subject


def is_jax(target: Any, inputs: Sequence[Any]) -> bool:
    """A function that JAX made (custom derivatives, compiled), or anything called with a JAX array."""
    jax = sys.modules.get("jax")
    if jax is None or not hasattr(jax, "tree_util"):
        return False
    made = type(target).__module__.partition(".")[0] in ("jax", "jaxlib")
    return made or any(isinstance(x, jax.Array) for x in jax.tree_util.tree_leaves(list(inputs)))


class JaxSubject(Adapted):
    """The arrays among the leaves of the arguments are the inputs; numbers, strings, functions and keys stay as they are (floats
    are inputs if there is no array). Outputs are the floating-point leaves of what is returned.

    Calls with 64-bit arrays run with 64-bit types on, whatever the session's setting is; others run as the session is set. Forward
    and derivatives are compiled once for each precision; what cannot be traced is run as it is. Forward mode is that of a
    `custom_jvp`, or of any function if `forward_ad` asks for it.
    """

    none_is_zero = True
    library = "jnp"

    def __init__(self, target: Any, inputs: Sequence[Any], *, forward_ad: bool = False) -> None:
        jax = importlib.import_module("jax")
        self.jax, self.target = jax, target
        if not callable(target):
            raise ArgumentTypeError(f"target: expected a function of JAX arrays, received {type(target).__name__}")
        self.forward_ad = forward_ad or type(target).__name__ == "custom_jvp"
        self.name = name_of(target)
        pairs, self.tree = jax.tree_util.tree_flatten_with_path(tuple(inputs))
        self.leaves = [leaf for _, leaf in pairs]
        self.places = [i for i, x in enumerate(self.leaves) if self._is_array(x)]
        if not self.places:
            self.places = [i for i, x in enumerate(self.leaves) if isinstance(x, float)]
        tops = argument_names(target, len(inputs))
        names = [tops[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in pairs]
        arrays = [np.array(self.leaves[i]) for i in self.places]
        for place, array in zip(self.places, arrays, strict=True):
            require_real(array.dtype, names[place], type(self.leaves[place]).__name__)
        for leaf in self.leaves:
            if isinstance(leaf, jax.Array):
                self.device = str(next(iter(leaf.devices())))
                break
        self.settle(arrays, [names[i] for i in self.places], len(arrays))
        self.compiled: dict[tuple[str, tuple[int, ...], str], Any] = {}
        self.try_out()

    def _is_array(self, x: Any) -> bool:
        if isinstance(x, self.jax.Array):
            return not self.jax.dtypes.issubdtype(x.dtype, self.jax.dtypes.prng_key)
        return isinstance(x, np.ndarray | np.generic)

    # --- functions of the leaves -------------------------------------------------------------------------------------------
    def _outputs(self, *leaves: Any) -> tuple[Any, ...]:
        whole = list(self.leaves)
        for i, x in zip(self.places, leaves, strict=True):
            whole[i] = x
        found, tree = self.jax.tree_util.tree_flatten(self.target(*self.jax.tree_util.tree_unflatten(self.tree, whole)))
        self.packed = not self.jax.tree_util.treedef_is_leaf(tree)
        jnp = self.jax.numpy
        arrays = [y if hasattr(y, "dtype") else jnp.asarray(y) for y in found]
        return tuple(y for y in arrays if jnp.issubdtype(y.dtype, jnp.inexact))

    def _of(self, leaves: Sequence[Any]) -> Callable[..., tuple[Any, ...]]:
        """The outputs as a function of the leaves in `wrt`."""

        def function(*moved: Any) -> tuple[Any, ...]:
            there = list(leaves)
            for k, x in zip(self.wrt, moved, strict=True):
                there[k] = x
            return self._outputs(*there)

        return function

    def _vjp(self, upstream: Sequence[Any], leaves: Sequence[Any]) -> tuple[Any, ...]:
        outputs, pull = self.jax.vjp(self._of(leaves), *[leaves[k] for k in self.wrt])
        found: tuple[Any, ...] = pull(tuple(u.astype(y.dtype) for u, y in zip(upstream, outputs, strict=True)))
        return found

    def _jvp(self, tangents: Sequence[Any], leaves: Sequence[Any]) -> tuple[Any, ...]:
        primals = tuple(leaves[k] for k in self.wrt)
        moved = tuple(tangents[k].astype(x.dtype) for k, x in zip(self.wrt, primals, strict=True))
        found: tuple[Any, ...] = self.jax.jvp(self._of(leaves), primals, moved)[1]
        return found

    # --- calls -------------------------------------------------------------------------------------------------------------
    def _call(self, kind: str, function: Callable[..., Any], *arrays: Sequence[Array]) -> Arrays:
        """Compiled, if it can be, and kept by the dtypes, so that precisions stay apart. The last list is that of the inputs."""
        jnp = self.jax.numpy
        wide = any(x.dtype.itemsize == 8 and x.dtype.kind in "fiu" for x in arrays[-1])
        with self._x64() if wide else contextlib.nullcontext():
            given = [[jnp.array(x) for x in part] for part in arrays]
            key = (kind, self.wrt, "".join(x.dtype.char for part in arrays for x in part))
            run = self.compiled.get(key)
            if run is None:
                run = self.jax.jit(function)
                try:
                    result = run(*given)
                except Exception:  # what cannot be traced (a branch on a value, a call of NumPy); errors of the code come again
                    run = function
                    result = run(*given)
                self.compiled[key] = run
            else:
                result = run(*given)
            return tuple(np.array(y) for y in result)

    def _x64(self) -> Any:
        if hasattr(self.jax, "enable_x64"):
            return self.jax.enable_x64(True)
        return importlib.import_module("jax.experimental").enable_x64()

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return self._call("forward", lambda leaves: self._outputs(*leaves), inputs)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        gradients: list[Array | None] = [None] * len(inputs)
        for k, g in zip(self.wrt, self._call("vjp", self._vjp, upstream, inputs), strict=True):
            gradients[k] = g
        return tuple(gradients)

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        return self._call("jvp", self._jvp, tangents, inputs) if self.forward_ad else None

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        """Reverse over reverse, through the custom rules."""
        return JaxGradient(self, upstream)


class JaxGradient(JaxSubject):
    """inputs -> gradients of the inputs in `wrt` at a fixed upstream gradient."""

    def __init__(self, of: JaxSubject, upstream: Sequence[Array]) -> None:
        self.__dict__.update(of.__dict__)
        self.of, self.upstream = of, tuple(np.array(u) for u in upstream)
        self.name, self.packed, self.forward_ad = f"gradient of {of.name}", True, False
        self.compiled = {}
        self.try_out()

    def _outputs(self, *leaves: Any) -> tuple[Any, ...]:
        return self.of._vjp([self.jax.numpy.asarray(u) for u in self.upstream], leaves)
