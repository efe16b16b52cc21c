"""Look inside a network: what its weights' gradients say of the layers between them.

At one sample, an output depends on a weight matrix W through the pre-activation z = u W alone, u being what enters the layer. Then
every row of W's Jacobian is one outer product, u (x) dy/dz, and so is every row of the claimed one: u is found, and with it the
Jacobian with respect to z, numerical and claimed. Moving z by dz is moving W by u dz / |u|^2. So the rest of the network behind
W becomes a Subject with the one input z, to which all rules apply: a softmax Jacobian applied twice behind three other layers
shows there as plainly as in a layer of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import Evaluator, is_float
from backproof.gradcheck.findings import Finding
from backproof.gradcheck.rules import diagnose
from backproof.gradcheck.subject import Arrays, Gradients, Subject
from backproof.gradcheck.values import WHOLE, Pair, analytical_jacobian, measure

SURE = 0.9  # findings less sure than this one are looked into
# what may lie between a sample and the next layer; by it the length of u is known, which the products leave open
ACTIVATIONS = (
    lambda z: z,
    np.tanh,
    lambda z: 0.5 * (1 + np.tanh(z / 2)),
    lambda z: np.maximum(z, 0),
    lambda z: np.logaddexp(0, z),
    lambda z: z * 0.5 * (1 + np.tanh(z / 2)),
    np.sin,
)


class Behind(Subject):
    """All that follows a weight matrix, as a function of its pre-activation z = U W + b, (n, h)."""

    def __init__(self, ev: Evaluator, inputs: Sequence[Array], k: int, entering: Array, z: Array, flipped: bool) -> None:
        self.ev, self.point, self.k, self.left, self.flipped = ev, list(inputs), k, np.linalg.pinv(entering), flipped
        self.name = f"what follows {ev.subject.names[k]}"
        self.inputs, self.names, self.wrt, self.arguments = (z,), (f"the pre-activation behind {ev.subject.names[k]}",), (0,), 1

    def _at(self, z: Array) -> list[Array]:
        change = self.left @ (np.asarray(z, dtype=np.float64) - self.inputs[0])
        return self.ev.perturbed(self.k, self.point[self.k] + (change.T if self.flipped else change), self.point)

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        return tuple(y for y in self.ev.forward(self._at(inputs[0])) if is_float(y))

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        given, there = iter(upstream), self._at(inputs[0])
        whole = [next(given) if is_float(y) else np.zeros_like(y) for y in self.ev.forward(there)]
        grad = self.ev.backward(whole, there)[self.k]
        if grad is None:
            return (None,)
        matrix = np.asarray(grad, dtype=np.float64)
        return (self.left.T @ (matrix.T if self.flipped else matrix),)


def opened(ev: Evaluator, pairs: dict[int, Pair]) -> list[Finding]:
    """Findings about the layers behind the weights whose gradients are wrong; the surest only."""
    wrong = [k for k, p in pairs.items() if p.x.ndim == 2 and p.wrong.any()]
    best: list[Finding] = []
    for inputs in (*_one_sample(ev), list(ev.point)) if wrong else ():
        try:
            if not _is_first_sample(ev, inputs):
                continue
            best = [f for k in wrong for f in _behind(ev, inputs, k)]
        except Exception:  # the code does not take one sample
            continue
        if best:
            break
    return sorted(best, key=lambda f: -f.confidence)[:1]


def _one_sample(ev: Evaluator) -> Iterator[list[Array]]:
    """The inputs with the first sample of the batch alone: of all arrays of its length, or of the first and of whole numbers."""
    size = ev.point[0].shape[:1]
    for everything in (True, False):
        yield [
            x[:1] if x.shape[:1] == size and k < ev.subject.arguments and (everything or k == 0 or x.dtype.kind in "iub") else x
            for k, x in enumerate(ev.point)
        ]


def _is_first_sample(ev: Evaluator, inputs: list[Array]) -> bool:
    """Whether outputs that have a batch axis are those of the whole batch, first row; not so where a weight was cut by mistake."""
    batch = ev.point[0].shape[:1]
    return all(a is b for a, b in zip(inputs, ev.point, strict=True)) or all(
        whole.shape[:1] != batch or (one.shape == (1, *whole.shape[1:]) and np.allclose(one, whole[:1], rtol=1e-6))
        for one, whole in zip(ev.forward(inputs), ev.forward(ev.point), strict=True)
    )


def _behind(ev: Evaluator, inputs: list[Array], k: int) -> list[Finding]:
    claimed = _jacobian(ev, inputs, k)
    if claimed is None or len(claimed) > WHOLE:
        return []
    p = measure(ev, k, claimed, inputs)
    for flipped in (False, True):
        j, a = (np.swapaxes(m, 1, 2) if flipped else m for m in (x.reshape(-1, *p.x.shape) for x in (p.numerical, p.analytical)))
        if min(p.x.shape) < 2 or (entering := _entering(inputs, j, a)) is None:
            continue
        back = np.linalg.pinv(entering).T
        z = entering @ (p.x.T if flipped else p.x) + _bias(ev, inputs, (back @ j).sum(axis=1))
        stage = Evaluator(Behind(ev, inputs, k, entering, z, flipped))
        found = _diagnosed(stage, _others(ev, inputs, k))
        return [dataclasses.replace(f, input=k, name=p.name, where=f"behind {p.name}: {f.where}") for f in found]
    return [] if (lost := _used_once(p)) is None else [lost]


def _entering(inputs: list[Array], j: Array, a: Array) -> Array | None:
    """U (n, d) with J = U^T dz and A = U^T dz' for every output: one sample, found from the products, or a batch that is known."""
    d = j.shape[1]
    vectors, sizes, _ = np.linalg.svd(np.swapaxes(j, 0, 1).reshape(d, -1), full_matrices=False)
    guesses = [u for u in _guesses(inputs, d) if len(u) < d and np.linalg.matrix_rank(u) == len(u)]  # with d rows all fits
    if sizes[0] and (sizes[1:] <= 1e-6 * sizes[0]).all():
        u = vectors[:, :1].T  # of length 1, unless what it is tells its length
        same = [g for g in guesses if len(g) == 1 and abs(abs((g @ u.T).item()) / np.linalg.norm(g) - 1) < 1e-10]
        guesses = [*same, u]
    for u in guesses:
        onto = np.linalg.pinv(u) @ u  # the projection on the rows of U
        if all(np.abs(m - onto @ m).max() <= 1e-6 * np.abs(m).max() for m in (j, a)):
            return np.asarray(u)
    return None


