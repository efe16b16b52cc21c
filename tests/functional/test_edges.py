"""Infinities, nan, masks, empty axes, odd dtypes: a limit where there is one, nan only where nan came in, and only in its row."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import torch

from backproof import functional as F

INF, NAN = np.inf, np.nan
SINGLE = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def same(actual, expected, dtype=None):
    expected = np.asarray(expected)
    np.testing.assert_array_equal(np.asarray(actual), expected.astype(dtype or expected.dtype), strict=dtype is not None)


@SINGLE
def test_a_row_of_minus_infinity(dtype):
    z = np.array([[-INF, -INF, -INF], [0.0, 0.0, -INF]], dtype)
    same(F.softmax(z), [[0, 0, 0], [0.5, 0.5, 0]], dtype)
    same(F.log_softmax(z)[0], [-INF, -INF, -INF])
    same(F.log_softmax(z)[1], [-np.log(2), -np.log(2), -INF], dtype)
    same(F.logsumexp(z), [-INF, np.log(2)], dtype)
    same(F.logsumexp_vjp(z, np.ones(2, dtype)), [[0, 0, 0], [0.5, 0.5, 0]], dtype)
    same(F.softmax_vjp(F.softmax(z), np.ones_like(z) * 3), np.zeros((2, 3)))
    same(F.log_softmax_vjp(F.log_softmax(z), np.array([[1, 0, 0], [0, 1, 0]], dtype)), [[0, 0, 0], [-0.5, 0.5, 0]], dtype)
    for target in (np.array([0, 1]), np.array([[1, 0, 0], [0, 1, 0]], dtype)):
        value, gradient = F.cross_entropy_and_grad(z, target, reduction="none")
        same(value, [INF, np.log(2)], dtype)
        same(gradient, [[0, 0, 0], [0.5, -0.5, 0]], dtype)
    value, gradient = F.cross_entropy_and_grad(z, np.zeros((2, 3)), reduction="none")  # no target mass: nothing to lose
    same(value, [0, 0])
    same(gradient, np.zeros((2, 3)))


@SINGLE
def test_a_masked_class(dtype):
    z = np.array([-INF, 0.0, 1.0], dtype)
    h = F.softmax(z)
    assert h[0] == 0
    assert h.sum() == pytest.approx(1, rel=1e-6)
    assert F.log_softmax(z)[0] == -INF
    same(h[1:], F.softmax(z[1:]))
    same(F.logsumexp(z), F.logsumexp(z[1:]))
    value, gradient = F.cross_entropy_and_grad(z, np.array([0.0, 0.25, 0.75], dtype))  # no mass on it: it does not count
    same(value, F.cross_entropy(z[1:], np.array([0.25, 0.75], dtype)))
    assert gradient[0] == 0
    assert np.isfinite(gradient).all()
    for target, options in ((0, {}), (1, {"label_smoothing": 0.1}), (np.array([0.1, 0.9, 0]), {})):  # mass on it: no way to pay
        value, gradient = F.cross_entropy_and_grad(z, target, **options)
        assert value == INF
        assert np.isfinite(gradient).all()
        mass = 1.0 if options == {} and isinstance(target, int) else 0.1 / 3 if options else 0.1
        assert gradient[0] == pytest.approx(-mass, rel=1e-6)
    value, gradient = F.cross_entropy_and_grad(z, 2, softcap=5.0, temperature=0.5, z_loss=0.1)
    assert np.isfinite(value)
    assert gradient[0] == 0


@SINGLE
def test_plus_infinity(dtype):
    z = np.array([[INF, 0, 1], [INF, INF, 0], [INF, -INF, INF]], dtype)
    half = -np.log(2)
    same(F.softmax(z), [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]], dtype)
    same(F.log_softmax(z), [[0, -INF, -INF], [half, half, -INF], [half, -INF, half]], dtype)
    same(F.logsumexp(z), [INF, INF, INF], dtype)
    same(F.logsumexp_vjp(z, np.ones(3, dtype)), F.softmax(z))
    value, gradient = F.cross_entropy_and_grad(z, np.array([0, 0, 1]), reduction="none")
    same(value, [0, np.log(2), INF], dtype)
    same(gradient, [[0, 0, 0], [-0.5, 0.5, 0], [0.5, -1, 0.5]], dtype)
    value, gradient = F.cross_entropy_and_grad(z[:1], np.array([0]), z_loss=0.1)
    assert value == INF
    assert not np.isnan(gradient).any()


@SINGLE
def test_one_class(dtype):
    for only, log in ((5.0, 0.0), (INF, 0.0), (-INF, -INF), (NAN, NAN)):
        z = np.array([[only]], dtype)
        same(F.softmax(z), [[NAN if np.isnan(only) else 0 if only == -INF else 1]], dtype)
        same(F.log_softmax(z), [[log]], dtype)
        same(F.logsumexp(z), [only], dtype)
    value, gradient = F.cross_entropy_and_grad(np.array([[5.0], [INF]], dtype), np.array([0, 0]), reduction="none")
    same(value, [0, 0], dtype)
    same(gradient, [[0], [0]], dtype)


@SINGLE
def test_nan_fills_its_row_and_no_other(dtype):
    z = np.random.default_rng(0).normal(size=(4, 5)).astype(dtype)
    bad = z.copy()
    bad[1, 2] = NAN
    bad[2] = [NAN, INF, -INF, 0, 1]
    t = np.array([0, 1, 2, 3])
    for call in (
        F.softmax,
        F.log_softmax,
        lambda a: F.cross_entropy_and_grad(a, t, reduction="sum")[1],
        lambda a: F.cross_entropy(a, t, reduction="none"),
        F.logsumexp,
        lambda a: F.kl_divergence_and_grad(a, target_logits=z, reduction="none")[0],
        lambda a: F.kl_divergence_and_grad(a, F.softmax(z), reduction="none")[1],
        lambda a: F.binary_cross_entropy(a, 0 * z, reduction="none"),
    ):
        clean, dirty = call(z), call(bad)
        assert np.isnan(dirty[1:3]).all()
        same(dirty[[0, 3]], clean[[0, 3]])


@SINGLE
@pytest.mark.parametrize("row", [[NAN, NAN, NAN], [-INF, -INF, -INF], [NAN, INF, 0], [INF, INF, INF]])
def test_rows_that_do_not_count_have_no_gradient_whatever_they_hold(dtype, row):
    z = np.array([[1.0, 2.0, 0.5], row], dtype)
    for kind in ("mean", "sum", "none"):
        expected = F.cross_entropy_and_grad(z[:1], [1], reduction=kind)
        for options in (
            {"target": [1, -100], "ignore_index": -100},
            {"target": [1, 2], "ignore_index": 2},
            {"target": [1, 2], "sample_weight": [1.0, 0.0]},
            {"target": [1, -1], "ignore_index": -1, "label_smoothing": 0.0, "weight": np.ones(3)},
        ):
            value, gradient = F.cross_entropy_and_grad(z, reduction=kind, **options)
            same(value, [*expected[0], 0] if kind == "none" else expected[0])
            same(gradient, [*expected[1], [0, 0, 0]])


def test_a_mean_over_nothing_is_zero():
    z = np.full((2, 3), NAN, np.float32)
    for options in ({"ignore_index": 0}, {"sample_weight": [0, 0]}, {"weight": [0, 1, 1]}):
        value, gradient = F.cross_entropy_and_grad(z, [0, 0], **options)
        same(value, 0, np.float32)
        same(gradient, np.zeros((2, 3)), np.float32)
    for shape in ((0, 3), (4, 0, 3)):
        value, gradient = F.cross_entropy_and_grad(np.zeros(shape), np.zeros(shape[:-1], int))
        assert value == 0
        assert gradient.shape == shape
    assert F.binary_cross_entropy(np.zeros((0, 3)), np.zeros((0, 3))) == 0
    assert F.kl_divergence(np.zeros((0, 3)), np.zeros((0, 3))) == 0


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_a_mean_divides_by_the_weights_that_count(kind):
    """As torch: labels by the sum of their weights, probabilities by the number of rows."""
    rng = np.random.default_rng(1)
    z, w, labels, t = rng.normal(size=(6, 4)), rng.uniform(0.5, 2, 4), rng.integers(0, 4, 6), rng.dirichlet(np.ones(4), 6)
    for target in (labels, t):
        tensor = torch.tensor(z, requires_grad=True)
        expected = torch.nn.functional.cross_entropy(tensor, torch.tensor(target), torch.tensor(w), reduction=kind)
        expected.backward()
        value, gradient = F.cross_entropy_and_grad(z, target, weight=w, reduction=kind)
        assert value == pytest.approx(expected.item(), rel=1e-14)
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-13, atol=1e-15)
    s = rng.uniform(0, 2, 6)
    rows = F.cross_entropy(z, labels, weight=w, reduction="none")
    expected = (s * rows).sum() / ((s * w[labels]).sum() if kind == "mean" else 1)
    assert F.cross_entropy(z, labels, weight=w, sample_weight=s, reduction=kind) == pytest.approx(expected, rel=1e-14)


def test_the_ends_of_the_range():
    for dtype, big in ((np.float32, 3.4e38), (np.float64, 1.7e308)):
        same(F.softmax(np.array([big, big], dtype)), [0.5, 0.5], dtype)
        same(F.logsumexp_vjp(np.array([big, big], dtype), dtype(1)), [0.5, 0.5], dtype)
        z = np.array([[-big, big]], dtype)
        same(F.softmax(z), [[0, 1]], dtype)
        value, gradient = F.cross_entropy_and_grad(z, np.array([[0, 1]], dtype))
        same(value, 0, dtype)
        same(gradient, [[0, 0]], dtype)
    same(F.log_softmax(np.float32([-3.4e38, 3.4e38])), [-INF, 0])  # -6.8e38 is beyond single precision
    same(F.softmax(np.float32([0, -100])), np.float32([1, np.exp(-100.0)]))  # a subnormal
    assert F.softmax(np.float32([0, -100]))[1] > 0
    same(F.softmax(np.zeros(262144, np.float16)), np.full(262144, 2.0**-18, np.float16))
    assert F.log_softmax(np.zeros(262144, np.float16))[0] == np.float16(-np.log(262144))


def test_empty_axes_and_arrays_without_axes():
    same(F.softmax(np.zeros((3, 0), np.float32)), np.zeros((3, 0)), np.float32)
    same(F.log_softmax(np.zeros((3, 0))), np.zeros((3, 0)), np.float64)
    same(F.logsumexp(np.zeros((3, 0), np.float32)), [-INF] * 3, np.float32)
    same(F.logsumexp_vjp(np.zeros((3, 0)), np.zeros(3)), np.zeros((3, 0)))
    same(F.softmax(np.zeros((0, 3))), np.zeros((0, 3)))
    same(F.logsumexp(np.zeros((0, 3))), np.zeros(0))
    same(F.softmax_vjp(np.zeros((3, 0)), np.zeros((3, 0))), np.zeros((3, 0)))
    same(F.softmax_jacobian(np.zeros((3, 0))), np.zeros((3, 0, 0)))
    for axis in (-1, 0, None, ()):
        assert F.softmax(3.0, axis=axis) == 1.0
        assert F.log_softmax(np.float32(3.0), axis=axis) == 0.0
        assert F.logsumexp(3.0, axis=axis) == 3.0
        assert F.logsumexp_vjp(3.0, 2.0, axis=axis) == 2.0
    value, gradient = F.cross_entropy_and_grad(np.zeros((3, 0)), np.zeros((3, 0)), reduction="none")
    same(value, [0, 0, 0])
    assert gradient.shape == (3, 0)
    with pytest.raises(IndexError, match="no labels"):
        F.cross_entropy(np.zeros((3, 0)), [0, 0, 0])
    assert F.binary_cross_entropy(0.0, 1.0) == pytest.approx(np.log(2))


def test_several_axes():
    z = np.random.default_rng(0).normal(size=(2, 3, 4))
    for axes in ((0, 2), (2, 0), (1,), (-1, -2), None, ()):
        all_axes = (0, 1, 2) if axes is None else axes
        e = np.exp(z)
        h = e / e.sum(axis=tuple(all_axes), keepdims=True)
        np.testing.assert_allclose(F.softmax(z, axis=axes), h, rtol=1e-14)
        np.testing.assert_allclose(F.log_softmax(z, axis=axes), np.log(h), rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(F.logsumexp(z, axis=axes), np.log(e.sum(axis=tuple(all_axes))), rtol=1e-14)
        out = np.empty_like(z)
        assert F.softmax(z, axis=axes, out=out) is out
        same(out, F.softmax(z, axis=axes))
        u = np.ones(F.logsumexp(z, axis=axes).shape)
        same(F.logsumexp_vjp(z, u, axis=axes), F.softmax(z, axis=axes))
        assert not F.softmax_vjp(h, np.ones_like(h), axis=axes).any()


def test_kinds_of_numbers():
    for z in ([1, 2, 3], np.array([1, 2, 3], np.int8), np.array([1, 2, 3], np.uint64), (1, 2, 3)):
        same(F.softmax(z), F.softmax(np.array([1.0, 2.0, 3.0])), np.float64)
    same(F.softmax(np.array([True, False])), F.softmax(np.array([1.0, 0.0])), np.float64)
    same(F.logsumexp(np.array([True, False])), F.logsumexp(np.array([1.0, 0.0])))
    same(F.softmax(np.float16([1, 2, 3])), np.float16(F.softmax(np.array([1.0, 2.0, 3.0]))))
    same(F.softmax(np.array([1.0, 2.0], ">f4")), F.softmax(np.float32([1, 2])))
    long = F.softmax(np.array([1, 2, 3], np.longdouble))
    assert long.dtype == np.longdouble
    assert long.sum() == 1
    for bad in (np.array(["a"]), np.array([object()]), np.array(["2020"], "M8[Y]"), [[1.0], [1.0, 2.0]], None, "text"):
        with pytest.raises(TypeError, match="z: expected"):
            F.softmax(bad)


def test_kl_at_the_edges():
    same(F.kl_divergence(np.array([0.0, 0.0]), np.array([0.0, 1.0])), np.log(2))
    assert F.kl_divergence(np.array([-INF, 0.0]), np.array([0.0, 1.0])) == 0
    assert F.kl_divergence(np.array([-INF, 0.0]), np.array([0.5, 0.5])) == INF
    assert F.kl_divergence(np.array([-INF, 0.0]), target_logits=np.array([-INF, 3.0])) == 0
    assert F.kl_divergence(np.array([-INF, 0.0]), target_logits=np.array([0.0, 0.0])) == INF
    same(F.kl_divergence_and_grad(np.array([-INF, 0.0]), target_logits=np.array([0.0, 0.0]))[1], [-0.5, 0.5])
    value, gradient = F.kl_divergence_and_grad(np.array([0.0, 0.0]), target_logits=np.array([-INF, 0.0]))
    assert value == pytest.approx(np.log(2), rel=1e-15)
    same(gradient, [0.5, -0.5])
    assert F.kl_divergence(np.array([INF, 0.0]), target_logits=np.array([INF, 1.0])) == 0
    assert F.kl_divergence(np.array([0.0, -2000.0]), target_logits=np.array([-2000.0, 0.0])) == 2000
    same(F.kl_divergence_and_grad(np.zeros(2), target_logits=np.full(2, -INF))[1], [0, 0])
    assert not np.isnan(F.kl_divergence_and_grad(np.full(2, -INF), target_logits=np.full(2, -INF))[0])


def test_binary_cross_entropy_at_the_edges():
    z = np.array([INF, -INF, INF, -INF, 1000.0, -1000.0])
    t = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    value, gradient = F.binary_cross_entropy_and_grad(z, t, reduction="none")
    same(value, [0, 0, INF, INF, 0, 1000])
    same(gradient, [0, 0, 1, -1, 0, -1])
    value, gradient = F.binary_cross_entropy_and_grad(np.array([[NAN, 0.0], [0.0, 0.0]]), [[1, 0], [1, 0]], weight=[0.0, 2.0])
    same(value, 2 * np.log(2))
    same(gradient, [[0, 0.5], [0, 0.5]])


def test_torch_and_jax_arrays_come_back_as_what_they_were():
    z = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for make, kind in ((torch.tensor, torch.Tensor), (jax.numpy.asarray, jax.Array)):
        a = make(z)
        for call in (
            F.softmax,
            F.log_softmax,
            F.logsumexp,
            lambda a: F.softmax_vjp(a, a),
            lambda a: F.logsumexp_vjp(a, a[:, 0]),
            lambda a, make=make: F.cross_entropy(a, make(np.array([1, 2, 3]))),
            lambda a, make=make: F.cross_entropy_and_grad(a, make(np.array([1, 2, 3])), sample_weight=make(z[:, 0]))[1],
            lambda a: F.kl_divergence(a, target_logits=a + a),
            lambda a: F.kl_divergence_and_grad(a, F.softmax(a))[1],
            lambda a: F.binary_cross_entropy_and_grad(a, F.softmax(a), reduction="none")[0],
        ):
            try:
                expected = call(z)
            except TypeError:  # targets of the other kind
                expected = None
            result = call(a)
            assert isinstance(result, kind)
            assert str(result.dtype).endswith("float32")
            if expected is not None:
                same(result, expected)
    with pytest.raises(TypeError, match="requires a gradient"):
        F.softmax(torch.zeros(3, requires_grad=True))
    with torch.no_grad():
        same(F.softmax(torch.zeros(2, requires_grad=True)), [0.5, 0.5])
    half = torch.tensor(z).to(torch.bfloat16)
    assert F.softmax(half).dtype == torch.bfloat16
    assert F.cross_entropy(half, torch.tensor([0, 1, 2])).dtype == torch.float32
    out = torch.empty(3, 4)
    assert F.softmax(torch.tensor(z), out=out) is out
    same(out, F.softmax(z))


def test_inside_jax_transformations():
    """Traced arrays are computed by the reference in JAX's own operations (single precision unless 64 bits are switched on)."""
    z = jax.numpy.asarray(np.random.default_rng(0).normal(size=(3, 4)), dtype="float32")
    for call in (F.softmax, F.log_softmax, F.logsumexp, lambda a: F.cross_entropy_and_grad(a, jax.numpy.array([0, 1, 2]))[1]):
        np.testing.assert_allclose(jax.jit(call)(z), call(z), rtol=1e-6)
