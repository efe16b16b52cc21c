"""Rows that single precision works on in two words, and rows that it leaves to double precision."""

from __future__ import annotations

import numpy as np
import pytest

from backproof.kernels import cpu
from tests.test_cpu_kernels import L, cross_entropy, exact, exact_cross_entropy, log_softmax, softmax, ulps

CLASSES = [3, 10, 31, 40, 1030, 5000]
pytestmark = pytest.mark.skipif(np.finfo(L).nmant < 63, reason="needs an 80-bit long double as reference")


def all_kinds(classes):
    """Rows with their weights and labels, each in its way at or beyond the edge of what two words hold, ordinary ones between."""
    rng = np.random.default_rng(3)
    z = rng.normal(size=(60, classes)).astype(np.float32)
    labels, weights = rng.integers(0, classes, len(z)), rng.uniform(0.5, 1.0, len(z)) / len(z)
    z[1] += 63.0  # the largest is beyond 64, or just below
    z[3] = np.float32(64.0) - z[3] ** 2
    z[5] -= 70.0
    z[7] *= 20.0
    z[9] = -np.arange(classes, dtype=np.float32) * np.float32(49.8 / (classes - 1))  # down to 2^-72 of the largest
    z[11] = -np.arange(classes, dtype=np.float32) * np.float32(50.3 / (classes - 1))
    z[13] = np.where(np.arange(classes) % 3 == 0, 0, -90).astype(np.float32)  # subnormal probabilities
    z[15, ::2] = -np.inf
    z[17, -1] = np.nan
    z[19] = np.inf
    z[21] = -np.inf
    z[23], z[23, 0] = -14.0, 9.0  # the others together: 2^-32 to 2^-22 of the largest
    z[25], z[25, 1] = -12.0, 11.0
    z[27] = 0.125
    z[29], z[29, 1] = 0.0, 31.4  # all of one size below what the sums hold
    z[31] = 1e30 * z[31]
    z[33] = -0.0
    z[45] -= 22.0  # the others together: less than 2^-40
    z[45, 1] = 9.0
    z[47] += 3000.0
    z[49], z[49, 1] = -85.0 + 2.0 * z[49], 0.0  # normal probabilities whose low words would be subnormal
    z[51, 1::3] = -1e9
    z[53, 1::3], z[53, 0] = -np.inf, -60.0
    z[55] -= 34.0  # the others together: some 2^-50 of the largest
    z[55, 1] = 2.0
    z[57] = 10.0 * z[57] - 20.0
    for row in (23, 25, 27, 29, 45, 55):
        labels[row] = 1
    weights[[35, 37]] = 1e-30, 1e30
    z[37, 2] = -150.0  # not nothing any more, with such a weight
    weights[39] = 0.0
    labels[[41, 43, 44]] = -100
    z[43] = np.nan
    return z, labels, weights


def everything(z, labels, weights):
    values = [softmax(z), log_softmax(z), cpu.logsumexp(z, 1)]
    weighted = np.empty_like(z)
    cpu.logsumexp_vjp(z, weights, 1, weighted)
    return [*values, weighted, *cross_entropy(z, labels, scale=weights, ignore_index=-100)]


@pytest.mark.parametrize("classes", CLASSES)
def test_no_row_minds_its_neighbours(classes):
    rows = all_kinds(classes)
    together = everything(*rows)
    for r in range(len(rows[0])):
        for one, all_of_them in zip(everything(*(a[r : r + 1] for a in rows)), together, strict=True):
            np.testing.assert_array_equal(one[0], all_of_them[r])
    order = np.random.default_rng(4).permutation(len(rows[0]))
    for one, all_of_them in zip(everything(*(a[order] for a in rows)), together, strict=True):
        np.testing.assert_array_equal(one, all_of_them[order])


@pytest.mark.parametrize("classes", [10, 40, 200])
def test_side_by_side_or_next_to_each_other(classes):
    z, labels, weights = all_kinds(classes)
    here = everything(z, labels, weights)
    for one, two in zip(everything(np.asfortranarray(z), labels, weights), here, strict=True):
        np.testing.assert_array_equal(one, two)
    for place, kind in ((0, cpu.softmax), (1, cpu.log_softmax)):
        same = z.copy()
        kind(same, 1, same)
        np.testing.assert_array_equal(same, here[place])


