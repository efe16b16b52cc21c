"""`backproof.jax` under JAX's transformations: right to second order in both modes, and where JAX's own loses its digits."""

from __future__ import annotations

import math

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import backproof  # noqa: E402
import backproof.jax as ours  # noqa: E402


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["x64", "x32"])
def x64(request):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(params=[True, False], ids=["x64", "x32"])
def either(request):
    """As `x64`, in the quick run too."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


LABELS, WEIGHT = np.array([0, 3, -100, 2, 1]), np.array([1.0, 0.5, 2.0, 3.0])
PROBABILITIES = np.random.default_rng(2).dirichlet(np.ones(4), 5)


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def plain_cross_entropy(z, t, weight, counts):
    return -jnp.sum(t * weight * jax.nn.log_softmax(z)) / jnp.sum(counts)


def smoothed():
    hits = LABELS[:, None] == np.arange(4)
    t = np.where(LABELS[:, None] == -100, 0, 0.9 * hits + 0.1 / 4)
    return t, np.where(LABELS == -100, 0, WEIGHT[np.maximum(LABELS, 0)])


FUNCTIONS = {
    "softmax": (lambda z: ours.softmax(z, axis=0), lambda z: jax.nn.softmax(z, axis=0)),
    "log_softmax": (ours.log_softmax, jax.nn.log_softmax),
    "logsumexp": (ours.logsumexp, lambda z: jax.nn.logsumexp(z, axis=-1)),
    "cross_entropy": (
        lambda z: ours.cross_entropy(z, LABELS, weight=WEIGHT, ignore_index=-100, label_smoothing=0.1),
        lambda z: plain_cross_entropy(z, smoothed()[0], WEIGHT, smoothed()[1]),
    ),
    "cross_entropy of probabilities": (
        lambda z: ours.cross_entropy(z, PROBABILITIES, weight=WEIGHT),
        lambda z: plain_cross_entropy(z, PROBABILITIES, WEIGHT, np.ones(5)),
    ),
    "cross_entropy, none": (
        lambda z: ours.cross_entropy(z.T, LABELS % 4, axis=0, reduction="none"),
        lambda z: -jnp.take_along_axis(jax.nn.log_softmax(z), LABELS[:, None] % 4, 1)[:, 0],
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_all_derivatives_agree_with_jaxs_own(name, x64):
    """To the roundings of JAX's sums of up to 20 terms, a few in each of two derivatives."""
    mine, reference = FUNCTIONS[name]
    z, t = jnp.asarray(numbers(5, 4)), jnp.asarray(numbers(5, 4, seed=1))
    unit = float(jnp.finfo(z.dtype).eps)

    def calls(f):
        total = lambda z: jnp.sum(jnp.sin(f(z)))  # noqa: E731
        both = jnp.stack([z, 2 * z])  # the Hessian is forward over reverse; one compilation, as they take seconds
        all_of_them = jax.jit(lambda z, t: (jax.jvp(f, (z,), (t,))[1], jax.vmap(jax.grad(total))(both), jax.hessian(total)(z)))
        return f(z), *all_of_them(z, t)

    for a, b in zip(calls(mine), calls(reference), strict=True):
        assert a.dtype == b.dtype == z.dtype
        np.testing.assert_allclose(a, b, rtol=64 * unit, atol=64 * unit)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "cross_entropy"])
def test_check_grads_to_second_order(name):
    from jax.test_util import check_grads

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        check_grads(FUNCTIONS[name][0], (jnp.asarray(numbers(5, 4)),), order=2, modes=["fwd", "rev"])


def test_probabilities_and_weights_have_derivatives_too():
    from jax.test_util import check_grads

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        check_grads(
            lambda z, t, w: ours.cross_entropy(z, t, weight=w, label_smoothing=0.1),
            (jnp.asarray(numbers(5, 4)), jnp.asarray(PROBABILITIES), jnp.asarray(WEIGHT)),
            order=2,
            modes=["fwd", "rev"],
        )


