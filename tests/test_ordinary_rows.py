"""The short way of softmax and its kin for ordinary NumPy arrays: the general way's bits, and where it is taken."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("numba")

from backproof import BackproofError
from backproof import functional as F
from backproof.functional import normalised, ordinary
from backproof.kernels import dispatch

FORMS = [(1,), (7,), (1, 1), (64, 10), (5, 33), (2, 3, 300), (700, 10), (3, 5000), (300, 500)]  # the last by threads
FUNCTIONS = {
    "softmax": (F.softmax, 1),
    "log_softmax": (F.log_softmax, 1),
    "softmax_vjp": (F.softmax_vjp, 2),
    "softmax_jvp": (F.softmax_jvp, 2),
    "log_softmax_vjp": (F.log_softmax_vjp, 2),
}


def arguments(name, shape, dtype=np.float32):
    rng = np.random.default_rng(0)
    z, u = ((3 * rng.normal(size=shape)).astype(dtype) for _ in range(2))
    first = {"softmax": z, "log_softmax": z, "log_softmax_vjp": F.log_softmax(z)}.get(name)
    return (F.softmax(z) if first is None else first, u)[: FUNCTIONS[name][1]]


def short(monkeypatch, function):
    def refused(*_):
        raise AssertionError("the general way was taken")

    with monkeypatch.context() as patch:
        patch.setattr(normalised, "floats", refused)
        return function()


def general(monkeypatch, function):
    with monkeypatch.context() as patch:
        patch.setattr(ordinary, "along", lambda *_: None)
        return function()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", FORMS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_same_bits(monkeypatch, name, shape, dtype):
    function, given = FUNCTIONS[name][0], arguments(name, shape, dtype)
    expected = general(monkeypatch, lambda: function(*given))
    for axis in (-1, len(shape) - 1):
        made = short(monkeypatch, lambda axis=axis: function(*given, axis=axis))
        assert type(made) is np.ndarray
        assert made.dtype == dtype
        np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_output_is_filled_and_given_back(monkeypatch, name):
    function, given = FUNCTIONS[name][0], arguments(name, (64, 10))
    expected, out = general(monkeypatch, lambda: function(*given)), np.empty_like(given[0])
    assert short(monkeypatch, lambda: function(*given, out=out)) is out
    np.testing.assert_array_equal(out, expected)
    first = given[0].copy()
    assert short(monkeypatch, lambda: function(first, *given[1:], out=first)) is first
    np.testing.assert_array_equal(first, expected)


def test_large_results_go_past_the_caches_in_both_ways(monkeypatch):
    z = np.random.default_rng(0).standard_normal((9000, 600), dtype=np.float32)
    for function, given in ((F.softmax, (z,)), (F.softmax_vjp, (F.softmax(z), z))):
        expected = general(monkeypatch, lambda function=function, given=given: function(*given))
        np.testing.assert_array_equal(short(monkeypatch, lambda function=function, given=given: function(*given)), expected)


Z = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
H, ROOM = F.softmax(Z), np.zeros(40, np.float32)
READ_ONLY = np.zeros_like(Z)
READ_ONLY.flags.writeable = False
OVER_H = ROOM[:24].reshape(6, 4)
EXTRAORDINARY = {
    "another axis": lambda: F.softmax(Z, axis=0),
    "several axes": lambda: F.softmax(Z, axis=(0, 1)),
    "an axis that is no number": lambda: F.softmax(Z, axis=True),
    "a list": lambda: F.softmax(Z.tolist()),
    "half precision": lambda: F.softmax(Z.astype(np.float16)),
    "integers": lambda: F.softmax(np.arange(4)),
    "strides": lambda: F.softmax(Z[:, ::2]),
    "columns": lambda: F.softmax(Z.T),
    "another byte order": lambda: F.softmax(Z.astype(">f4")),
    "a subclass": lambda: F.softmax(np.ma.masked_array(Z)),
    "nothing": lambda: F.softmax(Z[:0]),
    "no axes": lambda: F.softmax(np.float32(1.0)),
    "two precisions": lambda: F.softmax_vjp(H, Z.astype(np.float64)),
    "two shapes": lambda: F.softmax_vjp(H, Z[:3]),
    "an output that is the upstream": lambda: F.softmax_vjp(H, up := Z.copy(), out=up),
    "an output over the argument": lambda: F.softmax(OVER_H, out=ROOM[2:26].reshape(6, 4)),
    "an output of another shape": lambda: F.softmax(Z, out=np.zeros((4, 6), np.float32)),
    "an output of another precision": lambda: F.softmax(Z, out=np.zeros((6, 4))),
    "a read-only output": lambda: F.softmax(Z, out=READ_ONLY),
    "an output with strides": lambda: F.softmax(Z, out=np.zeros((4, 6), np.float32).T),
}


@pytest.mark.parametrize("kind", EXTRAORDINARY)
def test_what_is_not_ordinary_goes_the_general_way(monkeypatch, kind):
    """To its result, which other tests look at, or to its error; the short way leaves it alone."""
    taken = []

    def watched(*given, along=ordinary.along):
        taken.append(along(*given))
        return taken[-1]

    monkeypatch.setattr(ordinary, "along", watched)
    with suppress(BackproofError):
        assert np.all(np.isfinite(EXTRAORDINARY[kind]()))
    assert taken == [None]


def test_an_output_over_the_argument_gets_what_another_would():
    room = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    z, out = room[:24].reshape(6, 4), room[2:26].reshape(6, 4)
    expected = F.softmax(z.copy())
    np.testing.assert_array_equal(F.softmax(z, out=out), expected)


def test_the_reference_can_be_asked_for():
    with dispatch.only("reference"):
        assert ordinary.along("softmax", (Z,), -1, None) is None
        np.testing.assert_allclose(F.softmax(Z), H, rtol=2e-7)
