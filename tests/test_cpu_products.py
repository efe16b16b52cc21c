"""The compiled Jacobian products: their accuracy, results past the caches, sums in any order; weights and certain rows."""

from __future__ import annotations

import numpy as np
import pytest

from backproof import functional as F
from backproof.kernels import cpu, dispatch
from backproof.kernels.cpu import jacobian
from tests.functional.truth import L, truth, ulps

FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def compiled():
    with dispatch.only("cpu"):
        yield


def vjp(h, u):
    out = np.empty_like(u)
    cpu.softmax_vjp(h, u, h.ndim - 1, out)
    return out


@pytest.mark.parametrize("classes", [3, 10, 15, 16, 17, 100, 3000])
@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_single_precision_within_four_roundings(classes, offset):
    """4 u h_i max|u - u_k|, u = 2^-24; away from cancellation at most 2 roundings of the result, and what the underflow takes."""
    rng = np.random.default_rng(1)
    z = (rng.normal(size=(200, classes)) * rng.choice([0.0, 1.0, 30.0], (200, 1))).astype(np.float32)
    z[::3, 1] += 20
    h, u = F.softmax(z), (rng.normal(size=z.shape) + offset).astype(np.float32)
    c = u.astype(L) - np.take_along_axis(u, h.argmax(1)[:, None], 1)
    p = h.astype(L)
    true = p * (c - (p * c).sum(1, keepdims=True) / p.sum(1, keepdims=True))
    scale = p * np.abs(c).max(1, keepdims=True)
    error = np.abs(vjp(h, u) - true)
    assert (error <= 2.0**-22 * scale + 2.0**-149).all()
    assert not vjp(h, np.full_like(u, 0.1 + offset)).any()
    if not offset:
        confident = h.max(1) > 0.5 * h.sum(1)
        assert (error <= 2.01 * 2.0**-24 * np.abs(true) + 2.0**-149)[~confident].all()


@pytest.mark.parametrize("classes", [64, 65, 81, 100, 119, 1000])
@pytest.mark.parametrize("shift", [0, 1, 5, 16])
@pytest.mark.parametrize("product", [cpu.softmax_vjp, cpu.log_softmax_vjp])
def test_past_the_caches_the_bits_are_the_same(product, classes, shift, monkeypatch):
    rng = np.random.default_rng(2)
    z = rng.normal(size=(7, classes)).astype(np.float32)
    z[2, 5] = z[6, 0] = 30.0  # confident
    first = (F.softmax if product is cpu.softmax_vjp else F.log_softmax)(z)
    u, expected = rng.normal(size=z.shape).astype(np.float32), np.empty_like(z)
    product(first, u, 1, expected)
    monkeypatch.setattr(jacobian, "PAST", 1)
    monkeypatch.setattr(jacobian, "LARGE", 1)
    memory = np.full(z.size + 40, 7.0, np.float32)
    out = memory[shift : shift + z.size].reshape(z.shape)
    product(first, u, 1, out)
    np.testing.assert_array_equal(out, expected)
    assert (memory[:shift] == 7).all()
    assert (memory[shift + z.size :] == 7).all()


