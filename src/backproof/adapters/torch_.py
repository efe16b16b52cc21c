"""Torch functions, autograd Functions and modules: their own backward against numerical derivatives of their forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from backproof._errors import ArgumentTypeError
from backproof.adapters.functions import argument_names, first_call
from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Arrays, Gradients, Subject


class TorchSubject(Subject):
    """NumPy arrays share their memory with the tensors that the code sees, so that a write in place shows. bfloat16 is held as float32."""

    none_is_zero = True

    def __init__(self, target: Any, inputs: Sequence[Any]) -> None:
        import torch

        if isinstance(target, type) and issubclass(target, torch.autograd.Function):
            target = target.apply
        self.target = target
        self.name = getattr(target, "__qualname__", type(target).__name__).removesuffix(".apply")
        tensors = [x if isinstance(x, torch.Tensor) else torch.as_tensor(np.asarray(x)) for x in inputs]
        self.module = target if isinstance(target, torch.nn.Module) else None
        named = [(n, p) for n, p in self.module.named_parameters() if p.requires_grad] if self.module is not None else []
        self.parameters = [n for n, _ in named]
        tensors += [p for _, p in named]
        for i, t in enumerate(tensors):
            if t.is_complex():
                raise ArgumentTypeError(f"input {i}: expected real numbers, received {t.dtype}; complex functions are not supported")
        self.dtypes = [t.dtype for t in tensors]
        self.place = tensors[0].device if tensors else torch.device("cpu")
        self.device = str(self.place)
        self.arguments = len(inputs)
        self.inputs = tuple(_array(t) for t in tensors)
        self.wrt = tuple(k for k, t in enumerate(tensors) if t.is_floating_point())
        self.names = (*argument_names(self.module.forward if self.module is not None else target, self.arguments), *self.parameters)
        self.kept: tuple[Any, dict[str, Any]] | None = None
        with torch.no_grad():
            out = first_call(self.name, lambda *x: self._arrays(self._run(self._tensors(x))), self.inputs)
        self.packed = len(out) > 1
        self.which: list[int] = []

    def _tensors(self, arrays: Sequence[Array]) -> list[Any]:
        import torch

        made = []
        for a, dtype in zip(arrays, self.dtypes, strict=True):
            if not a.flags.writeable or any(s < 0 for s in a.strides):
                a = np.array(a)
            t = torch.from_numpy(a) if isinstance(a, np.ndarray) and a.ndim else torch.as_tensor(a)
            if dtype == torch.bfloat16 and t.dtype == torch.float32:
                t = t.to(dtype)
            made.append(t.to(self.place))
        return made

    def _run(self, tensors: list[Any]) -> list[Any]:
        import torch

        if self.module is None:
            out = self.target(*tensors)
        else:
            state = dict(zip(self.parameters, tensors[self.arguments :], strict=True))
            wide = next((t.dtype for t in tensors if t.is_floating_point()), torch.float32)
            for n, b in self.module.named_buffers():
                state[n] = b.detach().clone().to(wide) if b.is_floating_point() else b.detach().clone()
            out = torch.func.functional_call(self.module, state, tuple(tensors[: self.arguments]))
        parts = list(out) if isinstance(out, tuple | list) else [out]
        return [y for y in parts if isinstance(y, torch.Tensor)]

    @staticmethod
    def _arrays(tensors: list[Any]) -> tuple[Array, ...]:
        return tuple(_array(t) for t in tensors)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        import torch

        with torch.no_grad():
            return self._arrays(self._run(self._tensors(inputs)))

    def _graph(self, inputs: Sequence[Array]) -> tuple[list[Any], list[Any]]:
        tensors = self._tensors(inputs)
        for k in self.wrt:
            tensors[k] = tensors[k].detach().requires_grad_()
        given = list(tensors)
        try:
            return given, self._run(tensors)
        except RuntimeError as error:
            if "in-place" not in str(error):
                raise
            for k in self.wrt:  # the code writes into a leaf: let it, on a copy
                tensors[k] = given[k] * 1
            return given, self._run(tensors)

    def _grads(self, given: list[Any], out: list[Any], upstream: Sequence[Array]) -> Gradients:
        import torch

        pairs = [(y, torch.from_numpy(np.asarray(u)) if np.ndim(u) else torch.as_tensor(u)) for y, u in zip(out, upstream, strict=True) if y.requires_grad]
        result: list[Array | None] = [None] * len(given)
        if pairs:
            ys, us = [y for y, _ in pairs], [u.to(y.device, y.dtype) if u.dtype != y.dtype else u.to(y.device) for y, u in pairs]
            grads = torch.autograd.grad(ys, [given[k] for k in self.wrt], us, allow_unused=True)
            for k, g in zip(self.wrt, grads, strict=True):
                result[k] = None if g is None else _array(g)
        for k in self.wrt:
            if result[k] is None:
                result[k] = np.zeros(given[k].shape, self.inputs[k].dtype)
        return tuple(result)

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        given, out = self._graph(inputs)
        return self._grads(given, out, upstream)

    def backward_after(self, upstream: Sequence[Array], inputs: Sequence[Array], other: Sequence[Array]) -> Gradients | None:
        given, out = self._graph(inputs)
        self._graph(other)
        return self._grads(given, out, upstream)

    def second_order(self, upstream: Sequence[Array]) -> Subject | None:
        import torch

        fixed = [torch.from_numpy(np.array(u)) for u in upstream]

        def gradient(*tensors: Any) -> Any:
            with torch.enable_grad():
                moved = [t if t.requires_grad else t.detach().requires_grad_() if t.is_floating_point() else t for t in tensors]
                out = [y for y in self._run(list(moved)) if y.requires_grad]
                us = [u.to(y.dtype) for y, u in zip(out, fixed, strict=False)]
                wrt = [moved[k] for k in self.wrt]
                grads = torch.autograd.grad(out, wrt, us, create_graph=True, allow_unused=True)
                return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(grads, wrt, strict=True))

        gradient.__name__ = f"gradient of {self.name}"
        return TorchSubject(gradient, [torch.from_numpy(np.array(x)) for x in self.inputs])


def _array(t: Any) -> Array:
    import torch

    t = t.detach()
    if t.dtype == torch.bfloat16:
        t = t.float()
    return np.asarray(t.resolve_conj().resolve_neg().cpu().numpy())


def is_torch(target: Any, inputs: Sequence[Any]) -> bool:
    import sys

    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return (
        any(isinstance(x, torch.Tensor) for x in inputs)
        or isinstance(target, torch.nn.Module)
        or (isinstance(target, type) and issubclass(target, torch.autograd.Function))
    )


__all__ = ["TorchSubject", "is_float", "is_torch"]
