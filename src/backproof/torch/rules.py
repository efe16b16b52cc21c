"""The derivatives of softmax and its kin, written once: for the nodes of torch's graph, and for the operators of its compiler.

`f` is either (`graph` or `operators`): each derivative is made of their functions, or of torch's own operations, so that it can be
differentiated as often as one likes. J = diag(h) - h h^T is softmax's Jacobian. It annihilates constants, so that a gradient with
respect to h may be changed by a constant along the classes: that of v^T J(h) u is, but for one, (u - <h, u>) (v - <h, v>).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor
Tensors = tuple[Tensor, ...]


class Rule(NamedTuple):
    """Both are given what is kept, the output or the inputs, then the upstream gradient or the tangents, and the dimension."""

    keeps_output: bool
    backward: Callable[[Any, Tensors, Tensor, int], Tensors]
    forward: Callable[[Any, Tensors, Any, int], Tensor]


def wide(x: Tensor) -> Tensor:
    return x.double()


def centred(h: Tensor, u: Tensor, dim: int) -> Tensor:
    """u - <h, u>, in double precision: differences of nearly equal numbers are what second derivatives are made of."""
    return wide(u) - (wide(h) * wide(u)).sum(dim, keepdim=True)


def _softmax_backward(f: Any, kept: Tensors, u: Tensor, dim: int) -> Tensors:
    return (f.softmax_vjp(kept[0], u, dim),)


def _softmax_forward(f: Any, kept: Tensors, tangents: Any, dim: int) -> Tensor:
    product: Tensor = f.softmax_vjp(kept[0], tangents[0], dim)
    return product


def _softmax_vjp_backward(f: Any, kept: Tensors, v: Tensor, dim: int) -> Tensors:
    h, u = kept
    return (centred(h, u, dim) * centred(h, v, dim)).to(h.dtype), f.softmax_vjp(h, v, dim)


def _softmax_vjp_forward(f: Any, kept: Tensors, tangents: Any, dim: int) -> Tensor:
    (h, u), (th, tu) = kept, tangents
    result: Tensor = torch.zeros_like(h) if tu is None else f.softmax_vjp(h, tu, dim)
    if th is None:
        return result
    moved = wide(th) * centred(h, u, dim)
    return result + (moved - wide(h) * moved.sum(dim, keepdim=True)).to(h.dtype)


def _log_softmax_backward(f: Any, kept: Tensors, u: Tensor, dim: int) -> Tensors:
    return (f.log_softmax_vjp(kept[0], u, dim),)


def _log_softmax_forward(f: Any, kept: Tensors, tangents: Any, dim: int) -> Tensor:
    return centred(wide(kept[0]).exp(), tangents[0], dim).to(kept[0].dtype)


def _log_softmax_vjp_backward(f: Any, kept: Tensors, v: Tensor, dim: int) -> Tensors:
    """The gradient of <v, u - h sum(u)> with respect to log h, and to u."""
    log_h, u = kept
    h = wide(log_h).exp()
    return (-(h * wide(v)) * wide(u).sum(dim, keepdim=True)).to(log_h.dtype), centred(h, v, dim).to(log_h.dtype)


def _log_softmax_vjp_forward(f: Any, kept: Tensors, tangents: Any, dim: int) -> Tensor:
    (log_h, u), (t_log, tu) = kept, tangents
    result: Tensor = torch.zeros_like(log_h) if tu is None else f.log_softmax_vjp(log_h, tu, dim)
    if t_log is None:
        return result
    return result - (wide(log_h).exp() * wide(t_log) * wide(u).sum(dim, keepdim=True)).to(log_h.dtype)


def _logsumexp_backward(f: Any, kept: Tensors, u: Tensor, dim: int) -> Tensors:
    """By the softmax of z itself: exp(z - logsumexp(z)) has lost what z has before the point."""
    return (f.softmax(kept[0], dim) * u.unsqueeze(dim),)


def _logsumexp_forward(f: Any, kept: Tensors, tangents: Any, dim: int) -> Tensor:
    return (wide(f.softmax(kept[0], dim)) * wide(tangents[0])).sum(dim).to(kept[0].dtype)


RULES = {
    "softmax": Rule(True, _softmax_backward, _softmax_forward),
    "softmax_vjp": Rule(False, _softmax_vjp_backward, _softmax_vjp_forward),
    "log_softmax": Rule(True, _log_softmax_backward, _log_softmax_forward),
    "log_softmax_vjp": Rule(False, _log_softmax_vjp_backward, _log_softmax_vjp_forward),
    "logsumexp": Rule(False, _logsumexp_backward, _logsumexp_forward),
}