@pytest.mark.parametrize("classes", [64, 100, 1000, 1031, 40_000])
@pytest.mark.parametrize("kind", ["any", "cancelled", "one hot", "nothing", "large"])
def test_the_sum_of_an_upstream_has_its_digits(kind, classes):
    """-h S where u is 0, to half a unit: S has been summed once more where its numbers cancel."""
    rng = np.random.default_rng(classes)
    log_h = F.log_softmax(rng.normal(size=(9, classes)).astype(np.float32))
    u = rng.normal(size=log_h.shape).astype(np.float32)
    if kind == "cancelled":
        u *= np.exp2(rng.integers(-20, 21, u.shape)).astype(np.float32)
        half = rng.permuted(u[:, 6 : 6 + (classes - 8) // 2], axis=1)
        u[:, 6 + (classes - 8) // 2 :][:, : half.shape[1]] = -half
        u[:, :3] *= 2.0**-30
    elif kind == "one hot":
        u[...] = np.arange(classes) == 7
    elif kind == "nothing":
        u[...] = 0.0
    elif kind == "large":
        u *= np.exp2(rng.integers(-40, 41, u.shape)).astype(np.float32)
    u[:, 3:5] = u[:, -1:] = 0.0
    out = np.empty_like(u)
    cpu.log_softmax_vjp(log_h, u, 1, out)
    true = u.astype(L) - np.exp(log_h.astype(L)) * u.astype(L).sum(1, keepdims=True)
    zero = u == 0
    assert ulps(out[zero], true[zero], np.float32) <= 0.501


@pytest.mark.parametrize("classes", [2, 5, 7, 8, 9, 40, 63, 64, 300, 5000])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_double_precision_in_any_order(classes, offset):
    rng = np.random.default_rng(3)
    for _ in range(20):
        z, u = rng.normal(size=(8, classes)) * 5, rng.normal(size=(8, classes)) * np.exp(rng.normal(size=(8, classes)) * 5) + offset
        order = rng.permutation(classes)
        h, log_h = F.softmax(z), F.log_softmax(z)
        assert np.array_equal(vjp(h, u)[:, order], vjp(h[:, order], u[:, order]))
        assert np.array_equal(F.log_softmax_vjp(log_h, u)[:, order], F.log_softmax_vjp(log_h[:, order], u[:, order]))


@pytest.mark.parametrize("classes", [3, 20, 40])
def test_double_precision_of_huge_and_lost_upstreams(classes):
    h = F.softmax(np.random.default_rng(4).normal(size=(5, classes)))
    u = np.ones_like(h)
    u[0], u[1, 0], u[2, 1], u[3] = 1e306, np.nan, np.inf, 5e-324
    g = vjp(h, u)
    assert not g[[0, 3, 4]].any()
    assert np.isnan(g[1]).all()
    assert not np.isfinite(g[2]).any()


@FLOATS
def test_h_that_does_not_sum_to_one(dtype):
    """h <h, 1>^-1 in the place of h, times <h, 1>, as the reference has it."""
    rng = np.random.default_rng(5)
    for classes in (3, 40):
        h, u = rng.uniform(0, 1, (20, classes)).astype(dtype), rng.normal(size=(20, classes)).astype(dtype)
        with dispatch.only("reference"):
            expected = F.softmax_vjp(h, u)
        np.testing.assert_allclose(F.softmax_vjp(h, u), expected, rtol=0, atol=8 * np.finfo(dtype).eps)


@FLOATS
@pytest.mark.parametrize("shape", [(4, 50, 3), (4, 50, 40), (2, 3, 5000)])
def test_logsumexp_vjp_is_rounded_once(shape, dtype):
    rng = np.random.default_rng(6)
    z, u = rng.normal(size=shape).astype(dtype), rng.normal(size=shape[:-1]).astype(dtype)
    g = F.logsumexp_vjp(z, u)
    assert ulps(g, truth(z).softmax * u.astype(L)[..., None], dtype) <= (0.501 if dtype == np.float32 else 3)
    moved = F.logsumexp_vjp(np.ascontiguousarray(np.moveaxis(z, -1, 1)), u, axis=1)
    assert np.array_equal(np.moveaxis(moved, 1, -1), g)
    foreign = F.logsumexp_vjp(z.astype(z.dtype.newbyteorder()), u.astype(u.dtype.newbyteorder()))
    assert np.array_equal(foreign, g)


@FLOATS
def test_foreign_byte_order_has_the_same_bits(dtype):
    z, u = np.random.default_rng(7).normal(size=(2, 30, 20)).astype(dtype)
    other, other_u = z.astype(z.dtype.newbyteorder()), u.astype(u.dtype.newbyteorder())
    h = F.softmax(z)
    assert np.array_equal(F.softmax(other), h)
    assert np.array_equal(F.logsumexp(other), F.logsumexp(z))
    assert np.array_equal(F.softmax_vjp(h, other_u), F.softmax_vjp(h, u))
    place = other.copy()
    F.softmax(place, out=place)
    assert np.array_equal(place, h)


@FLOATS
def test_certain_rows_among_others_keep_the_bits_of_labels(dtype):
    rng = np.random.default_rng(8)
    z, labels = rng.normal(size=(40, 9)).astype(dtype) * 8, rng.integers(0, 9, 40)
    t = (labels[:, None] == np.arange(9)).astype(dtype)
    t[::3] = F.softmax(z[::3] / 2)
    value, gradient = F.cross_entropy_and_grad(z, t, reduction="none")
    certain, others = np.arange(40) % 3 != 0, np.arange(40) % 3 == 0
    a, b = F.cross_entropy_and_grad(z[certain], labels[certain], reduction="none")
    assert np.array_equal(value[certain], a)
    assert np.array_equal(gradient[certain], b)
    a, b = F.cross_entropy_and_grad(z[others], t[others], reduction="none")
    assert np.array_equal(value[others], a)
    assert np.array_equal(gradient[others], b)
