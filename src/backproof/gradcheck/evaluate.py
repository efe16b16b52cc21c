"""Calls of a Subject: counted, silent, on copies, in the precision that the numerical derivative needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.subject import Arrays, Gradients, Subject

EPS = float(np.finfo(np.float64).eps)


@contextmanager
def silent() -> Iterator[None]:
    """No floating-point warnings from the code under test: it is called at points where they are to be expected."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_float(array: Array) -> bool:
    """Real floating point (bfloat16 of ml_dtypes has kind "V")."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def spacing(dtype: np.dtype) -> float:
    """Relative spacing of a float dtype."""
    return 2.0**-7 if dtype.name == "bfloat16" else float(np.finfo(dtype).eps)


class Evaluator:
    """A subject at its point. `point` are the inputs that values are compared at: up-cast to float64 where the code lets itself be.

    epsilon is the relative precision of the forward there, backward_epsilon that of the backward.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.calls = {"forward": 0, "backward": 0, "jvp": 0}
        self.given: Arrays = tuple(np.array(x) for x in subject.inputs)
        self.upcast = False
        self.outputs = self.forward(self.given)
        self.floats = [k for k, y in enumerate(self.outputs) if is_float(y)]
        self.point, self.epsilon = self._point()
        self.backward_epsilon = max([EPS, *(spacing(x.dtype) for x in self.point if is_float(x))])
        self.shapes = [self.outputs[k].shape for k in self.floats]
        self.center = self.flat(self.point)
        self.sizes = [int(np.prod(s)) for s in self.shapes]

    def forward(self, inputs: Sequence[Array]) -> Arrays:
        self.calls["forward"] += 1
        with silent():
            return self.subject.forward([_copy(x) for x in inputs])

    def backward(self, upstream: Sequence[Array], inputs: Sequence[Array]) -> Gradients:
        """Gradients at copies of `inputs`; what comes back is copied too, because a buffer may be used again."""
        self.calls["backward"] += 1
        with silent():
            grads = self.subject.backward([_copy(g) for g in upstream], [_copy(x) for x in inputs])
        return tuple(None if g is None else np.array(g) for g in grads)

    def flat(self, inputs: Sequence[Array]) -> Array:
        """All floating-point outputs, one after the other, in float64."""
        return self.join(self.forward(inputs))

    def join(self, outputs: Sequence[Array]) -> Array:
        parts = [np.asarray(outputs[k], dtype=np.float64).ravel() for k in self.floats]
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)

    def split(self, flat: Array, given: bool = False) -> list[Array]:
        """The inverse of `join`, in the dtypes of the outputs at `point` (or `given`); zeros for outputs that are not floating."""
        upstream = []
        at = 0
        for k, y in enumerate(self.outputs):
            if k in self.floats:
                size = int(np.prod(y.shape))
                dtype = np.float64 if self.upcast and not given else y.dtype
                upstream.append(flat[at : at + size].reshape(y.shape).astype(dtype))
                at += size
            else:
                upstream.append(np.zeros(y.shape, y.dtype))
        return upstream

    def vjp(self, flat: Array, inputs: Sequence[Array] | None = None) -> Gradients:
        inputs = self.point if inputs is None else inputs
        return self.backward(self.split(flat, given=inputs is self.given), inputs)

    def perturbed(self, k: int, value: Array, inputs: Sequence[Array] | None = None) -> list[Array]:
        changed = list(self.point if inputs is None else inputs)
        changed[k] = value
        return changed

    def line(self, k: int, direction: Array, inputs: Sequence[Array] | None = None) -> Callable[[Array], tuple[Array, Array]]:
        """Outputs along `direction` of input k; for a single coordinate the steps returned are those really taken."""
        inputs = self.point if inputs is None else inputs
        x = inputs[k]
        wide = np.asarray(x, dtype=np.float64)
        moved = np.flatnonzero(direction)
        single = len(moved) == 1

        def along(steps: Array) -> tuple[Array, Array]:
            taken, values = np.empty(len(steps)), []
            for i, h in enumerate(steps):
                there = (wide + h * direction).astype(x.dtype)
                taken[i] = (float(there.flat[moved[0]]) - float(wide.flat[moved[0]])) / direction.flat[moved[0]] if single else h
                values.append(self.flat(self.perturbed(k, there, inputs)))
            taken[taken == 0] = np.nan
            return taken, np.array(values)

        return along

    def _point(self) -> tuple[Arrays, float]:
        """The inputs in float64 if the function computes in float64 then, and says the same as before."""
        lowest = max([EPS, *(spacing(x.dtype) for x in self.given if is_float(x))])
        out = max([EPS, *(spacing(self.outputs[k].dtype) for k in self.floats)])
        if lowest > EPS:
            wide = tuple(x.astype(np.float64) if is_float(x) else x for x in self.given)
            try:
                outputs = self.forward(wide)
                same = len(outputs) == len(self.outputs) and all(
                    outputs[k].dtype == np.float64 and _alike(outputs[k], self.outputs[k], 1e4 * max(lowest, out))
                    for k in self.floats
                )
            except Exception:  # code that takes float32 only: measured as it is
                same = False
            if same:
                self.upcast = True
                return wide, self._noise(wide, EPS)
        return self.given, self._noise(self.given, max(out, lowest if lowest > EPS else EPS))

    def _noise(self, inputs: Arrays, epsilon: float) -> float:
        """The relative noise of the forward: `epsilon`, unless small moves show that it rounds more coarsely inside (a cast to
        float32)."""
        if not self.subject.wrt:
            return epsilon
        base = [np.asarray(x, dtype=np.float64) for x in inputs]
        rng = np.random.default_rng(12)
        moves = {k: rng.normal(size=base[k].shape) * np.where(base[k] == 0, 1.0, np.abs(base[k])) for k in self.subject.wrt}

        def moved(by: float) -> Array:
            there = [(base[k] + by * moves[k]).astype(inputs[k].dtype) if k in moves else inputs[k] for k in range(len(inputs))]
            return self.join(self.forward(there))

        if epsilon > EPS:  # half precision hidden in single: that is told by the digits of the outputs
            return max(epsilon, granularity(np.concatenate([moved(by) for by in (0.0, 0.01, -0.02)])))
        return max(epsilon, 2.0**-23) if _staircase(moved) or _noisy(moved) else epsilon


