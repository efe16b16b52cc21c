"""The smallest case that still fails, as lines of Python."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np

from backproof.arrays import Array
from backproof.gradcheck.evaluate import is_float
from backproof.gradcheck.subject import Subject

LARGEST = 400  # entries of all inputs together that are still cut down and printed
# library -> what makes an array of a list there, and the dtypes that it makes by itself
MADE_BY = {
    "np": ("np.array", ("float64", "int64", "bool")),
    "torch": ("torch.tensor", ("float32", "int64", "bool")),
    "jnp": ("jnp.array", ("float32", "int32", "bool")),
}


def smallest(subject: Subject, fails: Callable[[Subject], bool]) -> Subject:
    """Cut axes of one length together and round the numbers, as far as `fails` stays true."""
    if subject.arguments != len(subject.inputs) or sum(x.size for x in subject.inputs) > LARGEST:
        return subject
    for length in sorted({s for x in subject.inputs for s in x.shape if s > 2}, reverse=True):
        for size in (2, 3, 4):
            if size >= length:
                break
            cut = _at(subject, [_cut(x, length, size) for x in subject.inputs])
            if fails(cut):
                subject = cut
                break
    for digits in (0, 1, 2, 3):
        rounded = _at(subject, [_rounded(x, digits) if is_float(x) else x for x in subject.inputs])
        if fails(rounded):
            return rounded
    return subject


def lines(subject: Subject) -> str:
    """Python that repeats the check at the subject's inputs."""
    if sum(x.size for x in subject.inputs[: subject.arguments]) > LARGEST:
        return subject.replay()
    made, (array, usual) = [], MADE_BY[subject.library]
    for name, x in zip(subject.names, subject.inputs[: subject.arguments], strict=False):
        if not name.isidentifier():
            return subject.replay()
        dtype = "" if x.dtype.name in usual else f", dtype={subject.library}.{x.dtype.name}"
        numbers = repr(x.tolist()).replace("nan", "np.nan").replace("inf", "np.inf")
        made.append(f"{name} = {array}({numbers}{dtype})")
    return "\n".join([*made, subject.replay()])


def _cut(x: Array, length: int, size: int) -> Array:
    cut = x[tuple(slice(0, size) if s == length else slice(None) for s in x.shape)]
    return np.minimum(cut, size - 1) if x.dtype.kind in "iu" else cut


def _rounded(x: Array, digits: int) -> Array:
    rounded: Array = np.round(x, digits).astype(x.dtype) + x.dtype.type(0)  # -0.0 becomes 0.0
    return rounded


def _at(subject: Subject, inputs: list[Array]) -> Subject:
    """The same code at other inputs."""
    other = copy.copy(subject)
    other.inputs = tuple(inputs)
    return other
