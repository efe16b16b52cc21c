"""A pytest plugin that puts our functions where SciPy's tests expect SciPy's; `test_peers_scipy` runs it in a process of its own.

SciPy's logsumexp takes factors b and returns signs; the shim has the logarithm of the positive and the negative terms computed by
ours, each as logsumexp(a + log|b|), and combines them: log|exp(p) - exp(n)|.
"""

from __future__ import annotations

import os

import numpy as np

from backproof import functional as F
from backproof.kernels import dispatch


def pytest_configure(config):
    config.only = dispatch.only(os.environ["BACKPROOF_KERNELS"])
    config.only.__enter__()


def pytest_unconfigure(config):
    config.only.__exit__(None, None, None)


def pytest_collection_modifyitems(items):
    import scipy.special.tests.test_logsumexp as module

    module.logsumexp, module.softmax, module.log_softmax = logsumexp, softmax, log_softmax


def softmax(x, axis=None):
    return F.softmax(x, axis=axis)


def log_softmax(x, axis=None):
    return F.log_softmax(x, axis=axis)


def logsumexp(a, axis=None, b=None, keepdims=False, return_sign=False):
    a = np.asarray(a)
    if b is None:
        value = np.asarray(F.logsumexp(a, axis=axis))
        sign = np.exp(1j * value.imag) if np.iscomplexobj(value) else np.where(np.isnan(value), value, np.sign(np.exp(value)))
    elif np.iscomplexobj(a) or np.iscomplexobj(b):
        b = np.asarray(b).astype(np.result_type(a, b))
        value = np.asarray(F.logsumexp(*np.broadcast_arrays(a + np.log(b)), axis=axis))
        sign = np.exp(1j * value.imag)
    else:
        value, sign = _signed(a, np.asarray(b), axis)
    if return_sign:
        value = value.real
    elif not np.iscomplexobj(value):
        value = np.where(sign < 0, value.dtype.type(np.nan), value)
    if keepdims:
        shape = np.sum(np.atleast_1d(a), axis=axis, keepdims=True).shape
        value, sign = value.reshape(shape), sign.reshape(shape)
    sign = sign.astype(np.result_type(value, sign), copy=False)
    return (value[()], sign[()]) if return_sign else value[()]


def _signed(a, b, axis):
    dtype = np.result_type(a, b)
    a, b = np.broadcast_arrays(a, b.astype(dtype if dtype.kind == "f" else np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = a + np.log(np.abs(b))
    plus, minus = (F.logsumexp(np.where(b * s > 0, terms, -np.inf), axis=axis) for s in (1, -1))
    top, less = np.maximum(plus, minus), np.minimum(plus, minus)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(less == -np.inf, top, top + np.log1p(-np.exp(less - top)))
    return value, np.sign(np.nan_to_num(np.asarray(plus), posinf=1e308) - np.nan_to_num(np.asarray(minus), posinf=1e308))
