"""What is true: the formulas in 80-bit arithmetic (64 digits, eleven more than double), in the form that does not cancel.

`test_accuracy` compares these themselves with mpmath. ULP: units in the last place, of the dtype that was asked for, at the true
value; subnormal results count in the spacing of the smallest normal number's binade.
"""

from __future__ import annotations

from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

L = np.longdouble
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

if np.finfo(L).nmant < 63:
    pytest.skip("the truth needs 80-bit arithmetic", allow_module_level=True)


def ulps(got, true, dtype=None):
    """The largest error in units of the last place; where the true value overflows `dtype`, infinity is right."""
    got, true = np.asarray(got), np.asarray(true, L)
    info = ml_dtypes.finfo(dtype or got.dtype)
    exponent = np.floor(np.log2(np.maximum(np.abs(true), L(float(info.smallest_normal)))))
    unit = np.exp2(exponent) * L(float(info.eps))
    got = got.astype(L)
    with np.errstate(invalid="ignore"):
        error = np.where(got == true, L(0), np.abs(got - true) / unit)
    return float(error.max(initial=0))


class Truth(NamedTuple):
    softmax: np.ndarray
    log_softmax: np.ndarray
    logsumexp: np.ndarray
    others: np.ndarray  # s, kept dimension
    largest: np.ndarray  # k, kept dimension


def truth(z, axis=-1):
    z = np.moveaxis(np.asarray(z).astype(L), axis, -1)
    k = np.argmax(z, axis=-1)[..., None]
    top = np.take_along_axis(z, k, -1)
    d = z - top
    e = np.exp(d)
    np.put_along_axis(e, k, L(0), -1)
    s = np.sum(e, axis=-1, keepdims=True)
    np.put_along_axis(e, k, L(1), -1)
    back = lambda a: np.moveaxis(a, -1, axis)  # noqa: E731
    return Truth(back(e / (1 + s)), back(d - np.log1p(s)), (top + np.log1p(s))[..., 0], s, k)


def cross_entropy(z, t):
    """(values, gradients) for probabilities (or any weights) t (N, C); the entry at k as T h_k - t_k without the cancellation."""
    true, t = truth(z), np.asarray(t).astype(L)
    total = t.sum(axis=-1, keepdims=True)
    d = true.log_softmax + np.log1p(true.others)
    with np.errstate(invalid="ignore"):
        value = total[:, 0] * np.log1p(true.others[:, 0]) - np.where(t == 0, L(0), t * d).sum(axis=-1)
    gradient = total * true.softmax - t
    rest = t.copy()
    np.put_along_axis(rest, true.largest, L(0), -1)
    at_k = rest.sum(axis=-1, keepdims=True) - total * true.others / (1 + true.others)
    direct = np.take_along_axis(gradient, true.largest, -1)
    np.put_along_axis(gradient, true.largest, np.where(true.others < 1, at_k, direct), -1)
    return value, gradient


def one_hot(labels, classes):
    return (np.asarray(labels)[:, None] == np.arange(classes)).astype(np.float64)


# --- inputs: rows where peers lose digits -------------------------------------------------------------------------------------
def ordinary(dtype):
    rng = np.random.default_rng(7)
    n = rng.normal
    inputs = {
        "N(0,1), 10 classes": n(size=(200, 10)),
        "N(0,1), 1000 classes": n(size=(20, 1000)),
        "10 N(0,1)": 10 * n(size=(20, 1000)),
        "100 N(0,1)": 100 * n(size=(20, 1000)),
        "U[-80,0]": rng.uniform(-80, 0, (20, 1000)),
        "U[-700,0]": rng.uniform(-700, 0, (20, 1000)),
        "N(0,1), 262144 classes": n(size=(1, 262144)),
        "zeros": np.zeros((1, 262144)),
        "3 classes": n(size=(3000, 3)),
        "1 class": n(size=(5, 1)),
        "ties": np.repeat(n(size=(50, 7)), 3, axis=1),
        "offset 1e8": n(size=(50, 10)) + 1e8,
    }
    if dtype == np.float16:
        del inputs["offset 1e8"]
    return {name: z.astype(dtype) for name, z in inputs.items()}


def confident(dtype):
    """[gap, 0, ..., 0] and gap + N(0,1), gaps up to where the other probabilities leave the range of the dtype."""
    top = 700 if dtype == np.float64 else 9 if dtype == np.float16 else 85
    rng = np.random.default_rng(11)
    gaps = np.concatenate([np.linspace(0, top, 200), [1.5, 8, 10, 12, 15, 17, 20, 30, 37, 40]]).clip(0, top)
    flat = np.zeros((len(gaps), 10))
    noisy = rng.normal(size=(len(gaps), 10))
    flat[:, 0] = noisy[:, 3] = gaps
    return np.concatenate([flat, noisy]).astype(dtype)
