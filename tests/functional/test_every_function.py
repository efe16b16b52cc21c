"""Every public function on the same edges: right, compared with its formula in plain NumPy, or one clear error."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import backproof as bp
from backproof import functional as F


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True, initial=-np.inf, where=~np.isnan(z)))
    return e / e.sum(axis=-1, keepdims=True)


def product(h, u):
    """For an h whose sum is 1 but for its rounding: divided by it."""
    return h * (u - (h * u).sum(axis=-1, keepdims=True) / h.sum(axis=-1, keepdims=True))


def entropy(z, labels):
    n, rows = len(z), np.arange(len(z))
    h = softmax(z)
    value = -np.log(h[rows, labels]).sum() / max(n, 1)
    h[rows, labels] -= 1
    return value, h / max(n, 1)


def divergence(z, t):
    h, n = softmax(z), max(len(z), 1)
    return (t * np.log(t / h) - t + h).sum() / n, (t.sum(axis=-1, keepdims=True) * h - t) / n


def binary(z, t):
    n = max(len(z), 1)
    return (np.logaddexp(0, z) - t * z).sum() / n, (1 / (1 + np.exp(-z)) - t) / n


def linear(x, w, labels):
    value, g = entropy(x @ w.T, labels)
    return value, g @ w, g.T @ x


# name: the formula in double precision, of the arguments that `given` has for it
TRUTH = {
    "softmax": softmax,
    "log_softmax": lambda z: np.log(softmax(z)),
    "logsumexp": lambda z: np.log(np.exp(z).sum(axis=-1)),
    "softmax_vjp": product,
    "softmax_jvp": product,
    "log_softmax_vjp": lambda log_h, u: u - np.exp(log_h) * u.sum(axis=-1, keepdims=True),
    "logsumexp_vjp": lambda z, u: u[..., None] * softmax(z),
    "softmax_jacobian": lambda h: h[..., None] * (np.eye(h.shape[-1]) - h[..., None, :]),
    "cross_entropy": lambda z, t: entropy(z, t)[0],
    "cross_entropy_and_grad": entropy,
    "kl_divergence": lambda z, t: divergence(z, t)[0],
    "kl_divergence_and_grad": divergence,
    "binary_cross_entropy": lambda z, t: binary(z, t)[0],
    "binary_cross_entropy_and_grad": binary,
    "linear_cross_entropy": lambda x, w, t: linear(x, w, t)[0],
    "linear_cross_entropy_and_grad": linear,
}
every_function = pytest.mark.parametrize("name", TRUTH)
SMALL = (5, 4)


def given(name, shape, dtype=np.float64):
    """Arguments for rows of `shape`."""
    rng = np.random.default_rng(0)
    z, u = (rng.normal(size=shape).astype(dtype) for _ in range(2))
    labels = rng.integers(0, max(shape[-1], 1), shape[:-1])
    if name.startswith("linear"):
        return [rng.normal(size=(shape[0], 2)).astype(dtype), rng.normal(size=(shape[1], 2)).astype(dtype), labels]
    if name.startswith("cross"):
        return [z, labels]
    if name.startswith(("kl", "binary")):
        return [z, softmax(u)]
    if name == "log_softmax_vjp":
        return [np.log(softmax(z)), u]
    if name in ("softmax_vjp", "softmax_jvp"):
        return [softmax(z), u]
    return [softmax(z)] if name == "softmax_jacobian" else [z, u[..., 0]] if name == "logsumexp_vjp" else [z]


def call(name, arguments, **options):
    found = getattr(F, name)(*arguments, **options)
    return [a for a in found if a is not None] if isinstance(found, tuple) else [found]


def takes_out(name):
    return "out" in inspect.signature(getattr(F, name)).parameters


def require_right(found, name, arguments, eps):
    """To a few units of the largest number: that the answer is that of the question; how exact it is, other tests say."""
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arguments]
    true = TRUTH[name](*wide)
    for a, b in zip(found, true if isinstance(true, tuple) else (true,), strict=True):
        assert a.shape == np.shape(b)
        assert np.abs(a - b).max(initial=0) <= 40 * eps * np.abs(b).max(initial=1e-300)


def test_no_function_is_missing_here():
    assert set(TRUTH) == set(F.__all__)


@every_function
@pytest.mark.parametrize("shape", [(1_000_000, 3), (3, 1_000_000)], ids=str)
def test_a_million(name, shape, kernels):
    if name == "softmax_jacobian" and shape[1] > 3:
        pytest.skip("a matrix of 10^12 numbers")
    if kernels == "reference" and not name.startswith(("softmax", "cross_entropy_and", "linear_cross_entropy_and")):
        pytest.skip("the same code as a function that is tested")
    arguments = given(name, shape, np.float32)
    require_right(call(name, arguments), name, arguments, 2.0**-23)


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 1), (1, 1), (0, 3), (1, 4), SMALL], ids=str)
def test_one_class_one_row_none(name, shape, dtype):
    arguments = given(name, shape, dtype)
    found = call(name, arguments)
    assert not any(np.isnan(a).any() for a in found)
    require_right(found, name, arguments, np.finfo(dtype).eps)


@every_function
def test_no_classes(name):
    arguments = given(name, (3, 0)) if "cross_entropy" in name and "binary" not in name else None
    if arguments is not None:  # there is no label to give
        with pytest.raises(bp.BackproofError, match=r"no labels|at least one class"):
            call(name, arguments)
        return
    u = np.zeros((3, 0))
    arguments = [u, np.zeros(3)] if name == "logsumexp_vjp" else [u, u] if len(given(name, SMALL)) == 2 else [u]
    for a in call(name, arguments):
        assert a.shape in ((), (3,), (3, 0), (3, 0, 0))
        assert a.size == 0 or (a == (-np.inf if name == "logsumexp" else 0)).all()


@every_function
def test_no_axes(name):
    arguments = [np.float64(0.5), np.float64(0.25), np.int64(0)][: len(given(name, SMALL))]
    if name in ("softmax_jacobian", "kl_divergence", "kl_divergence_and_grad") or "linear" in name or name.startswith("cross"):
        with pytest.raises(ValueError, match=r"expected .*\(\)"):
            call(name, arguments)
        return
    one = np.exp(0.5)  # log_softmax_vjp is given what is no logarithm of a probability: u - exp(0.5) u
    y = 1 / (1 + np.exp(-0.5))
    loss = -0.25 * np.log(y) - 0.75 * np.log(1 - y)
    true = {
        "softmax": [1], "log_softmax": [0], "logsumexp": [0.5], "logsumexp_vjp": [0.25], "softmax_vjp": [0], "softmax_jvp": [0],
        "log_softmax_vjp": [0.25 * (1 - one)], "binary_cross_entropy": [loss], "binary_cross_entropy_and_grad": [loss, y - 0.25],
    }  # fmt: skip
    found = call(name, arguments)
    assert [float(a) for a in found] == pytest.approx(true[name], rel=1e-15)
    assert all(np.ndim(a) == 0 for a in found)


@every_function
@pytest.mark.parametrize("shape", [SMALL, (40, 300)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_read_only_and_negative_strides(name, shape, dtype):
    arguments = given(name, shape, dtype)
    expected = call(name, arguments)
    turned = []
    for a in arguments:
        backwards = np.ascontiguousarray(a[(slice(None, None, -1),) * a.ndim])[(slice(None, None, -1),) * a.ndim]
        backwards.flags.writeable = False
        assert all(step < 0 for step in backwards.strides)
        turned.append(backwards)
    for a, b in zip(call(name, turned), expected, strict=True):
        assert np.array_equal(a, b)


@every_function
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out_that_overlaps_the_arguments(name, dtype):
    if not takes_out(name):
        pytest.skip("no `out`")
    for shape in (SMALL, (40, 300)):
        for position in range(len(given(name, shape, dtype))):
            for shift in (0, 1):
                arguments = given(name, shape, dtype)
                if arguments[position].shape != shape or arguments[position].dtype != dtype:
                    continue
                expected = call(name, arguments)
                memory = np.empty((shape[0] + 1, shape[1]), dtype)
                memory[:-1] = arguments[position]
                arguments[position], out = memory[:-1], memory[shift : shift + shape[0]]
                found = call(name, arguments, out=out)
                assert found[-1] is out
                assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


WRONG = [
    np.full(SMALL, None), np.full(SMALL, "1"), np.full(SMALL, b"1"), np.full(SMALL, 0, "M8[D]"), np.zeros(SMALL, [("a", "f8")]),
    None, "text", [[1.0], [1.0, 2.0]], object(),
]  # fmt: skip


@every_function
@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: str(getattr(w, "dtype", type(w).__name__)))
def test_what_is_no_number(name, wrong):
    parameters = list(inspect.signature(getattr(F, name)).parameters)
    for position in range(len(given(name, SMALL))):
        arguments = given(name, SMALL)
        arguments[position] = wrong
        with pytest.raises(TypeError, match=rf"^{parameters[position]}: expected") as caught:
            call(name, arguments)
        assert isinstance(caught.value, bp.BackproofError)


@every_function
@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint32, bool])
def test_whole_numbers_and_booleans_are_double_precision(name, kind):
    arguments = [np.abs(2 * a).astype(kind) if a.dtype.kind == "f" else a for a in given(name, SMALL)]
    if name.startswith("binary"):
        arguments[1] = np.minimum(arguments[1], 1).astype(kind)
    expected = call(name, [a.astype(np.float64) if a.ndim == 2 else a for a in arguments])
    for a, b in zip(call(name, arguments), expected, strict=True):
        assert a.dtype == np.float64
        assert np.array_equal(a, b)


@every_function
def test_mixed_precision(name):
    """Of two floating-point dtypes a result has the wider one, a gradient that of what it belongs to."""
    for first, second in ((np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)):
        arguments = given(name, SMALL)
        kinds = iter((first, second))
        arguments = [a.astype(next(kinds)) if a.dtype.kind == "f" else a for a in arguments]
        found = call(name, arguments)
        require_right(found, name, arguments, max(np.finfo(a.dtype).eps for a in found))
        if len(arguments) == 2 and name.endswith(("vjp", "jvp")):
            assert found[0].dtype == np.result_type(first, second)
        elif name.endswith("and_grad"):
            assert found[1].dtype == first