@pytest.mark.parametrize("gap", [40.0, 80.0])
def test_a_confident_prediction_keeps_its_gradient(gap, x64):
    z, t = jnp.array([[gap, 0.0, 0.0]]), jnp.array([0])
    bar = 4 * float(jnp.finfo(z.dtype).eps) + (0 if x64 else 2e-7)  # XLA's single exponential adds a few units of its own
    for gradient in (
        jax.grad(ours.cross_entropy)(z, t),
        jax.jit(jax.grad(ours.cross_entropy))(z, t),
        jax.grad(lambda z: -ours.log_softmax(z)[0, 0])(z),
    ):
        assert float(gradient[0, 0]) == pytest.approx(-2 * math.exp(-gap), rel=bar)
        assert float(gradient[0, 1]) == pytest.approx(math.exp(-gap), rel=bar)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_are_kept_but_that_a_loss_is_never_half(dtype, x64):
    z, t = jnp.asarray(numbers(3, 40)).astype(dtype), np.array([1, 5, 39])
    functions = ours.softmax, ours.log_softmax, ours.logsumexp
    found = jax.jit(lambda z: [(f(z), jax.grad(lambda z, f=f: f(z).sum())(z)) for f in functions])(z)
    assert all(each.dtype == z.dtype for pair in found for each in pair)
    loss, gradient = jax.value_and_grad(ours.cross_entropy)(z, t)
    assert loss.dtype == "float32"
    assert gradient.dtype == z.dtype
    expected = backproof.functional.cross_entropy_and_grad(np.asarray(z, np.float64), t)[1]
    # one rounding to the dtype, and in single precision a few before it
    bar = float(jnp.finfo(z.dtype).eps) * (0.51 if x64 or dtype != "float32" else 8)
    np.testing.assert_allclose(np.asarray(gradient, np.float64), expected, rtol=bar, atol=float(jnp.finfo(z.dtype).tiny))


def test_limits(x64):
    inf = jnp.inf
    z = jnp.array([[0.0, -inf], [-inf, -inf], [inf, 1.0]])
    assert ours.softmax(z).tolist() == [[1, 0], [0, 0], [1, 0]]
    assert ours.cross_entropy(z, np.array([0, -1, -1]), ignore_index=-1) == 0
    gradient = jax.grad(lambda z: ours.cross_entropy(z, np.array([0, -1, -1]), ignore_index=-1))(z.at[2].set(jnp.nan))
    assert gradient.tolist() == [[0, 0], [0, 0], [0, 0]]
    assert ours.cross_entropy(z, np.array([-1, -1, -1]), ignore_index=-1) == 0  # a mean over nothing
    assert jnp.isnan(jax.jit(ours.cross_entropy)(jnp.zeros((1, 2)), jnp.array([7])))
    assert ours.logsumexp(jnp.zeros((2, 0))).tolist() == [-inf, -inf]
    assert ours.softmax(jnp.zeros((2, 0))).shape == (2, 0)


@pytest.mark.parametrize("axis", [None, (0, 2), 1], ids=str)
def test_any_axes(axis, either):
    z = jnp.asarray(numbers(2, 3, 4))
    unit = float(jnp.finfo(z.dtype).eps)
    for mine, reference in ((ours.softmax, jax.nn.softmax), (ours.logsumexp, jax.nn.logsumexp)):
        np.testing.assert_allclose(mine(z, axis=axis), reference(z, axis=axis), rtol=32 * unit)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_cross_entropy_along_any_axis(axis, either):
    z, t = numbers(2, 3, 4), np.zeros((2, 3, 4)).sum(axis).astype(int) + 1
    mine = jax.jit(jax.value_and_grad(lambda z: ours.cross_entropy(z, t, axis=axis)))(jnp.asarray(z))
    for a, b in zip(mine, backproof.functional.cross_entropy_and_grad(z, t, axis=axis), strict=True):
        np.testing.assert_allclose(a, b, rtol=16 * float(jnp.finfo(a.dtype).eps), atol=16 * float(jnp.finfo(a.dtype).eps))


EDGES = np.array(
    [
        [0, -np.inf, -np.inf],
        [-np.inf] * 3,
        [np.inf, 1, -np.inf],
        [np.inf, np.inf, 1],
        [np.nan, 1, 2],
        [1, np.nan, np.inf],
        [np.nan, -np.inf, -np.inf],
        [700, -700, 0],
        [1e-30, -1e-30, 0],
        [1e30, 1e30, -1e30],
        [80, 0, 0],
    ]
)


