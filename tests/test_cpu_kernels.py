"""The compiled softmax kernels against 80-bit formulas of their own: accuracy, limits, and the same bits in every layout."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import mpmath
import numpy as np
import pytest

from backproof.kernels import cpu, dispatch
from backproof.kernels.cpu import calls, gradients, values
from backproof.kernels.reference_losses import Options
from backproof.kernels.rows import vector_bytes

L = np.longdouble
FLOATS = [np.float32, np.float64]
pytestmark = pytest.mark.skipif(np.finfo(L).nmant < 63, reason="needs an 80-bit long double as reference")


def ulps(found, true, dtype):
    """Largest error in units of the last place of the dtype at the true value."""
    unit = np.spacing(np.abs(true).astype(dtype)).astype(L)
    return float(np.max(np.abs(found.astype(L) - true) / unit, initial=0.0))


def exact(z, axis=-1):
    """softmax, log-softmax, logsumexp in long double, with the sum of the others."""
    z = np.moveaxis(z.astype(L), axis, -1)
    top = z.max(-1, keepdims=True)
    e = np.exp(z - top)
    others = e.copy()
    np.put_along_axis(others, z.argmax(-1)[..., None], L(0), -1)
    s = others.sum(-1, keepdims=True)
    back = [np.moveaxis(a, -1, axis) for a in (e / (1 + s), z - top - np.log1p(s))]
    return *back, (top + np.log1p(s))[..., 0]


def exact_cross_entropy(z, t, *, class_weight=None, label_smoothing=0.0, z_loss=0.0, softcap=None, temperature=1.0):
    z = z.astype(L)
    rows, classes = np.arange(len(z)), z.shape[1]
    u = (z if softcap is None else softcap * np.tanh(z / softcap)) / L(temperature)
    if t.ndim == 1:
        labels, t = t, np.zeros(z.shape, L)
        t[rows, labels] = 1
    q = (1 - L(label_smoothing)) * t.astype(L) + L(label_smoothing) / classes
    q = q if class_weight is None else q * class_weight.astype(L)
    k = u.argmax(1)
    d = u - u[rows, k][:, None]
    e = np.exp(d)
    rest, beside = e.copy(), q.copy()
    rest[rows, k] = beside[rows, k] = 0
    s, mass = rest.sum(1), q.sum(1)
    lse = u[rows, k] + np.log1p(s)
    loss = mass * np.log1p(s) - (q * d).sum(1) + z_loss * lse**2
    g = mass[:, None] * e / (1 + s)[:, None] - q
    g[rows, k] = beside.sum(1) - mass * s / (1 + s)
    g += (2 * z_loss * lse)[:, None] * e / (1 + s)[:, None]
    if softcap is not None:
        g = g / np.cosh(z / softcap) ** 2
    return loss, g / L(temperature)


def softmax(z, axis=-1, function=cpu.softmax):
    out = np.empty_like(z)
    function(z, axis % z.ndim, out)
    return out


def log_softmax(z, axis=-1):
    return softmax(z, axis, cpu.log_softmax)


def cross_entropy(z, t, scale=None, grad=True, ignore_index=None, **options):
    """(loss, gradient); grad: True, False or where to put it."""
    loss = np.full(len(z), np.nan)
    out = np.empty(z.shape, z.dtype) if grad is True else None if grad is False else grad
    given = {"class_weight": None, "label_smoothing": 0.0, "z_loss": 0.0, "softcap": None, "temperature": 1.0, **options}
    cpu.cross_entropy(z, t, scale=scale, ignore_index=ignore_index, loss=loss, grad=out, **given)
    return loss, out


INPUTS = {
    "10 classes": ((200, 10), 1.0),
    "3 classes, wide": ((300, 3), 10.0),
    "17 classes": ((50, 17), 3.0),
    "1000 classes": ((30, 1000), 1.0),
    "1000 classes, wide": ((30, 1000), 10.0),
    "1000 classes, wider": ((30, 1000), 100.0),
    "50001 classes": ((2, 50001), 1.0),
}


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_forward_accuracy(name, dtype):
    shape, spread = INPUTS[name]
    z = (np.random.default_rng(1).normal(size=shape) * min(spread, 30.0 if dtype == np.float16 else spread)).astype(dtype)
    h, log_h, lse = exact(z)
    double = dtype == np.float64
    assert ulps(softmax(z), h, dtype) <= (3 if double else 0.501)
    assert ulps(log_softmax(z), log_h, dtype) <= (2 if double else 0.501)
    far = np.abs(lse) > 2.0**-6  # nearer to 0 the long double cancels too: functional/test_cancelled.py
    assert ulps(cpu.logsumexp(z, 1)[far], lse[far], dtype) <= (1 if double else 0.501)


@pytest.mark.parametrize("dtype", FLOATS)
def test_confident_rows_keep_every_digit(dtype):
    """[gap, 0, ...]: entries near 0 and 1, the gradient at the label, the loss."""
    gaps = np.linspace(0, 85 if dtype == np.float32 else 700, 300)
    for noise in (0.0, 1.0):
        z = (np.random.default_rng(2).normal(size=(300, 10)) * noise).astype(dtype)
        z[:, 3] = (gaps + 5 * noise).astype(dtype)
        h, log_h, lse = exact(z)
        loss, g = exact_cross_entropy(z, np.full(300, 3))
        found_loss, found_g = cross_entropy(z, np.full(300, 3))
        double = dtype == np.float64
        bar = 3 if double else 0.501
        assert ulps(softmax(z), h, dtype) <= bar
        assert ulps(log_softmax(z), log_h, dtype) <= (2 if double else 0.501)
        assert ulps(cpu.logsumexp(z, 1), lse, dtype) <= 1
        assert ulps(found_g, g, dtype) <= bar
        assert ulps(found_loss, loss, dtype) <= 2


def test_against_mpmath():
    z = np.random.default_rng(3).normal(size=(20, 6)) * 30
    h, log_h = softmax(z), log_softmax(z)
    with mpmath.workdps(150):
        for row, p, log_p in zip(z, h, log_h, strict=True):
            e = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
            whole = mpmath.fsum(e)
            for x, found, found_log in zip(e, p, log_p, strict=True):
                for value, number in ((x / whole, found), (mpmath.log(x / whole), found_log)):
                    assert abs(mpmath.mpf(float(number)) - value) <= 3 * mpmath.mpf(float(np.spacing(abs(float(value)))))


def test_subnormal_probabilities():
    assert softmax(np.array([[0, -100]], np.float32))[0, 1] == np.float32(math.exp(-100))
    h = softmax(np.array([[0.0, -720.0, -744.0, -800.0]]))[0]
    assert h[1] == pytest.approx(math.exp(-720), rel=1e-9)
    assert h[2] == math.exp(-744)
    assert h[3] == 0


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("shape", [(200, 10), (200, 3), (40, 1000), (60, 40), (3, 70000)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_of_labels(shape, dtype, scaled):
    """float64: an entry h - t off the label is one rounding more with a scale, and near h = t at the label it is inherent."""
    rng = np.random.default_rng(4)
    z = (rng.normal(size=shape) * 3).astype(dtype)
    t = rng.integers(0, shape[1], shape[0])
    t[::2] = z[::2].argmax(1)
    scale = rng.random(shape[0]) if scaled else None
    loss, g = exact_cross_entropy(z, t)
    g = g * (1 if scale is None else scale[:, None].astype(L))
    found_loss, found_g = cross_entropy(z, t, scale)
    assert ulps(found_loss, loss, dtype) <= 2.2
    assert ulps(found_g, g, dtype) <= (0.501 if dtype == np.float32 else 3.5)
    np.testing.assert_array_equal(cross_entropy(z, t, scale, grad=False)[0], found_loss)
    in_place = z.copy()
    np.testing.assert_array_equal(cross_entropy(in_place, t, scale, grad=in_place)[0], found_loss)
    np.testing.assert_array_equal(in_place, found_g)


OPTIONS = [
    {"label_smoothing": 0.1}, {"z_loss": 1e-3}, {"softcap": 5.0}, {"temperature": 0.7}, {"weighted": True}, {"soft": True},
    {"label_smoothing": 0.1, "z_loss": 1e-2, "softcap": 10.0, "temperature": 1.5, "weighted": True},
    {"label_smoothing": 0.2, "z_loss": 1e-2, "weighted": True, "soft": True},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("classes", [3, 30])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cross_entropy_options(options, classes, dtype):
    options = dict(options)
    rng = np.random.default_rng(5)
    z = (rng.normal(size=(100, classes)) * 4).astype(dtype)
    t = rng.dirichlet(np.ones(classes), 100) if options.pop("soft", False) else rng.integers(0, classes, 100)
    if options.pop("weighted", False):
        options["class_weight"] = rng.random(classes)
    scale = rng.random(100)
    loss, g = exact_cross_entropy(z, t, **options)
    found_loss, found_g = cross_entropy(z, t, scale, **options)
    np.testing.assert_allclose(found_loss, loss.astype(np.float64), rtol=3e-15)
    bound = 12 * np.finfo(np.float64).eps + (0.51 * np.finfo(np.float32).eps if dtype == np.float32 else 0)
    assert np.all(np.abs(found_g - g * scale[:, None]) <= bound * (np.abs(g) + (2e-7 if dtype == np.float32 else 1.0)))
    in_place = z.copy()
    cross_entropy(in_place, t, scale, grad=in_place, **options)
    np.testing.assert_array_equal(in_place, found_g)


def test_probabilities_one_hot_are_labels():
    z = np.random.default_rng(6).normal(size=(50, 12)) * 5
    t = np.random.default_rng(7).integers(0, 12, 50)
    (loss, g), (loss_hot, g_hot) = cross_entropy(z, t), cross_entropy(z, np.eye(12)[t])
    np.testing.assert_allclose(loss_hot, loss, rtol=1e-15)
    np.testing.assert_allclose(g_hot, g, rtol=2e-15, atol=1e-300)


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every other": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "read-only": lambda a: (a := a.copy(), a.setflags(write=False))[0],
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(40, 3), (40, 10), (20, 16), (20, 33), (9, 300), (5, 5000)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_layouts_change_no_bit(layout, shape, dtype):
    rng = np.random.default_rng(8)
    z, u = (rng.normal(size=shape).astype(dtype) * 4 for _ in range(2))
    t, scale = rng.integers(0, shape[1], shape[0]), rng.random(shape[0])
    other, other_u = LAYOUTS[layout](z), LAYOUTS[layout](u)
    np.testing.assert_array_equal(other, z)
    out = np.repeat(np.empty_like(z), 2, axis=1)[:, ::2]
    h, log_h = softmax(z), log_softmax(z)
    for function, right in ((cpu.softmax, h), (cpu.log_softmax, log_h)):
        function(other, 1, out)
        np.testing.assert_array_equal(out, right)
        turned = np.empty(shape[::-1], dtype)
        function(other.T, 0, turned)
        np.testing.assert_array_equal(turned.T, right)
    np.testing.assert_array_equal(cpu.logsumexp(other, 1), cpu.logsumexp(z, 1))
    for function, first in ((cpu.softmax_vjp, h), (cpu.log_softmax_vjp, log_h)):
        right, turned = np.empty_like(z), np.empty(shape[::-1], dtype)
        function(first, u, 1, right)
        function(LAYOUTS[layout](first), other_u, 1, out)
        np.testing.assert_array_equal(out, right)
        function(first.T, other_u.T, 0, turned)
        np.testing.assert_array_equal(turned.T, right)
    loss, g = cross_entropy(z, t, scale)
    found_loss, _ = cross_entropy(other, t, scale, grad=out)
    np.testing.assert_array_equal(found_loss, loss)
    np.testing.assert_array_equal(out, g)


@pytest.mark.parametrize("dtype", FLOATS)
def test_any_axis_of_many(dtype):
    z = np.random.default_rng(9).normal(size=(3, 4, 5, 6, 7)).astype(dtype)
    for view in (z, z[::2, :, ::-1, 1::2], z.transpose(3, 1, 4, 0, 2)):
        for axis in range(5):
            right = np.moveaxis(softmax(np.ascontiguousarray(np.moveaxis(view, axis, -1))), -1, axis)
            np.testing.assert_array_equal(softmax(view, axis), right)
            moved = np.ascontiguousarray(np.moveaxis(view, axis, -1))
            np.testing.assert_array_equal(cpu.logsumexp(view, axis), cpu.logsumexp(moved, 4))
            copy = view.copy()
            cpu.softmax(copy, axis, copy)
            np.testing.assert_array_equal(copy, right)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5000, 10), (300, 1000), (5, 40000)])
def test_threads_and_company_change_no_bit(shape, dtype, monkeypatch):
    rng = np.random.default_rng(10)
    z, u, t = rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])

    def everything(some):
        g = np.empty_like(z[some])
        cpu.softmax_vjp(softmax(z[some]), u[some], 1, g)
        return softmax(z[some]), log_softmax(z[some]), cpu.logsumexp(z[some], 1), *cross_entropy(z[some], t[some]), g

    monkeypatch.setattr(calls, "threads", lambda: 1)
    right = everything(slice(None))
    for count in (2, 3):
        monkeypatch.setattr(calls, "threads", lambda count=count: count)
        for one, two in zip(everything(slice(None)), right, strict=True):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(everything(slice(2, 5)), right, strict=True):
        np.testing.assert_array_equal(one, two[2:5])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("spread", [1.0, 30.0])
@pytest.mark.parametrize("classes", [7, 100, 3000, 10000])
def test_order_changes_no_bit(classes, spread, dtype):
    rng = np.random.default_rng(11)
    z = (rng.normal(size=(100 if classes < 1000 else 5, classes)) * spread).astype(dtype)
    z[:, 1] = z.max(1)  # a tie for the largest
    order = rng.permutation(classes)
    for function in (softmax, log_softmax):
        np.testing.assert_array_equal(function(np.ascontiguousarray(z[:, order])), function(z)[:, order])
    np.testing.assert_array_equal(cpu.logsumexp(np.ascontiguousarray(z[:, order]), 1), cpu.logsumexp(z, 1))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [3, 9, 40, 600])
def test_limits(classes, dtype):
    rng = np.random.default_rng(12)
    z = rng.normal(size=(9, classes)).astype(dtype)
    right, right_log = softmax(z), log_softmax(z)
    z[0, 1] = np.nan
    z[1] = -np.inf
    z[2, 0] = np.inf
    z[3, :2] = np.inf
    z[4, 1:] = -np.inf
    z[5, 2] = -np.inf
    z[6, 0], z[6, 1] = np.inf, np.nan
    h, log_h, lse = softmax(z), log_softmax(z), cpu.logsumexp(z, 1)
    assert np.isnan(h[[0, 6]]).all()
    assert np.isnan(log_h[[0, 6]]).all()
    assert (h[1] == 0).all()
    assert (log_h[1] == -np.inf).all()
    assert h[2, 0] == 1
    assert (h[2, 1:] == 0).all()
    assert (h[3, :2] == 0.5).all()
    assert (h[3, 2:] == 0).all()
    assert (log_h[3, :2] == dtype(-math.log(2))).all()
    assert (log_h[3, 2:] == -np.inf).all()
    assert h[4, 0] == 1
    assert log_h[4, 0] == 0
    assert (h[4, 1:] == 0).all()
    assert h[5, 2] == 0
    assert log_h[5, 2] == -np.inf
    assert np.isnan(lse[[0, 6]]).all()
    assert lse[1] == -np.inf
    assert (lse[2:4] == np.inf).all()
    np.testing.assert_array_equal(h[7:], right[7:])
    np.testing.assert_array_equal(log_h[7:], right_log[7:])
    t = np.zeros(9, dtype=np.int64)
    t[5] = 2
    for found in (cross_entropy(z, t), cross_entropy(z, np.eye(classes)[t])):
        loss, g = found
        assert np.isnan(loss[[0, 6]]).all()
        assert np.isnan(g[[0, 6]]).all()
        np.testing.assert_allclose(loss[1:6], [np.inf, 0, math.log(2), 0, np.inf], rtol=1e-15)
        assert (g[1] == 0).all()
        assert (g[2] == 0).all()
        np.testing.assert_allclose(g[3, :3], [-0.5, 0.5, 0])
        assert (g[4] == 0).all()
        assert g[5, 2] == -1
        assert np.isfinite(g[5]).all()
    loss, g = cross_entropy(z, np.where(np.arange(9) < 7, -100, 0), ignore_index=-100)
    assert (loss[:7] == 0).all()
    assert (g[:7] == 0).all()
    assert (loss[7:] > 0).all()
    loss, g = cross_entropy(z, t, np.where(np.arange(9) < 7, 0.0, 1.0))
    assert (g[:7] == 0).all()


def test_masked_class_without_target_mass_does_not_count():
    z, t = np.array([[1.0, -np.inf, 2.0]]), np.array([[0.5, 0.0, 0.5]])
    loss, g = cross_entropy(z, t)
    right_loss, right_g = cross_entropy(np.delete(z, 1, 1), np.delete(t, 1, 1))
    np.testing.assert_allclose(loss, right_loss, rtol=1e-15)
    np.testing.assert_allclose(g, np.insert(right_g, 1, 0.0, 1), rtol=1e-14)
    assert cross_entropy(z, np.array([0]), label_smoothing=0.1)[0] == np.inf
    assert cross_entropy(np.full((1, 3), -np.inf), np.zeros((1, 3)))[0] == 0


@pytest.mark.parametrize("classes", [3, 40])
def test_soft_cap_of_infinities(classes):
    z = np.zeros((2, classes))
    z[0, 1], z[1, 2] = -np.inf, np.inf
    loss, g = cross_entropy(z, np.zeros(2, dtype=np.int64), softcap=5.0)
    assert np.isfinite(loss).all()
    assert np.isfinite(g).all()
    assert g[0, 1] == 0


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
@pytest.mark.parametrize("shape", [(100, 10), (30, 3), (20, 1000), (30, 40)])
def test_vjp(shape, dtype):
    """Errors in units of eps h_i max|c| and eps (|u_i| + h_i sum|u|), what is inherent in a rounded h and a rounded result."""
    rng = np.random.default_rng(13)
    z, u = (rng.normal(size=shape) * 2).astype(dtype), rng.normal(size=shape).astype(dtype)
    u += dtype(100)
    h, log_h, g = softmax(z), log_softmax(z), np.empty_like(z)
    p, q, v = h.astype(L), np.exp(log_h.astype(L)), u.astype(L)
    c = v - np.take_along_axis(v, h.argmax(1)[:, None], 1)
    cpu.softmax_vjp(h, u, 1, g)
    true = p * (c - (p * c).sum(1, keepdims=True))
    bound = np.finfo(dtype).eps * p * np.abs(c).max(1, keepdims=True) + np.finfo(dtype).smallest_subnormal
    assert np.max(np.abs(g - true) / bound) <= 1.2
    in_place = u.copy()
    cpu.softmax_vjp(h, in_place, 1, in_place)
    np.testing.assert_array_equal(in_place, g)
    cpu.softmax_vjp(h, np.full_like(u, 12345.678), 1, g)
    assert (g == 0).all()
    cpu.log_softmax_vjp(log_h, u, 1, g)
    true = v - q * v.sum(1, keepdims=True)
    bound = np.finfo(dtype).eps * (np.abs(v) + q * np.abs(v).sum(1, keepdims=True))
    assert np.max(np.abs(g - true) / bound) <= 1.5


@pytest.mark.parametrize("dtype", FLOATS)
def test_vjp_of_confident_rows(dtype):
    for gap in (10, 20, 40, 80):
        z = np.zeros((1, 20), dtype)
        z[0, 4] = gap
        h, log_h, g, g_log = softmax(z), log_softmax(z), np.empty_like(z), np.empty_like(z)
        one = np.zeros_like(z)
        one[0, 4] = 1
        p = exact(z)[0]
        cpu.softmax_vjp(h, one, 1, g)
        assert g[0, 4] == pytest.approx(float(19 * p[0, 0] * p[0, 4]), rel=20 * float(np.finfo(dtype).eps), abs=0)
        cpu.log_softmax_vjp(log_h, one, 1, g_log)
        assert g_log[0, 4] == pytest.approx(float(19 * p[0, 0]), rel=60 * float(np.finfo(dtype).eps), abs=0)


@pytest.mark.parametrize("dtype", [np.float16, *FLOATS])
def test_one_class_and_none(dtype):
    z = np.random.default_rng(14).normal(size=(50, 1)).astype(dtype)
    assert (softmax(z) == 1).all()
    assert (log_softmax(z) == 0).all()
    np.testing.assert_array_equal(cpu.logsumexp(z, 1), z[:, 0])
    loss, g = cross_entropy(z, np.zeros(50, dtype=np.int64))
    assert (loss == 0).all()
    assert (g == 0).all()
    for shape in ((0, 3), (3, 0)):
        empty = np.empty(shape, dtype)
        assert softmax(empty).shape == log_softmax(empty).shape == shape
        np.testing.assert_array_equal(cpu.logsumexp(empty, 1), np.full(shape[0], -np.inf, dtype))
        cpu.softmax_vjp(empty, empty, 1, empty)
        cpu.log_softmax_vjp(empty, empty, 1, empty)
    assert cross_entropy(np.empty((0, 3), dtype), np.empty(0, dtype=np.int64))[0].shape == (0,)
    assert softmax(np.array([1.0], dtype), 0)[0] == 1


def test_half_precision_sums_do_not_saturate():
    z = np.zeros((1, 65536), np.float16)
    assert (softmax(z) == np.float16(2.0**-16)).all()
    assert (log_softmax(z) == np.float16(-math.log(65536))).all()


@pytest.mark.parametrize("shape", [(1_000_000, 3), (3, 1_000_000)])
def test_a_million(shape):
    z = np.random.default_rng(15).normal(size=shape).astype(np.float32)
    h = softmax(z)
    some = slice(None, None, 100_003) if shape[1] == 3 else slice(None)
    assert ulps(h[some], exact(z[some])[0], np.float32) <= 0.501
    np.testing.assert_array_equal(softmax(np.asfortranarray(z)), h)
    turned = np.empty_like(z.T)
    cpu.softmax(z.T, 0, turned)
    np.testing.assert_array_equal(turned.T, h)
    t = np.random.default_rng(16).integers(0, shape[1], shape[0])
    loss, g = cross_entropy(z, t)
    beside = (t[:, None] + 1) % shape[1]
    np.testing.assert_array_equal(np.take_along_axis(g, beside, 1), np.take_along_axis(h, beside, 1))
    assert np.isfinite(loss).all()
    cross_entropy(z, t, grad=z)
    np.testing.assert_array_equal(z, g)


@pytest.mark.slow
def test_long_rows_whose_errors_could_add_up():
    """Two values three million times, along the first axis; and one dominant beside a million equal small ones."""
    z = np.zeros((3_000_000, 2), np.float32)
    z[1::2] = 1
    assert ulps(softmax(z, 0), exact(z, 0)[0], np.float32) <= 0.501
    z = np.full((1, 1_000_001), -14.1, np.float32)
    z[0, 7] = 0
    assert ulps(softmax(z), exact(z)[0], np.float32) <= 0.501
    z = z.astype(np.float64)
    assert ulps(softmax(z), exact(z)[0], np.float64) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS)
def test_many_orders(dtype):
    rng = np.random.default_rng(17)
    for _ in range(300):
        z = (rng.normal(size=(1, int(rng.integers(2, 3000)))) * rng.choice([1, 10, 100])).astype(dtype)
        order = rng.permutation(z.shape[1])
        np.testing.assert_array_equal(softmax(np.ascontiguousarray(z[:, order])), softmax(z)[:, order])


def test_errors_in_a_helper_reach_the_caller():
    def fails(task):
        if task:
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        calls.team.share(fails, 4, 2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_callers_that_share_the_helpers(monkeypatch, dtype):
    """One has them, the others work alone meanwhile; all have their own rows."""
    monkeypatch.setattr(calls, "threads", lambda: 3)
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=(1000 + i, 200)).astype(dtype) for i in range(6)]
    expected = [np.concatenate([softmax(row[None]) for row in z]) for z in arrays]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(20):
            for found, true in zip(pool.map(softmax, arrays), expected, strict=True):
                assert np.array_equal(found, true)


FORKED = """
import os, sys
import numpy as np
from backproof.kernels.cpu import calls, softmax

