"""The same numbers give the same bits: along any axis, with any strides, in any order, in any company, and in place."""

from __future__ import annotations

import numpy as np
import pytest

from backproof import functional as F

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])


def rows(dtype, n=60, classes=37):
    rng = np.random.default_rng(3)
    return (rng.normal(size=(n, classes)) * rng.choice([0.1, 1, 10], (n, 1))).astype(dtype)


def functions(z):
    """(name, function of (array, axis) to an array of the same shape) for everything that works along an axis."""
    u = rows(z.dtype.type, *z.shape)[::-1]
    labels = np.arange(z.shape[0]) % z.shape[1]
    t = np.abs(u) / 8

    def with_upstream(f, make):
        return lambda a, axis: f(make(a, axis), np.moveaxis(u, -1, axis), axis=axis)

    def of_labels(a, axis):
        return F.cross_entropy_and_grad(a, labels, axis=axis, reduction="sum", label_smoothing=0.1)[1]

    return {
        "softmax": lambda a, axis: F.softmax(a, axis=axis),
        "log_softmax": lambda a, axis: F.log_softmax(a, axis=axis),
        "softmax_vjp": with_upstream(F.softmax_vjp, lambda a, axis: F.softmax(a, axis=axis)),
        "log_softmax_vjp": with_upstream(F.log_softmax_vjp, lambda a, axis: F.log_softmax(a, axis=axis)),
        "logsumexp_vjp": lambda a, axis: F.logsumexp_vjp(a, u[:, 0], axis=axis),
        "cross_entropy": of_labels,
        "cross_entropy of probabilities": lambda a, axis: F.cross_entropy_and_grad(a, np.moveaxis(t, -1, axis), axis=axis)[1],
        "kl_divergence": lambda a, axis: F.kl_divergence_and_grad(a, target_logits=np.moveaxis(u, -1, axis), axis=axis)[1],
    }


@DTYPES
def test_axis_and_strides(dtype):
    z = rows(dtype)
    wide = np.zeros((120, 74), dtype)
    wide[::2, ::2] = z
    backwards = np.ascontiguousarray(z[::-1, ::-1])[::-1, ::-1]
    locked = z.copy()
    locked.flags.writeable = False
    unaligned = np.frombuffer(b"x" + z.tobytes(), dtype, offset=1).reshape(z.shape)
    for name, call in functions(z).items():
        expected = call(z, -1)
        for other in (wide[::2, ::2], backwards, np.asfortranarray(z), locked, unaligned):
            assert np.array_equal(call(other, 1), expected), name
        for other in (np.ascontiguousarray(z.T), z.T):
            assert np.array_equal(call(other, 0).T, expected), name
    cube = z.reshape(3, 20, 37)
    for axis in range(3):
        moved = np.ascontiguousarray(np.moveaxis(cube, -1, axis))
        assert np.array_equal(np.moveaxis(F.softmax(moved, axis=axis), axis, -1), F.softmax(cube))
        assert np.array_equal(F.logsumexp(moved, axis=axis), F.logsumexp(cube))
    assert np.array_equal(F.softmax(np.broadcast_to(z[0], (4, 37))), np.broadcast_to(F.softmax(z[0]), (4, 37)))


@DTYPES
def test_order_of_the_entries(dtype):
    """Every permutation, ties included.

    The compiled products in single precision are summed in double in the row's order: equal but where the last digits of a double
    decide a rounding, which is none of these.
    """
    rng = np.random.default_rng(0)
    for classes in (3, 37, 1000):
        z = rows(dtype, 40, classes)
        z[:5] = np.round(z[:5])
        labels = np.arange(40) % classes
        u = rows(dtype, 40, classes)[::-1].copy()
        p = rng.permutation(classes)
        back = np.argsort(p)
        h, log_h = F.softmax(z), F.log_softmax(z)
        assert np.array_equal(F.softmax(z[:, p]), h[:, p])
        assert np.array_equal(F.log_softmax(z[:, p]), log_h[:, p])
        assert np.array_equal(F.logsumexp(z[:, p]), F.logsumexp(z))
        assert np.array_equal(F.softmax_vjp(h[:, p], u[:, p]), F.softmax_vjp(h, u)[:, p])
        assert np.array_equal(F.log_softmax_vjp(log_h[:, p], u[:, p]), F.log_softmax_vjp(log_h, u)[:, p])
        value, gradient = F.cross_entropy_and_grad(z, labels, label_smoothing=0.1)
        permuted = F.cross_entropy_and_grad(z[:, p], back[labels], label_smoothing=0.1)
        assert permuted[0] == value
        assert np.array_equal(permuted[1], gradient[:, p])


