"""logsumexp where z_k and log1p(s) cancel, against mpmath with 340 digits: at most 1 ULP, in single precision 0.501.

The rows are log-probabilities, whose logsumexp is what the rounding of the logarithms has left, and rows whose logsumexp is
somewhere between that and 1.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from backproof import functional as F
from backproof.kernels import cancelled, words


def truth(row):
    with mpmath.workdps(340):
        return mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(float(z))) for z in row))


def ulps(got, rows):
    worst = 0.0
    for value, row in zip(got, rows, strict=True):
        true = truth(row)
        unit = mpmath.mpf(float(np.spacing(np.abs(rows.dtype.type(float(true))))))
        worst = max(worst, float(abs(mpmath.mpf(float(value)) - true) / unit))
    return worst


def families(n, rows=20):
    rng = np.random.default_rng(n)
    p = np.log(rng.dirichlet(np.ones(n), rows))
    first = -np.log1p(np.exp(-rng.uniform(0, 40, rows)))
    rest = np.log(-np.expm1(first) / (n - 1))
    one_larger = np.repeat(rng.uniform(-5, 2, (rows, 1)), n, axis=1)
    one_larger[:, 0] += rng.uniform(0, 3, rows)
    return {
        "log-probabilities": p,
        "in single precision": p.astype(np.float32).astype(np.float64),
        "beside them": p + 10 ** rng.uniform(-16, 0, (rows, 1)),
        "sparse": np.log(rng.dirichlet(np.full(n, 0.1), rows) + 1e-300),
        "the rest shared": np.stack([first] + [rest] * (n - 1), axis=1),
        "one larger": one_larger,
        "below": rng.normal(size=(rows, n)) - rng.uniform(0, 5, (rows, 1)),
        "two zeros": np.concatenate([np.zeros((rows, 1)), np.repeat(-np.linspace(0, 700, rows)[:, None], n - 1, axis=1)], axis=1),
        "equal": np.repeat(rng.uniform(-3, 3, (rows, 1)), n, axis=1),
    }


@pytest.mark.parametrize("n", [2, 3, 10, 40])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_one_unit_in_the_last_place(n, dtype):
    for name, rows in families(n).items():
        rows = rows.astype(dtype)
        assert ulps(F.logsumexp(rows), rows) <= (1 if dtype == np.float64 else 0.501), name


def test_axis_order_and_company_change_nothing():
    rows = np.log(np.random.default_rng(0).dirichlet(np.ones(6), 50))
    once = F.logsumexp(rows)
    assert np.array_equal(F.logsumexp(rows.T, axis=0), once)
    assert np.array_equal(F.logsumexp(rows[:, ::-1]), once)
    assert np.array_equal(F.logsumexp(np.concatenate([rows, 5 + rows]))[:50], once)
    assert np.array_equal([F.logsumexp(row) for row in rows], once)


def test_where_more_digits_cancel_than_the_words_hold():
    """Of thousands of rows of two, a few sum to 1 within 2^-66: for those decimal arithmetic decides."""
    first = -np.random.default_rng(1).exponential(size=20_000)
    rows = np.stack([first, np.log(-np.expm1(first))], axis=1)
    _, certain = cancelled.refined(rows, np.log1p(np.exp(rows).sum(axis=1) - 1))
    assert 1 <= np.count_nonzero(~certain) <= 50
    assert ulps(F.logsumexp(rows)[~certain], rows[~certain]) <= 0.5


def test_exponentials_in_words():
    rng = np.random.default_rng(2)
    y = -(10 ** rng.uniform(-8, 2.8, 400))
    low = y * 2.0**-54 * rng.uniform(-1, 1, 400)
    m = words.step(y)
    j = m.astype(int) % words.STEPS
    found = words.terms(*words.remainder(y, low, m), *words.POWERS[:, j])
    with mpmath.workdps(60):
        for i in range(400):
            total = mpmath.fsum(mpmath.mpf(float(term[i])) for term in found) * mpmath.mpf(2) ** int((m[i] - j[i]) / words.STEPS)
            true = mpmath.exp(mpmath.mpf(float(y[i])) + mpmath.mpf(float(low[i])))
            assert abs(total / true - 1) <= 2.0**-124
