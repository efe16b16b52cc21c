"""Torch functions, autograd Functions and modules: what autograd makes of them, on NumPy arrays that share memory with the tensors.

torch is imported when a target needs it, through importlib, so that type checking does not depend on whether it is installed.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentTypeError
from backproof.adapters.common import Adapted, argument_names
from backproof.adapters.tensors import to_array, to_tensor, written_back
from backproof.adapters.torch_targets import callable_of, refuses, title_of
from backproof.adapters.trees import fill, take_apart
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject

SEED = 0  # of a module that draws random numbers (dropout): the same ones in every call


class TorchSubject(Adapted):
    """Tensors among the arguments (also in lists, tuples and dictionaries) are the inputs, then a module's parameters; whatever
    else is passed stays as it is. Outputs are the floating-point tensors of what is returned.

    Arrays of the dtypes the user gave are used in those; arrays of another float dtype (float64, for a float32 function) as they
    are, and with them parameters, buffers and the rest of the state. A module is copied once, and its buffers are renewed whenever
    a call has written into them. Without `wrt`, the inputs that are differentiated are the arguments that require a gradient, or
    all that are floating if none does. bfloat16 is ml_dtypes' if that is there (JAX brings it), else all of it is run in float32.
    """

    none_is_zero = True
    library = "torch"

    def __init__(self, target: Any, inputs: Sequence[Any], *, forward_ad: bool = False, name: str | None = None) -> None:
        torch = importlib.import_module("torch")
        self.torch, self.forward_ad = torch, forward_ad
        self.function, self.module, signature, skip = callable_of(target)
        self.name = name or title_of(target)
        leaves, self.skeleton = take_apart(
            [torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray | np.generic) else x for x in inputs],
            lambda x: isinstance(x, torch.Tensor),
            argument_names(signature, len(inputs), skip),
        )
        names, tensors = [path for path, _ in leaves], [leaf for _, leaf in leaves]
        count = len(tensors)
        self.parameters: list[str] = []
        self.state: dict[str, Any] = {}
        if self.module is not None:
            named = dict(self.module.named_parameters())
            self.parameters = [n for n, p in named.items() if p.requires_grad]
            self.state = {n: t.detach() for n, t in [*named.items(), *self.module.named_buffers()] if n not in self.parameters}
            names += [f"self.{n}" if n in names else n for n in self.parameters]
            tensors += [named[n] for n in self.parameters]
        for label, t in zip(names, tensors, strict=True):
            if t.is_complex():
                raise ArgumentTypeError(f"{label}: expected real numbers, received {t.dtype}; complex is not supported")
            if t.layout != torch.strided:
                raise ArgumentTypeError(f"{label}: expected a dense tensor, received layout {t.layout}")
        self.dtypes = [t.dtype for t in tensors]
        self.devices = [t.device for t in tensors]
        self.device = str(self.devices[0]) if tensors else "cpu"
        arrays = [to_array(t) for t in tensors]
        self.held = [a.dtype for a in arrays]
        self.run = [None if d == torch.bfloat16 and h == np.float32 else d for d, h in zip(self.dtypes, self.held, strict=True)]
        if None in self.run:
            self.notes = ("bfloat16 was checked in float32: install ml_dtypes to have it checked as it is",)
        asked = [k for k, t in enumerate(tensors[:count]) if t.requires_grad]
        floats = [k for k, a in enumerate(arrays) if is_float(a)]
        self.settle(arrays, names, count, [*asked, *range(count, len(arrays))] if asked else floats)
        self.states: dict[Any, dict[str, Any]] = {}
        self.seeded = False
        self.cuda = sorted({d.index for d in self.devices if d.type == "cuda"})
        if self.module is None:
            self.try_out()
            return
        with torch.random.fork_rng(devices=self.cuda):
            before = self._random_state()
            self.try_out()
            self.seeded = not all(map(torch.equal, before, self._random_state()))
        if self.seeded:
            self.notes += ("the module draws random numbers: the same ones were drawn in every call",)
            self.try_out()

    def replay(self) -> str:
        """A module stands there with dots, as any object that was made with arguments."""
        made = self.name if self.module is None else f"{self.name}(...)"
        return f"backproof.check({made}, {', '.join(self.names[: self.arguments])})"

    # --- calls -------------------------------------------------------------------------------------------------------------
    def _tensors(self, arrays: Sequence[Array]) -> list[Any]:
        """Tensors on the arrays' memory; parameters contiguous, as a module's always are."""
        laid = [a if i < self.arguments or a.flags.c_contiguous else np.array(a, order="C") for i, a in enumerate(arrays)]
        known = zip(laid, self.held, self.run, self.devices, strict=True)
        return [to_tensor(a, dtype if a.dtype == held else None, device) for a, held, dtype, device in known]

    def _run(self, tensors: Sequence[Any]) -> list[Any]:
        """The floating-point outputs."""
        arguments = fill(self.skeleton, tensors[: self.arguments])
        with self._seed():
            out = self.function(*arguments) if self.module is None else self._call_module(arguments, tensors)
        if isinstance(out, self.torch.Tensor):
            self.packed = False
            return [out] if out.is_floating_point() or out.is_complex() else []
        self.packed = True
        leaves, _ = take_apart(out, lambda y: isinstance(y, self.torch.Tensor) and (y.is_floating_point() or y.is_complex()))
        return [y for _, y in leaves]

    def _call_module(self, arguments: Sequence[Any], tensors: Sequence[Any]) -> Any:
        given = tensors[self.arguments :]
        wide = next((t.dtype for t, d in zip(tensors, self.dtypes, strict=True) if t.dtype != d), None)
        if not given and not self.state:
            return self.module(*arguments)
        state = self.states.get(wide)
        if state is None:
            state = {n: t.to(wide, copy=True) if wide and t.is_floating_point() else t.clone() for n, t in self.state.items()}
            self.states[wide] = state
        versions = {n: t._version for n, t in state.items()}
        values = {**dict(zip(self.parameters, given, strict=True)), **state}
        try:
            return self.torch.func.functional_call(self.module, values, tuple(arguments))
        finally:
            if any(t._version != versions[n] for n, t in state.items()):
                del self.states[wide]

    def _random_state(self) -> list[Any]:
        return [self.torch.get_rng_state(), *(self.torch.cuda.get_rng_state(i) for i in self.cuda)]

    @contextlib.contextmanager
    def _seed(self) -> Iterator[None]:
        if not self.seeded:
            yield
            return
        with self.torch.random.fork_rng(devices=self.cuda):
            self.torch.manual_seed(SEED)
            yield

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        with self.torch.no_grad():
            tensors = self._tensors(inputs)
            outputs = tuple(to_array(y) for y in self._run(tensors))
        written_back(tensors, inputs)
        return outputs

    def _graph(self, inputs: Sequence[Array]) -> tuple[list[Any], list[Any]]:
        """(inputs, outputs) with autograd's graph between them."""
        leaves = self._tensors(inputs)
        for k in self.wrt:
            leaves[k].requires_grad_()
        with self.torch.enable_grad():
            try:
                return leaves, self._run(leaves)
            except RuntimeError as error:
                if "in-place" not in str(error):
                    raise
                moved = list(leaves)  # the code writes into an input, which autograd does not let a leaf be
                for k in self.wrt:
                    moved[k] = leaves[k].clone()
                return leaves, self._run(moved)

    def _pull(self, upstream: Sequence[Array], inputs: Sequence[Array], leaves: list[Any], outputs: list[Any]) -> Gradients:
        gradients: list[Array | None] = [None] * len(inputs)
        cotangents = [self._cotangent(u, y) for u, y in zip(upstream, outputs, strict=True)]
        live = [i for i, y in enumerate(outputs) if y.requires_grad]
        found: Sequence[Any] = [None] * len(self.wrt)
        if live:
            found = self.torch.autograd.grad(
                [outputs[i] for i in live], [leaves[k] for k in self.wrt], [cotangents[i] for i in live], allow_unused=True
            )
        for k, g in zip(self.wrt, found, strict=True):
            gradients[k] = np.zeros(inputs[k].shape, inputs[k].dtype) if g is None else to_array(g)
        written_back(cotangents, upstream)
        written_back(leaves, inputs)
        return tuple(gradients)

    def _cotangent(self, upstream: Array, output: Any) -> Any:
        like = to_tensor(upstream, None, output.device)
        return like if like.dtype == output.dtype else like.to(output.dtype)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        return self._pull(upstream, inputs, *self._graph(inputs))

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        graph = self._graph(inputs)
        self._graph(other)
        return self._pull(upstream, inputs, *graph)

    def jvp(self, tangents: Sequence[Array], inputs: Sequence[Array]) -> Arrays | None:
        """Forward-mode AD, if it was asked for (`forward_ad`)."""
        if not self.forward_ad:
            return None
        mode: Any = importlib.import_module("torch.autograd.forward_ad")
        with warnings.catch_warnings(), mode.dual_level():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own imports
            tensors = self._tensors(inputs)
            for k in self.wrt:
                tangent = to_tensor(tangents[k], None, tensors[k].device).to(tensors[k].dtype)
                tensors[k] = mode.make_dual(tensors[k], tangent)
            unpacked = [mode.unpack_dual(y) for y in self._run(tensors)]
            return tuple(to_array(self.torch.zeros_like(y) if t is None else t) for y, t in unpacked)

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        """Double backward. None if the code says that it has none (`once_differentiable`, an operation without a derivative)."""
        leaves, outputs = self._graph(self.inputs_copy())
        try:
            live = [g for g in self._differentiable(leaves, outputs, upstream) if g.requires_grad]
            if refuses(live):
                return None
            if live:
                zeros = [self.torch.zeros_like(g) for g in live]
                self.torch.autograd.grad(live, [leaves[k] for k in self.wrt], zeros, allow_unused=True)
        except RuntimeError as error:
            if "not implemented" in str(error) or "does not require grad" in str(error):
                return None
            raise
        return TorchGradient(self, upstream)

    def inputs_copy(self) -> list[Array]:
        return [np.array(x) for x in self.inputs]

    def _differentiable(self, leaves: list[Any], outputs: list[Any], upstream: Sequence[Array]) -> list[Any]:
        """The gradients of the inputs in `wrt`, with a graph of their own."""
        live = [i for i, y in enumerate(outputs) if y.requires_grad]
        wanted = [leaves[k] for k in self.wrt]
        found: Sequence[Any] = [None] * len(wanted)
        if live:
            # `once_differentiable` marks its results only if a gradient of these is required
            cotangents = [self._cotangent(np.array(upstream[i]), outputs[i]).requires_grad_() for i in live]
            found = self.torch.autograd.grad([outputs[i] for i in live], wanted, cotangents, create_graph=True, allow_unused=True)
        return [self.torch.zeros_like(x) if g is None else g for g, x in zip(found, wanted, strict=True)]


class TorchGradient(TorchSubject):
    """inputs -> gradients of the inputs in `wrt` at a fixed upstream gradient, with autograd's double backward."""

    def __init__(self, of: TorchSubject, upstream: Sequence[Array]) -> None:
        self.__dict__.update(of.__dict__)
        self.of, self.upstream = of, [np.array(u) for u in upstream]
        self.name, self.forward_ad = f"gradient of {of.name}", False
        self.try_out()
        self.packed = True

    def _run(self, tensors: Sequence[Any]) -> list[Any]:
        graph = self.torch.is_grad_enabled()
        with self.torch.enable_grad():
            leaves = list(tensors)
            for k in self.of.wrt:
                leaves[k] = leaves[k] if leaves[k].requires_grad else leaves[k].detach().requires_grad_()
            gradients = self.of._differentiable(leaves, self.of._run(leaves), self.upstream)
        return gradients if graph else [g.detach() for g in gradients]

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        return None
