"""Every derivative against the complex-step derivative of its function: Im f(z + ih) / h, h = 1e-30 (Squire & Trapp 1998).

No difference is taken, so nothing cancels: what remains are the roundings of the two ways to compute one number.
"""

from __future__ import annotations

import numpy as np
import pytest

from backproof import functional as F

RNG = np.random.default_rng(12)
SHAPES = [(5,), (4, 3), (2, 5, 3)]
STEP = 1e-30


def along(f, z, t):
    """The derivative of f at z in the direction t."""
    return np.imag(f(z + 1j * STEP * t)) / STEP


def gradient(f, z):
    return np.array([along(f, z, e.reshape(z.shape)) for e in np.eye(z.size)]).reshape(z.shape)


def close(ours, true, scale=1.0):
    np.testing.assert_allclose(ours, true, rtol=2e-14, atol=4e-15 * scale)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax_log_softmax_logsumexp(shape, axis):
    z, t, u = RNG.normal(size=(3, *shape)) * 2
    h, log_h = F.softmax(z, axis=axis), F.log_softmax(z, axis=axis)
    close(F.softmax_jvp(h, t, axis=axis), along(lambda y: F.softmax(y, axis=axis), z, t))
    close(F.softmax_vjp(h, u, axis=axis), gradient(lambda y: (u * F.softmax(y, axis=axis)).sum(), z))
    close(F.log_softmax_vjp(log_h, u, axis=axis), gradient(lambda y: (u * F.log_softmax(y, axis=axis)).sum(), z), 10)
    w = u.sum(axis=axis)
    close(F.logsumexp_vjp(z, w, axis=axis), gradient(lambda y: (w * F.logsumexp(y, axis=axis)).sum(), z), 10)
    if axis == -1:
        jacobian = F.softmax_jacobian(h)
        close((jacobian * t[..., None, :]).sum(axis=-1), F.softmax_jvp(h, t))
        assert np.abs(jacobian.sum(axis=-1)).max() <= 4e-16


OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"weight": np.array([0.5, 2.0, 1.0, 0.0, 3.0])},
    {"weight": np.array([0.5, 2.0, 1.0, 0.0, 3.0]), "label_smoothing": 0.3, "ignore_index": 1},
    {"sample_weight": np.array([1.0, 0.0, 2.0, 0.5, -1.0, 3.0])},
    {"z_loss": 0.01},
    {"softcap": 3.0},
    {"temperature": 0.3},
    {"softcap": 5.0, "temperature": 2.0, "z_loss": 0.02, "label_smoothing": 0.2, "sample_weight": np.arange(6.0)},
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")
def test_cross_entropy(options, reduction):
    z, labels = RNG.normal(size=(6, 5)) * 2, np.array([0, 1, 4, 2, 3, 1])
    soft = RNG.dirichlet(np.ones(5), 6) * RNG.uniform(0.5, 2, (6, 1))
    for target in (labels, soft):
        o = {k: v for k, v in options.items() if k != "ignore_index" or target is labels}
        value, slopes = F.cross_entropy_and_grad(z, target, reduction=reduction, **o)
        assert np.array_equal(value, F.cross_entropy(z, target, reduction=reduction, **o))
        close(slopes, gradient(lambda y, t=target, o=o: np.sum(F.cross_entropy(y, t, reduction=reduction, **o)), z), 20)
        moved = F.cross_entropy_and_grad(z.T, target.T, axis=0, reduction=reduction, **o)
        assert np.array_equal(moved[0], value)
        assert np.array_equal(moved[1].T, slopes)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_kl_divergence_and_binary_cross_entropy(reduction):
    z, a = RNG.normal(size=(2, 6, 5)) * 2
    p = RNG.dirichlet(np.ones(5), 6)
    bits = RNG.uniform(size=(6, 5))
    s, w = RNG.uniform(size=6), RNG.uniform(size=5)
    for f, f_and_grad, options in (
        (F.kl_divergence, F.kl_divergence_and_grad, {"target": p}),
        (F.kl_divergence, F.kl_divergence_and_grad, {"target": 2 * p}),
        (F.kl_divergence, F.kl_divergence_and_grad, {"target_logits": a}),
        (F.kl_divergence, F.kl_divergence_and_grad, {"target_logits": z + 1e-3 * a}),
        (F.binary_cross_entropy, F.binary_cross_entropy_and_grad, {"target": bits}),
        (F.binary_cross_entropy, F.binary_cross_entropy_and_grad, {"target": bits, "weight": w, "sample_weight": s}),
    ):
        value, slopes = f_and_grad(z, reduction=reduction, **options)
        assert np.array_equal(value, f(z, reduction=reduction, **options))
        close(slopes, gradient(lambda y, f=f, o=options: np.sum(f(y, reduction=reduction, **o)), z), 20)


def test_kl_from_target_logits_is_kl_from_their_probabilities():
    z, a = RNG.normal(size=(2, 6, 5)) * 2
    one, other = F.kl_divergence_and_grad(z, F.softmax(a)), F.kl_divergence_and_grad(z, target_logits=a)
    close(one[0], other[0])
    close(one[1], other[1])
    cross = F.cross_entropy(z, F.softmax(a))
    entropy = -(F.softmax(a) * F.log_softmax(a)).sum(axis=1).mean()
    close(one[0], cross - entropy, 10)
