"""The reference itself: in the operations of other libraries it says what it says in NumPy's; its sums are exact."""

from __future__ import annotations

import math

import array_api_strict
import jax
import numpy as np
import pytest
import torch

from backproof.kernels import exact, reference, reference_losses
from backproof.kernels.reference_losses import Options

RNG = np.random.default_rng(8)
Z = RNG.normal(size=(7, 9)) * 5
U = RNG.normal(size=(7, 9))
Z[1, 2] = -np.inf
Z[2] = -np.inf
Z[3, 4] = np.inf
Z[4, 0] = 60
T = RNG.dirichlet(np.ones(9), 7)
LABELS = np.arange(7)
CALLS = {
    "softmax": lambda z, u, t, y: reference.softmax(z),
    "softmax along 0": lambda z, u, t, y: reference.softmax(u, 0),
    "log_softmax": lambda z, u, t, y: reference.log_softmax(z),
    "logsumexp": lambda z, u, t, y: reference.logsumexp(z),
    "logsumexp_vjp": lambda z, u, t, y: reference.logsumexp_vjp(z, u[:, 0]),
    "softmax_vjp": lambda z, u, t, y: reference.softmax_vjp(t, u),
    "softmax_jacobian": lambda z, u, t, y: reference.softmax_jacobian(t),
    "log_softmax_vjp": lambda z, u, t, y: reference.log_softmax_vjp(reference.log_softmax(u), t),
    "log_softmax_jvp": lambda z, u, t, y: reference.log_softmax_jvp(reference.log_softmax(u), t),
    "labels": lambda z, u, t, y: reference_losses.cross_entropy(z, y, Options(ignore_index=3, z_loss=0.1))[1],
    "probabilities": lambda z, u, t, y: reference_losses.cross_entropy(u, t, Options(None, None, 0.1, 0.1, 3.0, 0.5))[1],
    "kl": lambda z, u, t, y: reference_losses.kl_rows(u, t)[1],
    "kl of logits": lambda z, u, t, y: reference_losses.kl_between_logits(u, z)[1],
    "binary": lambda z, u, t, y: reference_losses.binary_cross_entropy_terms(z, t)[0],
}


@pytest.fixture
def double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "make", [torch.tensor, array_api_strict.asarray, lambda a: jax.numpy.asarray(a)], ids=["torch", "strict", "jax"]
)
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_other_libraries(make, name, double_precision):
    """Apart from exp and log, whose last digits differ between libraries, every operation is exactly rounded in all of them."""
    arrays = (Z, U, T, LABELS)
    expected = CALLS[name](*arrays)
    result = CALLS[name](*(make(a) for a in arrays))
    assert type(result) is type(make(Z))
    np.testing.assert_allclose(np.asarray(result), expected, rtol=2e-14, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000, 100_000])
def test_sums_are_exact(n):
    """To 2^-63 of the largest entry, so that sums of one sign are rounded correctly; and the same bits in any order."""
    for spread in (0, 1, 30):
        x = RNG.normal(size=n) * 10.0 ** RNG.uniform(-spread, spread, n)
        for values in (x, x - np.mean(x), np.concatenate([x, -x[:-1]])):
            high, low = exact.total(values[None])
            left_over = math.fsum([high[0, 0], low[0, 0], *-values])
            assert abs(left_over) <= 2.0**-63 * np.abs(values).max()
            shuffled = RNG.permutation(values)
            assert exact.total(shuffled[None])[0][0, 0] == high[0, 0]
            assert exact.total(shuffled[None])[1][0, 0] == low[0, 0]
    special = np.array([[np.inf, 1.0], [np.nan, 1.0], [-np.inf, np.inf], [0.0, 0.0], [1e308, 1e308], [5e-324, 5e-324]])
    np.testing.assert_array_equal(exact.total(special)[0][:, 0], [np.inf, np.nan, np.nan, 0, np.inf, 1e-323])


def test_sums_and_products_of_two_are_exact():
    a, b = RNG.normal(size=(2, 10_000)) * 10.0 ** RNG.uniform(-20, 20, (2, 10_000))
    from fractions import Fraction

    for operation, true in ((exact.two_sum, lambda x, y: x + y), (exact.two_product, lambda x, y: x * y)):
        high, low = operation(a, b)
        for i in range(0, 10_000, 7):
            assert Fraction(high[i]) + Fraction(low[i]) == true(Fraction(a[i]), Fraction(b[i]))


def test_phi_and_psi_keep_their_digits():
    import mpmath

    x = np.concatenate([np.linspace(-1, 1, 201), 10.0 ** np.arange(-300, 0, 20), [0.0]])
    with mpmath.workdps(700):
        for v in x:
            true = mpmath.exp(mpmath.mpf(v)) - 1 - mpmath.mpf(v)
            assert float(reference_losses.phi(np.float64(v))) == pytest.approx(float(true), rel=1e-15, abs=5e-324)
            w = mpmath.mpf(v) / 2
            true = (1 + w) * mpmath.log1p(w) - w
            assert float(reference_losses.psi(np.float64(v) / 2)) == pytest.approx(float(true), rel=2e-15, abs=5e-324)
