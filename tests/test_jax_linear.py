"""`backproof.jax.linear_cross_entropy`: right in every mode and to second order, chunk by chunk, and its logits never whole."""

from __future__ import annotations

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import backproof  # noqa: E402
import backproof.jax as ours  # noqa: E402
from tests.test_jax_functional import either, numbers  # noqa: E402, F401

N, D, C = 7, 3, 5
LABELS = np.array([0, 3, -100, 2, 1, 4, 0])
PROBABILITIES = np.random.default_rng(2).dirichlet(np.ones(C), N)
WEIGHT = np.array([1.0, 0.5, 2.0, 3.0, 0.25])
X, W, B = numbers(N, D), numbers(C, D, seed=1), numbers(C, seed=2)


@pytest.mark.parametrize("max_bytes", [None, 1, 800], ids=["one chunk", "a row a chunk", "a chunk not full"])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_values_and_gradients_are_those_of_the_functional(reduction, kind, max_bytes, either):  # noqa: F811
    """To the roundings of sums over N, C and D."""
    target = LABELS if kind == "labels" else PROBABILITIES
    options = {"weight": WEIGHT, "label_smoothing": 0.1, "reduction": reduction}
    options |= {"ignore_index": -100} if kind == "labels" else {}
    x = X.copy()
    if kind == "labels":
        x[2] = np.nan  # an ignored row

    def f(x, w, b):
        value = ours.linear_cross_entropy(x, w, target, bias=b, max_bytes=max_bytes, **options)
        return value.sum(), value

    (_, value), gradients = jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True))(*map(jnp.asarray, (x, W, B)))
    expected = backproof.functional.linear_cross_entropy_and_grad(x, W, target, bias=B, **options)
    for a, b in zip((value, *gradients), expected, strict=True):
        unit = float(jnp.finfo(a.dtype).eps)
        assert a.dtype == ("float64" if either else "float32")
        np.testing.assert_allclose(a, b, rtol=8 * (N + C + D) * unit, atol=8 * (N + C + D) * unit)


def test_check_grads_to_second_order_in_chunks():
    from jax.test_util import check_grads

    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        check_grads(
            lambda x, w, b, weight: ours.linear_cross_entropy(
                x, w, PROBABILITIES, bias=b, weight=weight, label_smoothing=0.1, max_bytes=800
            ),
            tuple(map(jnp.asarray, (X, W, B, WEIGHT))),
            order=2,
            modes=["fwd", "rev"],
        )


def test_vmap_of_the_gradient_is_each_rows_gradient():
    each = jax.vmap(jax.grad(lambda x, t: ours.linear_cross_entropy(x, jnp.asarray(W), t)))(jnp.asarray(X), jnp.maximum(LABELS, 0))
    together = jax.grad(lambda x: ours.linear_cross_entropy(x, jnp.asarray(W), np.maximum(LABELS, 0), reduction="sum"))(
        jnp.asarray(X)
    )
    np.testing.assert_allclose(each, together, rtol=1e-5, atol=1e-6)


def test_leading_axes_and_half_precision():
    x, w = (jnp.asarray(a).astype("bfloat16") for a in (X[:6].reshape(2, 3, D), W))
    t = np.array([[0, 1, 2], [3, 4, 0]])
    loss, (dx, dw) = jax.value_and_grad(lambda x, w: ours.linear_cross_entropy(x, w, t), argnums=(0, 1))(x, w)
    right, rx, rw, _ = backproof.functional.linear_cross_entropy_and_grad(np.asarray(x, np.float64), np.asarray(w, np.float64), t)
    assert loss.dtype == "float32"
    assert dx.dtype == dw.dtype == "bfloat16"
    assert float(loss) == pytest.approx(float(right), rel=32 * 2**-23)
    for mine, reference in ((dx, rx), (dw, rw)):
        np.testing.assert_allclose(np.asarray(mine, np.float64), reference, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("order", ["value", "gradient", "Hessian product"])
def test_logits_are_never_whole(order):
    """They would take 256 MiB; what the compiled function works in is 56, and the gradient of the weights and its sum."""
    x, w = jnp.zeros((2048, 16), jnp.float32), jnp.zeros((32768, 16), jnp.float32)
    f = lambda x, w: ours.linear_cross_entropy(x, w, jnp.zeros(2048, int))  # noqa: E731
    g = jax.grad(f, argnums=(0, 1))
    function = {"value": f, "gradient": g, "Hessian product": lambda x, w: jax.jvp(g, (x, w), (x, w))[1]}[order]
    used = jax.jit(function).lower(x, w).compile().memory_analysis().temp_size_in_bytes
    assert used < 80 << 20


def test_mistakes_are_one_clear_error():
    x, w = jnp.zeros((2, 3)), jnp.zeros((4, 3))
    t = np.array([0, 1])
    for wrong, name in (
        (lambda: ours.linear_cross_entropy(x, w[:, :2], t), "w"),
        (lambda: ours.linear_cross_entropy(x, w, t, bias=jnp.zeros(3)), "bias"),
        (lambda: ours.linear_cross_entropy(x, w, t[:1]), "target"),
        (lambda: ours.linear_cross_entropy(jnp.zeros(()), w, t), "x"),
    ):
        with pytest.raises(backproof.ShapeError, match=f"^{name}:"):
            wrong()
    with pytest.raises(backproof.ArgumentError, match="max_bytes"):
        ours.linear_cross_entropy(x, w, t, max_bytes=0)
    with pytest.raises(IndexError, match="labels from 0 to 3, received 4"):
        ours.linear_cross_entropy(x, w, t + 3)
