"""Accuracy in units of the last place, against 80-bit arithmetic, on inputs where other libraries lose digits or all of them.

Half and single precision are rounded once from double: at most 0.5 ULP and what is left of a few double-precision roundings,
2^-29 of them in single precision (0.501 leaves room for a conversion that rounds through single precision on its way to half).
Double precision: softmax exp (1), its residual's product, the quotient and the sum: at most 3; log_softmax log1p (1) and two
roundings: at most 2; gradients as softmax.
"""

from __future__ import annotations

import ml_dtypes
import mpmath
import numpy as np
import pytest

from backproof import functional as F
from tests.functional.truth import BFLOAT16, L, confident, cross_entropy, one_hot, ordinary, truth, ulps

DTYPES = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), BFLOAT16]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def bar(dtype, double):
    return double if dtype == np.float64 else 0.501


@every_dtype
def test_softmax_and_log_softmax(dtype):
    for name, z in {**ordinary(dtype), "confident": confident(dtype)}.items():
        true = truth(z)
        h = F.softmax(z)
        assert h.dtype == dtype
        assert ulps(h, true.softmax) <= bar(dtype, 3), name
        assert ulps(F.log_softmax(z), true.log_softmax) <= bar(dtype, 2), name


@every_dtype
def test_logsumexp_and_its_gradient(dtype):
    """Where z_k and log1p(s) cancel the truth needs more digits: test_cancelled.py."""
    for name, z in {**ordinary(dtype), "confident": confident(dtype), "minus": -confident(dtype)}.items():
        true = truth(z)
        known = np.abs(true.logsumexp) >= 2.0**-6 * np.log1p(true.others[..., 0])
        assert ulps(F.logsumexp(z)[known], true.logsumexp[known]) <= bar(dtype, 1), name
        gradient = F.logsumexp_vjp(z, np.ones(z.shape[0], dtype))
        assert ulps(gradient, true.softmax) <= bar(dtype, 3), name


@every_dtype
@pytest.mark.parametrize("which", ["likeliest", "any"])
def test_cross_entropy_of_labels(dtype, which):
    for name, z in {**ordinary(dtype), "confident": confident(dtype)}.items():
        n, classes = z.shape
        labels = truth(z).largest[:, 0] if which == "likeliest" else np.random.default_rng(1).integers(0, classes, n)
        value, gradient = cross_entropy(z, one_hot(labels, classes))
        ours, slopes = F.cross_entropy_and_grad(z, labels, reduction="none")
        assert slopes.dtype == dtype
        assert ours.dtype == (np.float64 if dtype == np.float64 else np.float32)
        assert ulps(ours, value) <= 2, name
        assert ulps(slopes, gradient) <= bar(dtype, 3), name
        assert (np.abs(gradient_sum(slopes)) <= rounding(slopes) * np.abs(slopes.astype(L)).sum(axis=1)).all(), name


def gradient_sum(slopes):
    return slopes.astype(L).sum(axis=1)


def rounding(slopes):
    """4 u: entries of up to 3 ULP each, and in half precision subnormals that carry no digits."""
    eps = {np.dtype(np.float64): 2.0**-52, np.dtype(np.float32): 2.0**-23, np.dtype(np.float16): 2.0**-4, BFLOAT16: 2.0**-7}
    return 2 * eps[slopes.dtype]


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_cross_entropy_of_smoothed_labels_and_probabilities(dtype, kernels):
    """A soft target may cancel against h: the gradient's error is at most 5 u (T h + t); the loss is a sum of positive terms."""
    rng = np.random.default_rng(3)
    for name, z in {**ordinary(dtype), "confident": confident(dtype)}.items():
        n, classes = z.shape
        labels = rng.integers(0, classes, n)
        smooth = L(0.9) * one_hot(labels, classes) + L(0.1) / classes
        soft = rng.dirichlet(np.ones(classes), n).astype(dtype) * 3
        for t, call in (
            (smooth, lambda z=z, labels=labels: F.cross_entropy_and_grad(z, labels, label_smoothing=0.1, reduction="none")),
            (soft, lambda z=z, soft=soft: F.cross_entropy_and_grad(z, soft, reduction="none")),
        ):
            value, gradient = cross_entropy(z, t)
            ours, slopes = call()
            assert ulps(ours, value) <= 2, name
            h, total = truth(z).softmax, np.asarray(t, L).sum(axis=1, keepdims=True)
            units = np.abs(slopes.astype(L) - gradient) / (total * h + np.asarray(t, L))
            assert float(units.max()) <= 5 * 2.0 ** (-53 if dtype == np.float64 else -24), name
            # through double precision: correctly rounded unless 28 digits cancel; of exponentials to 2^-38, unless 13 do
            if dtype == np.float32 and kernels != "programs":
                assert ulps(slopes, gradient) <= 0.501, name


