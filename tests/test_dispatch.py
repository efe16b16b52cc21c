"""The table of kernels: a fast module is plugged in by a row, gets only arrays that it takes, and need not be there."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest

from backproof import functional as F
from backproof.kernels import dispatch, reference, reference_losses

Z = np.random.default_rng(0).normal(size=(6, 5))
CALLS = []


def imitation() -> types.ModuleType:
    """A kernel module with the interface of the compiled one, which writes down what it is asked."""
    module = types.ModuleType("imitated_kernels")

    def along(name):
        def kernel(*arguments):
            *arrays, axis, out = arguments
            CALLS.append(name)
            assert axis >= 0
            assert all(isinstance(a, np.ndarray) and a.dtype == out.dtype for a in arrays)
            out[...] = getattr(reference, name)(*arrays, axis)

        return kernel

    def logsumexp(z, axis):
        CALLS.append("logsumexp")
        return reference.logsumexp(z, axis)

    def cross_entropy(z, target, *, scale, loss, grad, **options):
        CALLS.append("cross_entropy")
        assert z.ndim == 2
        assert target.dtype == (np.int64 if target.ndim == 1 else np.float64)
        loss[...], slopes = reference_losses.cross_entropy(z, target, reference_losses.Options(**options))
        if grad is not None:
            grad[...] = dispatch.scaled(slopes, scale, z.dtype)

    for name in ("softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp"):
        setattr(module, name, along(name))
    module.logsumexp, module.cross_entropy = logsumexp, cross_entropy
    return module


@pytest.fixture
def plugged_in(monkeypatch):
    monkeypatch.setitem(sys.modules, "imitated_kernels", imitation())
    monkeypatch.setattr(dispatch, "TABLE", (dispatch.Kernels("fast", "imitated_kernels", dispatch._native_floats), *dispatch.TABLE))
    CALLS.clear()
    with dispatch.only("fast"):
        yield


def everything(z, labels):
    out = z.copy(order="K")
    moved = np.moveaxis(z, 0, -1).copy()
    return [
        F.softmax(z),
        F.softmax(out, out=out),
        F.log_softmax(z, axis=0),
        F.logsumexp(z),
        F.softmax_vjp(z, z[::-1]),
        F.log_softmax_vjp(z, z),
        F.logsumexp_vjp(z, z[:, 0]),
        F.softmax(z, axis=None),
        *F.cross_entropy_and_grad(z, labels, weight=np.arange(1.0, 6), sample_weight=z[:, 0] ** 2, z_loss=0.1),
        *F.cross_entropy_and_grad(moved, np.abs(moved), axis=0, out=moved),
        F.cross_entropy(z, labels, ignore_index=2),
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fast_module_is_used_and_right(plugged_in, dtype):
    z, labels = Z.astype(dtype), np.arange(6, dtype=np.int8) % 5
    results = everything(z, labels)
    assert set(CALLS) == {"softmax", "log_softmax", "logsumexp", "softmax_vjp", "log_softmax_vjp", "cross_entropy"}
    with dispatch.only("reference"):
        expected = everything(z, labels)
    for ours, true in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours, true, rtol=2 * np.finfo(dtype).eps)


def test_it_is_not_asked_for_what_it_does_not_take(plugged_in):
    for z in (Z.astype(np.float16), Z.astype(complex), np.zeros((0, 3)), np.zeros((3, 0)), Z[:0]):
        F.softmax(z)
    F.softmax_vjp(Z, Z.astype(np.float32))
    F.cross_entropy(Z + 0j, Z * 1j)
    assert CALLS == []


def test_without_numba_it_is_said_once(monkeypatch):
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name == "needs_numba":
                raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    monkeypatch.setattr(dispatch, "TABLE", (dispatch.Kernels("fast", "needs_numba", dispatch._native_floats), *dispatch.TABLE))
    with dispatch.only("fast"):
        with pytest.warns(UserWarning, match="numba is not installed"):
            first = F.softmax(Z)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(F.softmax(Z), first)
    with dispatch.only("reference"):
        assert np.array_equal(F.softmax(Z), first)