def _used_once(p: Pair) -> Finding | None:
    """At one sample each row of J is a sum of outer products (time steps, tied layers), and each of A is one."""
    j, a = (m.reshape(-1, *p.x.shape) for m in (p.numerical, p.analytical))
    if min(p.x.shape) < 2 or not np.any(a):
        return None
    uses = np.linalg.matrix_rank(j, tol=1e-6 * np.abs(j).max())
    if uses.min() < 2 or np.linalg.matrix_rank(a, tol=1e-9 * np.abs(a).max()).max() > 1:
        return None
    return Finding(
        "missing-accumulation",
        0.9,
        p.input,
        p.name,
        f"{p.name} is used several times on the way to the output of one sample, and your gradient is that of one use",
        "add the gradients of all uses (time steps, tied layers): dW += ..., do not overwrite",
        {"counted": 1},
        p.name,
    )


def _jacobian(ev: Evaluator, inputs: list[Array], k: int) -> Array | None:
    """The claimed Jacobian of input k there; the outputs may have other shapes than at the point of the check."""
    outputs = ev.forward(inputs)
    floats = [i for i, y in enumerate(outputs) if is_float(y)]
    rows = []
    for i in floats:
        for at in range(outputs[i].size):
            upstream = [np.zeros_like(y) for y in outputs]
            upstream[i].flat[at] = 1.0
            grad = ev.backward(upstream, inputs)[k]
            if grad is None or grad.shape != inputs[k].shape:
                return None
            rows.append(np.asarray(grad, dtype=np.float64).ravel())
    return np.array(rows)


def _guesses(inputs: list[Array], size: int) -> Iterator[Array]:
    """Batches of `size` numbers a sample that may enter a layer: an input, or an activation of the first layer of one."""
    floats = [np.asarray(x, dtype=np.float64) for x in inputs if is_float(x) and x.ndim]
    vectors = [x for x in floats if x.ndim == 1]
    for x in (v.reshape(-1, v.shape[-1]) for v in floats if v.ndim <= 2):
        entering = [x]
        for w in (v for m in floats if m.ndim == 2 for v in (m, m.T)):
            if w.shape == (x.shape[1], size):
                entering += [x @ w, *(x @ w + b for b in vectors if b.size == size)]
        for v in entering:
            for f in ACTIVATIONS if v.shape[1] == size else ():
                with np.errstate(all="ignore"):
                    guess = f(v)
                if np.isfinite(guess).all() and guess.any():
                    yield np.asarray(guess)


def _bias(ev: Evaluator, inputs: list[Array], j: Array) -> Array | float:
    """The input that is added to the pre-activation: its Jacobian is that of z."""
    for i in ev.subject.wrt:
        x = inputs[i]
        if x.size == j.shape[1] and x.ndim <= 2:
            q = measure(ev, i, None, inputs).numerical
            if np.abs(q - j).max() <= 1e-6 * np.abs(j).max():
                return np.asarray(x, dtype=np.float64).ravel()
    return 0.0


def _others(ev: Evaluator, inputs: list[Array], k: int) -> dict[int, Pair]:
    small = [i for i in ev.subject.wrt if i != k and 0 < inputs[i].size <= WHOLE]
    return {i: measure(ev, i, None, inputs) for i in small}


def _diagnosed(stage: Evaluator, others: dict[int, Pair]) -> list[Finding]:
    claimed = analytical_jacobian(stage, [0])
    if claimed is None:
        return []
    p = measure(stage, 0, claimed[0])
    if not p.wrong.any():
        return []
    p.others = {-1 - i: q for i, q in others.items()}  # the stage's own input has position 0
    return [f for f in diagnose(p)[:1] if f.cause != "unknown" and f.confidence >= 0.6]