def test_one_hot_probabilities_are_labels_to_the_bit():
    for dtype in (np.float32, np.float64):
        z = confident(dtype)
        labels = np.arange(len(z)) % 10
        a = F.cross_entropy_and_grad(z, labels, reduction="none")
        b = F.cross_entropy_and_grad(z, one_hot(labels, 10).astype(dtype), reduction="none")
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def true_vjp(h, u):
    """h (u - <h, u> / <h, 1>), what is asked for with the h that is given, and the scale of its terms."""
    h, u = h.astype(L), u.astype(L)
    c = u - np.take_along_axis(u, np.argmax(h, axis=-1)[..., None], -1)
    m = (h * c).sum(axis=-1, keepdims=True) / h.sum(axis=-1, keepdims=True)
    return h * (c - m), h * np.abs(c).max(axis=-1, keepdims=True)


@every_dtype
def test_softmax_vjp(dtype, kernels):
    """Exactly 0 for a constant; an offset changes nothing: at most 4 u h max|u - u_k|; the diagonal of J keeps its digits.

    The reference is right to 3 ULP (rounded correctly below double precision) unless nearly all digits of 80-bit truth cancel.
    """
    rng = np.random.default_rng(5)
    for name, z in {"N(0,1)": rng.normal(size=(50, 30)), "1000": rng.normal(size=(5, 1000)), "confident": confident(dtype)}.items():
        h = F.softmax(z.astype(dtype))
        for constant in (1.0, 1e4, -3e-3):
            assert not F.softmax_vjp(h, np.full(h.shape, constant, dtype)).any(), name
        noise = rng.normal(size=h.shape)
        for u in (noise, noise + 100, noise + 1e4, one_hot(np.argmax(h, axis=-1), h.shape[1])):
            u = u.astype(dtype)
            true, scale = true_vjp(h, u)
            ours = F.softmax_vjp(h, u)
            assert ours.dtype == dtype
            info = ml_dtypes.finfo(dtype)
            assert (np.abs(ours.astype(L) - true) <= 2 * float(info.eps) * scale + float(info.smallest_subnormal)).all(), name
            if kernels == "reference":
                close = np.abs(true) > 2.0**-8 * scale
                assert ulps(ours[close], true[close], dtype) <= bar(dtype, 3), name
    k = np.argmax(h, axis=-1)
    at_k = np.arange(len(h)), k
    rest = h.astype(L).copy()
    rest[at_k] = 0
    diagonal = h.astype(L)[at_k] * rest.sum(axis=1)
    product = F.softmax_vjp(h, one_hot(k, 10).astype(dtype))[at_k]
    sums = h.astype(L).sum(axis=1)
    assert ulps(product, diagonal / sums) <= (bar(dtype, 3) if kernels == "reference" else 4)
    jacobian = F.softmax_jacobian(h)
    assert ulps(jacobian[at_k[0], k, k], diagonal) <= bar(dtype, 3)
    assert np.array_equal(jacobian, np.swapaxes(jacobian, 1, 2))


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_log_softmax_vjp(dtype):
    """With h = exp(log h) as given: u - h sum(u), at k as (1 - h_k) sum(u) - (sum of the others)."""
    for z in (ordinary(dtype)["N(0,1), 10 classes"], confident(dtype)):
        log_h = F.log_softmax(z)
        labels = np.argmax(z, axis=-1)
        rng = np.random.default_rng(2)
        for u in (-one_hot(labels, 10), rng.normal(size=z.shape), rng.normal(size=z.shape) + 100):
            u = u.astype(dtype)
            wide, lh = u.astype(L), log_h.astype(L)
            total = wide.sum(axis=-1, keepdims=True)
            true = np.where(lh > -np.log(L(2)), -np.expm1(lh) * total - (total - wide), wide - np.exp(lh) * total)
            scale = np.where(
                lh > -np.log(L(2)), np.abs(np.expm1(lh) * total) + np.abs(total - wide), np.abs(wide) + np.abs(np.exp(lh) * total)
            )
            ours = F.log_softmax_vjp(log_h, u)
            eps = 2.0**-52 if dtype == np.float64 else 2.0**-24
            assert (np.abs(ours.astype(L) - true) <= 2 * eps * scale + L(np.finfo(dtype).smallest_subnormal)).all()


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_binary_cross_entropy(dtype):
    top = 700 if dtype == np.float64 else 85
    z = np.concatenate([np.linspace(-top, top, 4001), [0.0, 10, -10, 17, 30, 40]]).astype(dtype)
    for t in (0.0, 1.0, 0.25, 0.9):
        target = np.full(z.shape, t, dtype)
        wide, a = np.abs(z).astype(L), np.where(z >= 0, 1 - target.astype(L), target.astype(L))
        e = np.exp(-wide)
        value, slope = np.log1p(e) + a * wide, np.where(z >= 0, 1, -1) * (a - e / (1 + e))
        loss, gradient = F.binary_cross_entropy_and_grad(z, target, reduction="none")
        assert ulps(loss, value) <= bar(dtype, 2)
        if t in (0.0, 1.0):
            assert ulps(gradient, slope) <= bar(dtype, 2)
        else:  # sigmoid(z) = t somewhere: the error is that of the terms
            assert (np.abs(gradient.astype(L) - slope) <= 2.0 ** (-52 if dtype == np.float64 else -24)).all()
    assert np.array_equal(
        F.binary_cross_entropy(z, np.ones_like(z), reduction="none"), F.binary_cross_entropy(-z, 0 * z, reduction="none")
    )