def test_the_limits_are_those_of_the_reference(either):
    from backproof.kernels import reference, reference_losses

    z = jnp.asarray(EDGES)
    bar = {"rtol": 4 * float(jnp.finfo(z.dtype).eps), "atol": float(jnp.finfo(z.dtype).tiny)}
    for name in ("softmax", "log_softmax", "logsumexp"):
        np.testing.assert_allclose(getattr(ours, name)(z), getattr(reference, name)(np.asarray(z, np.float64)), **bar, err_msg=name)
    for t in ([0, 0, 1], [0.25, 0.75, 0], [1, 0, 0], [0, 0, 0], [0.2, 0.3, 0.5]):
        given = np.broadcast_to(np.asarray(t, float), EDGES.shape)
        f = lambda z, t=given: ours.cross_entropy(z, t, reduction="none")  # noqa: E731
        slopes = jax.grad(lambda z, f=f: f(z).sum())(z)
        expected = reference_losses.cross_entropy(np.asarray(z, np.float64), given, reference_losses.Options())
        for mine, right in zip((f(z), slopes), expected, strict=True):
            absolute = {"rtol": bar["rtol"], "atol": bar["rtol"]}  # of a target that is not one class, the gradient cancels
            np.testing.assert_allclose(mine, right, **(absolute if mine is slopes else bar), err_msg=str(t))


def test_long_rows_keep_their_digits(either):
    """Beside double precision: a few units for XLA's exponentials and logarithms, no more with 100,000 terms than with 10.

    Summed one after the other in single precision they would lose hundreds; XLA does not.
    """
    z = np.asarray(6 * numbers(2, 100_001), np.float32)
    t = np.abs(numbers(2, 100_001, seed=1)).astype(np.float32)
    t /= t.sum(1, keepdims=True)
    bar = 8 * float(jnp.finfo(np.float32).eps)
    wide = z.astype(np.float64)
    f = backproof.functional
    for name in ("softmax", "log_softmax", "logsumexp"):
        np.testing.assert_allclose(getattr(ours, name)(jnp.asarray(z)), getattr(f, name)(wide), rtol=bar, err_msg=name)
    loss, gradient = jax.value_and_grad(ours.cross_entropy)(jnp.asarray(z), jnp.asarray(t))
    right, slopes = f.cross_entropy_and_grad(wide, t.astype(np.float64))
    assert float(loss) == pytest.approx(float(right), rel=bar)
    np.testing.assert_allclose(gradient, slopes, rtol=bar, atol=bar * float(t.max()))


def test_few_operations_are_left_to_the_compiler():
    """What compiling takes: hundreds, where exact sums made a thousand for a gradient and two for a Hessian."""
    z, t = jnp.asarray(numbers(5, 4)), np.array([0, 3, 1, 2, 1])
    f = lambda z: ours.cross_entropy(z, t)  # noqa: E731
    for function, most in ((f, 200), (jax.grad(f), 250), (jax.hessian(f), 450)):
        assert jax.jit(function).lower(z).as_text().count("stablehlo.") < most


def test_the_check_says_that_they_are_right():
    for mine, _ in (FUNCTIONS["softmax"], FUNCTIONS["cross_entropy"]):
        report = backproof.check(mine, jnp.asarray(numbers(5, 4), dtype="float32"))
        assert report.ok, str(report)


def test_mistakes_are_one_clear_error():
    z = jnp.zeros((2, 3))
    with pytest.raises(IndexError, match="labels from 0 to 2, received 3"):
        ours.cross_entropy(z, np.array([0, 3]))
    with pytest.raises(backproof.ShapeError, match="target"):
        ours.cross_entropy(z, np.array([0]))
    with pytest.raises(TypeError, match="whole"):
        ours.cross_entropy(z, np.array([0.0, 1.0]))
    with pytest.raises(backproof.ArgumentError, match="ignore_index"):
        ours.cross_entropy(z, z, ignore_index=1)
    with pytest.raises(backproof.ArgumentError, match="reduction"):
        ours.cross_entropy(z, np.array([0, 1]), reduction="median")
    with pytest.raises(backproof.ShapeError, match="weight"):
        ours.cross_entropy(z, np.array([0, 1]), weight=np.ones(2))
    with pytest.raises(TypeError, match="real"):
        ours.softmax(z + 0j)