def _staircase(moved: Callable[[float], Array]) -> bool:
    """Whether most outputs stand still under moves that float32 does not see, and move with those that it sees."""
    here, tiny, seen, far = (moved(by) for by in (0.0, 1e-12, 3e-6, 1e-4))
    with np.errstate(all="ignore"):
        due = np.abs(far - here) * 1e-8 > 64 * EPS * np.abs(here)  # the change that a smooth output would show at 1e-12
    still = due & (tiny == here) & (seen != here)
    return bool(due.any()) and 2 * int(still.sum()) > int(due.sum())


def _noisy(moved: Callable[[float], Array]) -> bool:
    """Fourth differences of equally spaced points cancel what is smooth and keep rounding (Hamming's table; More & Wild 2011)."""
    levels = []
    for spacing_ in (1e-7, 2e-8):  # noise stays as it is when the points move together; a kink's trace shrinks with them
        values = np.array([moved(i * spacing_) for i in range(-2, 3)])
        with np.errstate(all="ignore"):
            fourth = np.abs(np.diff(values, n=4, axis=0)[0]) / np.sqrt(70.0)  # sum of the squared binomials 1 4 6 4 1
            relative = fourth / np.abs(values).max(axis=0)
        relative = relative[np.isfinite(relative)]
        levels.append(float(np.median(relative)) if relative.size else 0.0)
        if levels[-1] <= 1e-9:
            return False
    return levels[1] > 0.3 * levels[0] and levels[0] < 1e-5


def granularity(numbers: Array | None) -> float:
    """The precision that the numbers themselves have: 1 for integers, 2^-23 if float32 holds each of them, and so on."""
    if numbers is None or not numbers.size:
        return EPS
    if not is_float(numbers):
        return 1.0
    values = np.unique(np.abs(np.asarray(numbers, dtype=np.float64)))
    with np.errstate(all="ignore"):
        for dtype, epsilon, bits in ((np.float16, 2.0**-10, 6), (np.float32, 2.0**-23, 11)):
            mantissas = np.frexp(values)[0] * 2.0**bits
            telling = np.isfinite(values) & (mantissas != np.round(mantissas))  # others, as 0.125, are in every precision
            if telling.sum() >= 8 and np.array_equal(values[telling].astype(dtype).astype(np.float64), values[telling]):
                return epsilon
    return max(EPS, spacing(numbers.dtype))


def _copy(x: Array) -> Array:
    return np.array(x, copy=True)


def _alike(a: Array, b: Array, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    scale = float(np.abs(a[np.isfinite(a)]).max(initial=1e-30))
    with np.errstate(all="ignore"):
        return bool(np.all((np.abs(a - b) <= tolerance * scale) | (a == b) | ~np.isfinite(b)))
