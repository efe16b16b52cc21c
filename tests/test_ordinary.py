"""The short way of cross-entropy for ordinary NumPy arrays: the general way's bits and errors, and where it is taken."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from backproof.functional import cross_entropy, cross_entropy_and_grad, ordinary
from backproof.functional import entropy as general_module
from backproof.kernels import dispatch

FORMS = [(1, 1), (64, 10), (5, 33), (7, 300), (700, 10), (3, 5000), (300, 500)]  # the last by threads


@pytest.fixture
def ways(monkeypatch):
    def short(function):
        def refused(*_):
            raise AssertionError("the general way was taken")

        with monkeypatch.context() as patch:
            patch.setattr(general_module, "_problem", refused)
            return function()

    def general(function):
        with monkeypatch.context() as patch:
            patch.setattr(ordinary, "cross_entropy", lambda *_: None)
            return function()

    return short, general


def problem(rows, classes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return (3 * rng.normal(size=(rows, classes))).astype(dtype), rng.integers(0, classes, rows)


def assert_same(ways, z, t, **options):
    results = [way(lambda: (*cross_entropy_and_grad(z, t, **options), cross_entropy(z, t, **options))) for way in ways]
    for mine, theirs in zip(*results, strict=True):
        assert type(mine) is type(theirs)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_same_bits(ways, form, dtype, reduction):
    z, t = problem(*form, dtype)
    assert_same(ways, z, t, reduction=reduction)
    assert_same(ways, z, t, reduction=reduction, axis=1, ignore_index=int(t[0]))
    assert_same(ways, z, np.where(t == t[-1], -100, t), reduction=reduction, ignore_index=-100)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38])
@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.filterwarnings("error")
def test_same_bits_at_the_edges(ways, where, value, reduction):
    z, t = problem(6, 4)
    t[:] = 0
    z[2, where] = z[4, where] = value
    assert_same(ways, z, t, reduction=reduction)
    t[[2, 4]] = -1  # rows that count nothing, whatever they hold
    assert_same(ways, z, t, reduction=reduction, ignore_index=-1)
    t[:] = -1
    assert_same(ways, z, t, reduction=reduction, ignore_index=-1)


def test_an_output_is_filled_and_given_back(ways):
    short, general = ways
    z, t = problem(64, 10)
    loss, expected = general(lambda: cross_entropy_and_grad(z, t))
    out = np.empty_like(z)
    assert short(lambda: cross_entropy_and_grad(z, t, out=out))[1] is out
    np.testing.assert_array_equal(out, expected)
    again, itself = short(lambda: cross_entropy_and_grad(z, t, out=z))
    assert itself is z
    assert again == loss
    np.testing.assert_array_equal(z, expected)


WRONG = {
    "label as large as the classes": lambda z, t: (z, np.where(t == 3, 4, t), {}),
    "label negative": lambda z, t: (z, t - 1, {}),
    "label not the ignored one": lambda z, t: (z, t - 100, {"ignore_index": -99}),
    "label that stands for none": lambda z, t: (z, np.where(t == 3, -dispatch.FARTHEST, t), {}),
    "label wrong among many": lambda z, t: (problem(300, 500)[0], np.arange(201, 501), {}),
    "too few labels": lambda z, t: (z, t[1:], {}),
    "labels of another shape": lambda z, t: (z, t[:, None], {}),
    "labels not whole": lambda z, t: (z, t.astype(np.float32), {}),
    "reduction": lambda z, t: (z, t, {"reduction": "median"}),
    "reduction a list": lambda z, t: (z, t, {"reduction": ["mean"]}),
    "ignored": lambda z, t: (z, t, {"ignore_index": 0.5}),
    "axis": lambda z, t: (z, t, {"axis": 2}),
    "axis no number": lambda z, t: (z, t, {"axis": 1.0}),
    "axis a truth": lambda z, t: (z, t, {"axis": True}),
    "output too short": lambda z, t: (z, t, {"out": np.empty((5, 4), np.float32)}),
    "output of another dtype": lambda z, t: (z, t, {"out": np.empty((6, 4))}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_same_errors(ways, wrong):
    z, t, options = WRONG[wrong](problem(6, 4)[0], np.array([0, 1, 2, 3, 0, 1]))
    said = []
    for way in (lambda f: f(), ways[1]):
        with pytest.raises(Exception, match="expected") as caught:
            way(lambda: cross_entropy_and_grad(z, t, **options))
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_a_read_only_output_is_refused():
    z, t = problem(6, 4)
    out = np.zeros_like(z)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        cross_entropy_and_grad(z, t, out=out)
    assert not out.any()


def misaligned(z):
    raw = np.zeros(z.nbytes + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(z.tobytes(), np.uint8)
    return raw.view(np.float32).reshape(z.shape)


class Kind(np.ndarray):
    pass


EXTRAORDINARY = {
    "a subclass": lambda z, t: cross_entropy_and_grad(z.view(Kind), t),
    "another byte order": lambda z, t: cross_entropy_and_grad(z.astype(">f4"), t),
    "no alignment": lambda z, t: cross_entropy_and_grad(misaligned(z), t),
    "half precision": lambda z, t: cross_entropy_and_grad(z.astype(np.float16), t),
    "strides": lambda z, t: cross_entropy_and_grad(z.repeat(2, 1)[:, ::2], t),
    "one row": lambda z, t: cross_entropy_and_grad(z[0], t[0]),
    "another axis": lambda z, t: cross_entropy_and_grad(z.T.copy(), t, axis=0),
    "shorter labels": lambda z, t: cross_entropy_and_grad(z, t.astype(np.int32)),
    "probabilities": lambda z, t: cross_entropy_and_grad(z, np.eye(4)[t]),
    "class weights": lambda z, t: cross_entropy_and_grad(z, t, weight=np.ones(4)),
    "sample weights": lambda z, t: cross_entropy_and_grad(z, t, sample_weight=np.ones(6)),
    "smoothing": lambda z, t: cross_entropy_and_grad(z, t, label_smoothing=0.1),
    "temperature": lambda z, t: cross_entropy_and_grad(z, t, temperature=2.0),
    "no rows": lambda z, t: cross_entropy_and_grad(z[:0], t[:0]),
    "an output that overlaps": lambda z, t: cross_entropy_and_grad(z[:5], t[:5], out=z[1:]),
}


@pytest.mark.parametrize("kind", EXTRAORDINARY)
def test_what_is_not_ordinary_goes_the_general_way(monkeypatch, kind):
    asked, made = [], general_module._problem
    monkeypatch.setattr(general_module, "_problem", lambda *a: asked.append(1) or made(*a))
    z, t = problem(6, 4)
    EXTRAORDINARY[kind](z, t)
    assert asked
    asked.clear()
    cross_entropy_and_grad(z, t)
    assert not asked
    with dispatch.only("reference"):
        cross_entropy_and_grad(z, t)
    assert asked