@pytest.mark.parametrize("classes", CLASSES)
def test_accuracy_of_every_kind(classes):
    z, labels, weights = all_kinds(classes)
    finite = np.isfinite(z).all(1) & (labels >= 0)
    z, labels = z[finite], labels[finite]
    h, log_h, lse = exact(z)
    normal = h > np.finfo(np.float32).tiny
    assert ulps(softmax(z)[normal], h[normal], np.float32) <= 0.501
    assert np.abs(softmax(z)[~normal] - h[~normal]).max(initial=0.0) <= 0.501 * np.finfo(np.float32).smallest_subnormal
    assert ulps(log_softmax(z), log_h, np.float32) <= 0.501
    far = np.abs(lse) > 0.1
    assert ulps(cpu.logsumexp(z, 1)[far], lse[far], np.float32) <= 0.501
    loss, g = exact_cross_entropy(z, labels)
    found_loss, found = cross_entropy(z, labels)
    large = np.abs(g) > np.finfo(np.float32).tiny
    assert ulps(found[large], g[large], np.float32) <= 0.501
    assert np.abs(found_loss - loss).max() <= 2.0**-33 * np.abs(loss).max()
    weights = weights[finite][:, None].astype(L)
    product = np.empty_like(z)
    cpu.logsumexp_vjp(z, weights[:, 0].astype(np.float64), 1, product)
    large = np.abs(h * weights) > np.finfo(np.float32).tiny
    large &= np.abs(h * weights) < np.finfo(np.float32).max
    assert ulps(product[large], (h * weights)[large], np.float32) <= 0.501


def test_sums_of_many_small_exponentials():
    """Each at the edge of the units of a sum, all rounded the same way."""
    for distance in np.arange(27.0, 33.0, 0.25, dtype=np.float32):
        z = np.full((1, 30_000), -distance, np.float32)
        z[0, 7] = 0
        assert ulps(softmax(z), exact(z)[0], np.float32) <= 0.501


@pytest.mark.parametrize("classes", [1000, 3105, 8200, 9216])
def test_wherever_rows_and_results_lie(classes):
    """Where the words of a row go depends on where logits and results lie in their pages; what is made of them does not."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(24, classes)).astype(np.float32)
    z[7], z[15, 3] = np.linspace(0, 60, classes, dtype=np.float32), np.nan  # no rows for two words
    z[1::2, :12] += 25.0  # what stands before and behind a row is not of it
    z[2::3, -12:] -= 20.0
    expected = np.concatenate([softmax(row[None]) for row in z])
    np.testing.assert_array_equal(softmax(np.asfortranarray(z)), expected)
    for step, behind in [(0, 0), (16, 16), (24, 40), (100, 7), (1000, 512), (1024, 1008), (-2 * classes, 3)]:
        room = np.zeros(len(z) * (classes + max(step, 0)) + 4096, np.float32)
        stride = (classes + step) if step >= 0 else -classes
        start = behind if stride > 0 else behind + classes * (len(z) - 1)
        out = np.lib.stride_tricks.as_strided(room[start:], z.shape, (4 * stride, 4))
        cpu.softmax(z, 1, out)
        np.testing.assert_array_equal(out, expected)
        out[:] = z
        cpu.softmax(out, 1, out)
        np.testing.assert_array_equal(out, expected)
    labels, weights = rng.integers(0, classes, len(z)), rng.uniform(0.5, 1.0, len(z))
    here = everything(z, labels, weights)
    for start in (1, 4, 12, 15):
        moved = np.empty(z.size + start, np.float32)[start:].reshape(z.shape)
        moved[:] = z
        for one, two in zip(everything(moved, labels, weights), here, strict=True):
            np.testing.assert_array_equal(one, two)
    runs = np.zeros((4, 2, 3, classes), np.float32).transpose(2, 0, 1, 3)  # neighbours lie apart, now nearer, now farther
    cpu.softmax(z.reshape(3, 4, 2, classes), 3, runs)
    np.testing.assert_array_equal(runs.reshape(-1, classes), expected)