@DTYPES
def test_company(dtype):
    z = rows(dtype, 50, 100)
    labels = np.arange(50) % 7
    h = F.softmax(z)
    gradient = F.cross_entropy_and_grad(z, labels, reduction="sum")[1]
    for part in (slice(0, 1), slice(7, 8), slice(3, 20), slice(49, 50), slice(None, None, 3)):
        assert np.array_equal(F.softmax(z[part]), h[part])
        assert np.array_equal(F.log_softmax(z[part]), F.log_softmax(z)[part])
        assert np.array_equal(F.cross_entropy_and_grad(z[part], labels[part], reduction="sum")[1], gradient[part])
    for n in (0, 11):
        assert np.array_equal(F.softmax(z[n]), h[n])
    assert F.cross_entropy(z, labels) == F.cross_entropy(z[::-1], labels[::-1])  # the sum over rows too


@DTYPES
def test_out_may_be_an_argument_or_overlap_one(dtype):
    z = rows(dtype)
    labels = np.arange(60) % 37
    expected = F.softmax(z)
    for axis, true in ((-1, expected), (0, F.softmax(z, axis=0))):
        a = z.copy()
        assert F.softmax(a, axis=axis, out=a) is a
        assert np.array_equal(a, true)
        a = np.asfortranarray(z)
        F.softmax(a, axis=axis, out=a)
        assert np.array_equal(a, true)
        memory = np.zeros(z.size + 3, dtype)
        source, place = memory[:-3].reshape(z.shape), memory[3:].reshape(z.shape)
        source[...] = z
        F.softmax(source, axis=axis, out=place)
        assert np.array_equal(place, true)
        a = z.copy()
        F.softmax(a, axis=axis, out=a[::-1])
        assert np.array_equal(a[::-1], true)
    u = z[::-1].copy()
    for f, first in ((F.softmax_vjp, expected), (F.log_softmax_vjp, F.log_softmax(z))):
        true = f(first, u)
        a, b = first.copy(), u.copy()
        assert np.array_equal(f(a, u, out=a), true)
        assert np.array_equal(f(first, b, out=b), true)
    for shape, axis in (((60, 37), -1), ((60, 37, 1), 1), ((3, 37, 20), 1)):
        y = z.reshape(shape) if axis == -1 or shape[-1] == 1 else np.ascontiguousarray(np.moveaxis(z.reshape(3, 20, 37), -1, 1))
        t = labels.reshape(60) if y.ndim == 2 else labels.reshape((60, 1) if shape[-1] == 1 else (3, 20))
        value, gradient = F.cross_entropy_and_grad(y, t, axis=axis)
        a = y.copy()
        got, place = F.cross_entropy_and_grad(a, t, axis=axis, out=a)
        assert place is a
        assert got == value
        assert np.array_equal(a, gradient)
    probabilities = expected.copy()
    true = F.cross_entropy_and_grad(z, probabilities)[1]
    assert np.array_equal(F.cross_entropy_and_grad(z, probabilities, out=probabilities)[1], true)
    targets = np.clip(np.abs(z), 0, 1)
    true = F.binary_cross_entropy_and_grad(z, targets)[1]
    a = z.copy()
    assert np.array_equal(F.binary_cross_entropy_and_grad(a, targets, out=a)[1], true)
    true = F.kl_divergence_and_grad(z, expected)[1]
    a = expected.copy()
    assert np.array_equal(F.kl_divergence_and_grad(z, a, out=a)[1], true)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_logits_have_equal_bits_and_larger_ones_no_less(dtype):
    z = rows(dtype, 100, 50)
    z[:, 30:] = z[:, :20]
    h = F.softmax(z)
    assert np.array_equal(h[:, 30:], h[:, :20])
    order = np.argsort(z, axis=1)
    assert (np.diff(np.take_along_axis(h, order, 1), axis=1) >= 0).all()


def test_many_rows_of_few_classes_and_few_rows_of_many():
    z = np.random.default_rng(0).normal(size=(200_000, 3)).astype(np.float32)
    h = F.softmax(z)
    assert np.array_equal(h, F.softmax(np.ascontiguousarray(z.T), axis=0).T)
    assert np.abs(h.sum(axis=1) - 1).max() < 3e-7
    assert np.array_equal(h[123:130], F.softmax(z[123:130]))