def test_kl_is_never_negative_and_zero_for_equal_arguments():
    rng = np.random.default_rng(9)
    for dtype in (np.float32, np.float64):
        for scale in (0.1, 1, 10, 100):
            z = (scale * rng.normal(size=(200, 12))).astype(dtype)
            value, gradient = F.kl_divergence_and_grad(z, target_logits=z, reduction="none")
            assert not value.any()
            assert not gradient.any()
            other = (scale * rng.normal(size=z.shape)).astype(dtype)
            assert (F.kl_divergence(z, target_logits=other, reduction="none") > 0).all()
            p = F.softmax(other)
            assert (F.kl_divergence(z, p, reduction="none") >= 0).all()
            assert (F.kl_divergence(other, p, reduction="none") >= 0).all()
    z = np.array([0.0, np.log(2.0), np.log(2.0)])
    assert F.kl_divergence(np.zeros(4), np.full(4, 0.25)) == 0.0
    assert F.kl_divergence(z, target_logits=z + 64.0) == pytest.approx(0.0, abs=1e-28)


@pytest.mark.parametrize("step", [1e2, 1.0, 1e-3, 1e-6, 1e-8, 1e-12])
def test_kl_between_neighbouring_logits(step):
    """Against mpmath. What the logits' own rounding says about their differences is exact; the rest are a few roundings."""
    rng = np.random.default_rng(4)
    a = rng.normal(size=(20, 8)) * 3
    b = a + step * rng.normal(size=a.shape)
    value, gradient = F.kl_divergence_and_grad(b, target_logits=a, reduction="none")
    with mpmath.workdps(60):
        for i in range(len(a)):
            p, q = ([mpmath.exp(mpmath.mpf(x)) for x in row] for row in (a[i], b[i]))
            p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
            true = sum(x * mpmath.log(x / y) for x, y in zip(p, q, strict=True))
            assert abs(value[i] / true - 1) <= 1e-14
            for x, y, g in zip(p, q, gradient[i], strict=True):
                assert abs(g - (y - x)) <= 1e-14 * abs(y - x) + 4e-16 * step * min(x, y)


@pytest.mark.parametrize("z", [[0.3, -2.0, 1.0], [40.0, 0.0, 1.0], [0.0, -700.0], [1e8, 1e8], [-3.0, -3.5, -1.0, 0.25]])
def test_the_truth_is_mpmaths(z):
    true = truth(np.array([z]))
    with mpmath.workdps(400):
        e = [mpmath.exp(mpmath.mpf(x)) for x in z]
        total = sum(e)
        for i in range(len(z)):
            assert float(true.softmax[0, i]) == pytest.approx(float(e[i] / total), rel=1e-16)
            assert float(true.log_softmax[0, i]) == pytest.approx(float(mpmath.log(e[i] / total)), rel=1e-16)
        assert float(true.logsumexp[0]) == pytest.approx(float(mpmath.log(total)), rel=1e-16)


def test_options_against_mpmath():
    """softcap, temperature, z_loss, weights and smoothing together, each row's value and gradient."""
    rng = np.random.default_rng(6)
    z = rng.normal(size=(6, 5)) * 20
    labels, w = rng.integers(0, 5, 6), rng.uniform(0.5, 2, 5)
    cap, tau, lam, eps = 15.0, 0.7, 0.01, 0.1
    value, gradient = F.cross_entropy_and_grad(
        z, labels, weight=w, label_smoothing=eps, z_loss=lam, softcap=cap, temperature=tau, reduction="none"
    )
    with mpmath.workdps(40):
        for n in range(6):

            def loss(*row, n=n):
                y = [cap * mpmath.tanh(x / cap) / tau for x in row]
                lse = mpmath.log(sum(mpmath.exp(x) for x in y))
                t = [mpmath.mpf(w[k]) * ((1 - eps) * (k == labels[n]) + mpmath.mpf(eps) / 5) for k in range(5)]
                return sum(t[k] * (lse - y[k]) for k in range(5)) + lam * lse**2

            row = [mpmath.mpf(x) for x in z[n]]
            assert float(value[n]) == pytest.approx(float(loss(*row)), rel=4e-15)
            slopes = [mpmath.diff(loss, tuple(row), tuple(int(i == k) for i in range(5))) for k in range(5)]
            assert gradient[n].tolist() == pytest.approx([float(s) for s in slopes], rel=1e-12, abs=1e-14)


@pytest.mark.slow
def test_three_million_entries_along_the_first_axis():
    z = np.random.default_rng(0).choice([0.0, 1.0], size=(3_000_000, 2)).astype(np.float32)
    assert ulps(F.softmax(z, axis=0), truth(z, axis=0).softmax) <= 0.501