def h():
    out = np.empty_like(z)
    softmax(z, 1, out)
    return out

calls.threads = lambda: 2
z = np.random.default_rng(2).normal(size=(2000, 200))
expected = h()
child = os.fork()
if child == 0:
    os._exit(0 if all(np.array_equal(h(), expected) for _ in range(20)) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_helpers_after_a_fork():
    """A child has none of its parent's threads: it calls its own."""
    assert subprocess.run([sys.executable, "-c", FORKED], timeout=60, check=False).returncode == 0


def test_thread_limits_of_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert calls.threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert calls.threads() == calls.team.processors()


@pytest.mark.parametrize("offset", [0, 3, 12])
@pytest.mark.parametrize("n", [299, 1003, 4104, 9001])
def test_results_that_go_past_the_caches(monkeypatch, n, offset):
    """Large results are written otherwise than small ones, from the first line of the cache on: the numbers are the same."""
    for module in (values, gradients):  # on any processor
        monkeypatch.setattr(module, "goes_past", lambda item, numbers, n: item * numbers >= values.LARGE)
    rng = np.random.default_rng(n + offset)
    z = rng.standard_normal((values.LARGE // (4 * n) + 1, n), dtype=np.float32)
    labels = rng.integers(0, n, len(z))
    scale = np.full(len(z), 0.5)
    memory = np.full(z.size + offset + 20, 7.0, dtype=np.float32)
    out = memory[offset : offset + z.size].reshape(z.shape)
    h = dispatch.softmax(z, 1, out).copy()
    gradient = dispatch.cross_entropy(z, labels, Options(), scale, True, out)[1].copy()
    logs = dispatch.log_softmax(z, 1, out).copy()
    product = dispatch.softmax_vjp(h, z, 1, out).copy()
    of_logs = dispatch.log_softmax_vjp(logs, z, 1, out)
    for start in range(0, len(z), 512):
        some = slice(start, start + 512)
        assert np.array_equal(logs[some], dispatch.log_softmax(z[some], 1))
        assert np.array_equal(of_logs[some], dispatch.log_softmax_vjp(logs[some], z[some], 1))
        assert np.array_equal(h[some], dispatch.softmax(z[some], 1))
        assert np.array_equal(gradient[some], dispatch.cross_entropy(z[some], labels[some], Options(), scale[some], True)[1])
        assert np.array_equal(product[some], dispatch.softmax_vjp(h[some], z[some], 1))
    assert (memory[:offset] == 7).all()
    assert (memory[offset + z.size :] == 7).all()


@pytest.mark.parametrize("offset", [0, 5])
@pytest.mark.parametrize("n", [(1 << 17) - 3, (1 << 17) + 300])
def test_long_rows_of_every_kind_past_the_caches(n, offset):
    """Exponentials that are computed twice, where they would not stay in a cache, have the bits of those that are kept."""
    rng = np.random.default_rng(n)
    z = rng.standard_normal((values.LARGE // (4 * n) + 2, n), dtype=np.float32)
    z[2, n // 3 :] = -np.inf  # masked
    z[5, 77] = 17.0  # likely enough to need a third sum
    z[6, n - 1] = 17.0
    z[7] = 0.25
    z[8, 11] = 40.0  # others that two words do not tell
    z[9, 3] = 60.0  # beyond two words, as the next but one
    z[11, 5], z[11, 6] = 25.0, -30.0
    z[13, n - 2] = np.nan
    z[15] -= 40.0
    out = np.empty(z.size + offset, dtype=np.float32)[offset:].reshape(z.shape)
    assert values.goes_past(4, out.size, n) == (vector_bytes() == 64)
    h = dispatch.softmax(z, 1, out).copy()
    in_place = z.copy()
    assert np.array_equal(h, dispatch.softmax(in_place, 1, in_place), equal_nan=True)
    for row in range(len(z)):
        assert np.array_equal(h[row], dispatch.softmax(z[row : row + 1], 1)[0], equal_nan=True)
    logs, summed = dispatch.log_softmax(z, 1), dispatch.logsumexp(z, 1)
    for row in (0, 2, 5, 6, 8, 9, 15):
        probabilities, log_probabilities, log_sum = exact(z[row])
        assert ulps(h[row], probabilities, np.float32) <= 0.501
        finite = np.isfinite(z[row])
        assert ulps(logs[row][finite], log_probabilities[finite], np.float32) <= 0.501
        assert ulps(summed[row : row + 1], log_sum[None], np.float32) <= 0.501


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 3, 7, 10, 15])
def test_short_rows_touch_only_their_own_numbers(classes, dtype):
    """Rows read and written as vectors: what lies between them stays, and what it is does not matter."""
    rng = np.random.default_rng(classes)
    z = rng.normal(size=(70, classes)).astype(dtype)
    given, made = np.full((70, classes + 3), np.nan, dtype), np.full((70, classes + 3), 7, dtype)
    given[:, 2:-1] = z
    cpu.softmax(given[:, 2:-1], 1, made[:, 2:-1])
    expected = np.empty_like(z)
    cpu.softmax(z, 1, expected)
    np.testing.assert_array_equal(made[:, 2:-1], expected)
    np.testing.assert_array_equal(made[:, [0, 1, -1]], 7)
    one_by_one = np.concatenate([softmax(row[None]) for row in z])
    np.testing.assert_array_equal(expected, one_by_one)
