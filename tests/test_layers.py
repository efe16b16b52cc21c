"""Every layer: its derivatives against numerical ones, against each other, and what a layer promises. A new layer is one line."""

from __future__ import annotations

import numpy as np
import pytest

import backproof as bp
from backproof.layers.base import Layer
from backproof.layers.softmax import Scores
from tests.numerical import along, jacobian, relative_error

MASK = np.array([True, False, True, True])

# (layer, shapes of one example)
CASES: list[tuple[Layer, list[tuple[int, ...]]]] = [
    (bp.Linear(3), [(4,), (1,), (2, 4)]),
    (bp.Linear(2, bias=False, init_weights="he"), [(4,)]),
    (bp.Linear(2, init_weights="lecun"), [(3,)]),
    (bp.Identity(), [(4,), (2, 3)]),
    (bp.Sigmoid(), [(4,), (2, 3)]),
    (bp.Tanh(), [(4,), (2, 3)]),
    (bp.ReLU(), [(4,), (2, 3)]),
    (bp.LeakyReLU(), [(4,), (2, 3)]),
    (bp.LeakyReLU(0.3), [(4,)]),
    (bp.Softplus(), [(4,), (2, 3)]),
    (bp.GELU(), [(4,), (2, 3)]),
    (bp.GELU("tanh"), [(4,), (2, 3)]),
    (bp.SiLU(), [(4,), (2, 3)]),
    (bp.Softmax(), [(4,), (1,), (2, 3)]),
    (bp.Softmax(axis=1), [(3, 4), (4,)]),
    (bp.Softmax(temperature=0.7), [(4,)]),
    (bp.Softmax(mask=MASK), [(4,), (3, 4)]),
    (bp.Softmax(axis=-2, temperature=2.0, mask=MASK[:, None]), [(4, 3), (2, 4, 3)]),
    (bp.LogSoftmax(), [(4,), (1,), (2, 3)]),
    (bp.LogSoftmax(axis=1, temperature=1.5), [(3, 4)]),
    (Scores(2.0), [(4,)]),
    (bp.Dropout(0.4), [(4,), (2, 3)]),
    (bp.Flatten(), [(4,), (2, 3)]),
    (bp.Standardize(np.arange(4.0), np.arange(1.0, 5.0)), [(4,), (2, 4)]),
    (bp.Chain(bp.Linear(5), bp.Softmax(), bp.Linear(2)), [(4,)]),
    (bp.Chain(bp.Flatten(), bp.Linear(3), bp.Tanh(), bp.Softmax()), [(2, 3)]),
    (bp.Residual(bp.Linear(4), bp.Tanh(), bp.Linear(4)), [(4,), (2, 4)]),
    (bp.Residual(bp.Softmax()), [(4,)]),
    (bp.Concatenate(bp.Linear(3), bp.Identity(), bp.Chain(bp.Linear(2), bp.Sigmoid())), [(4,), (2, 4)]),
    (bp.Chain(bp.Residual(bp.Concatenate(bp.Linear(2), bp.Linear(2)), bp.SiLU()), bp.LogSoftmax()), [(4,)]),
]
EXAMPLES = [
    pytest.param(layer, shape, n, id=f"{layer!r}-{shape}-{n}") for layer, shapes in CASES for shape in shapes for n in (1, 3)
]
every_case = pytest.mark.parametrize(("layer", "shape", "n"), EXAMPLES)


class Sample:
    """A layer at a random point, with random upstream gradient and tangents; trees of parameters as flat vectors."""

    def __init__(self, layer: Layer, shape: tuple[int, ...], n: int, dtype: str = "float64") -> None:
        self.layer, rng = layer, np.random.default_rng(7)
        self.tree = layer.init(rng, shape)
        self.theta = rng.normal(size=len(flat(self.tree)))
        self.x = away_from_kinks(rng.normal(size=(n, *shape))).astype(dtype)
        self.params = unflat(self.theta.astype(dtype), self.tree)
        self.y, self.kept = layer.forward(self.params, self.x, train=True, rng=np.random.default_rng(3))
        self.dy, self.ty = (rng.normal(size=self.y.shape).astype(dtype) for _ in range(2))
        self.tx = rng.normal(size=self.x.shape).astype(dtype)
        self.ttheta = rng.normal(size=self.theta.shape)
        self.tparams = unflat(self.ttheta.astype(dtype), self.tree)

    def output(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        return self.layer.forward(unflat(theta, self.tree), x, train=True, rng=np.random.default_rng(3))[0]

    def gradients(self, x: np.ndarray, theta: np.ndarray, dy: np.ndarray) -> np.ndarray:
        params = unflat(theta, self.tree)
        _, kept = self.layer.forward(params, x, train=True, rng=np.random.default_rng(3))
        dx, dparams = self.layer.backward(params, kept, dy)
        return np.concatenate([dx.ravel(), flat(dparams)])


def away_from_kinks(x: np.ndarray) -> np.ndarray:
    """No entry within 0.05 of 0, where rectifiers have their kink: several times the steps of the numerical derivative."""
    return np.where(np.abs(x) < 0.05, 0.05 * np.where(x < 0, -1, 1) + x, x)


def flat(tree: dict) -> np.ndarray:
    parts = [flat(v) if isinstance(v, dict) else v.ravel() for v in tree.values()]
    return np.concatenate(parts) if parts else np.zeros(0)


def unflat(theta: np.ndarray, tree: dict) -> dict:
    result, start = {}, 0
    for name, value in tree.items():
        size = len(flat(value)) if isinstance(value, dict) else value.size
        part = theta[start : start + size]
        result[name] = unflat(part, value) if isinstance(value, dict) else part.reshape(value.shape)
        start += size
    return result


def same_order(tree: dict, like: dict) -> dict:
    return {name: same_order(tree[name], value) if isinstance(value, dict) else tree[name] for name, value in like.items()}


@every_case
def test_backward_is_the_transposed_numerical_jacobian(layer, shape, n):
    s = Sample(layer, shape, n)
    dx, dparams = layer.backward(s.params, s.kept, s.dy)
    finite = np.isfinite(s.y)

    def weighted(y: np.ndarray) -> np.ndarray:
        return np.sum(s.dy[finite] * y[finite])

    assert relative_error(dx, jacobian(lambda x: weighted(s.output(x, s.theta)), s.x)) <= 1e-7
    assert relative_error(flat(same_order(dparams, s.tree)), jacobian(lambda p: weighted(s.output(s.x, p)), s.theta)) <= 1e-7
    assert dx.shape == s.x.shape
    assert np.array_equal(flat(layer.parameter_gradient(s.params, s.kept, s.dy)), flat(dparams))


@every_case
def test_jvp_is_the_numerical_directional_derivative(layer, shape, n):
    s = Sample(layer, shape, n)
    joint = np.concatenate([s.x.ravel(), s.theta])
    direction = np.concatenate([s.tx.ravel(), s.ttheta])
    expected = along(lambda v: s.output(v[: s.x.size].reshape(s.x.shape), v[s.x.size :]), joint, direction, 3e-3)
    finite = np.isfinite(s.y)
    assert relative_error(layer.jvp(s.params, s.kept, s.tx, s.tparams)[finite], expected[finite]) <= 1e-7


@every_case
def test_jvp_and_vjp_are_transposes(layer, shape, n):
    s = Sample(layer, shape, n)
    dx, dparams = layer.backward(s.params, s.kept, s.dy)
    ty = layer.jvp(s.params, s.kept, s.tx, s.tparams)
    forward = np.sum(ty * s.dy)
    terms = np.concatenate([(dx * s.tx).ravel(), flat(same_order(dparams, s.tree)) * s.ttheta])
    assert abs(forward - terms.sum()) <= 1e-12 * max(np.abs(terms).sum(), np.abs(ty * s.dy).sum())


@every_case
def test_backward_jvp_is_the_numerical_derivative_of_backward(layer, shape, n):
    s = Sample(layer, shape, n)
    sizes = np.cumsum([s.x.size, s.theta.size])
    joint = np.concatenate([s.x.ravel(), s.theta, s.dy.ravel()])
    direction = np.concatenate([s.tx.ravel(), s.ttheta, s.ty.ravel()])

    def gradients(v: np.ndarray) -> np.ndarray:
        x, theta, dy = np.split(v, sizes)
        return s.gradients(x.reshape(s.x.shape), theta, dy.reshape(s.dy.shape))

    tdx, tdparams = layer.backward_jvp(s.params, s.kept, s.dy, s.tx, s.tparams, s.ty)
    expected = along(gradients, joint, direction, 3e-3)
    assert relative_error(np.concatenate([tdx.ravel(), flat(tdparams)]), expected) <= 1e-7


@every_case
def test_explicit_jacobian_is_what_backward_multiplies_by(layer, shape, n):
    s = Sample(layer, shape, n)
    y, kept = layer.forward(s.params, s.x)
    full = layer.jacobian(s.params, s.x)
    assert full.shape == (n, *y.shape[1:], *shape)
    dx, _ = layer.backward(s.params, kept, s.dy)
    product = np.einsum("nk,nki->ni", s.dy.reshape(n, -1), full.reshape(n, s.dy[0].size, s.x[0].size))
    assert relative_error(product, dx.reshape(n, -1)) <= 1e-13
    assert relative_error(full, Layer.jacobian(layer, s.params, s.x)) <= 1e-13


@every_case
def test_single_precision_stays_single_and_agrees_with_double(layer, shape, n):
    s, d = Sample(layer, shape, n, "float32"), Sample(layer, shape, n)
    d_dx, d_dparams = layer.backward(d.params, d.kept, d.dy)
    dx, dparams = layer.backward(s.params, s.kept, s.dy)
    tdx, tdparams = layer.backward_jvp(s.params, s.kept, s.dy, s.tx, s.tparams, s.ty)
    tangent = layer.jvp(s.params, s.kept, s.tx, s.tparams)
    results = [s.y, dx, tangent, tdx, layer.jacobian(s.params, s.x), *leaves(dparams), *leaves(tdparams)]
    assert {r.dtype for r in results} == {np.dtype(np.float32)}
    # chains of at most 8 operations with sums of at most 20 terms, each rounding by 2^-24: 1e-5 leaves no room for a wrong formula
    assert relative_error(dx, d_dx) <= 1e-5
    assert relative_error(flat(dparams), flat(d_dparams)) <= 1e-5


@every_case
def test_nothing_is_written_to_and_nothing_returned_is_shared(layer, shape, n):
    s = Sample(layer, shape, n)
    inputs = [s.x, s.dy, s.tx, s.ty, *leaves(s.params), *leaves(s.tparams), *leaves(s.kept)]
    for array in inputs:
        array.flags.writeable = False
    first = layer.forward(s.params, s.x, train=True, rng=np.random.default_rng(3))[0]
    layer.jvp(s.params, s.kept, s.tx, s.tparams)
    layer.backward_jvp(s.params, s.kept, s.dy, s.tx, s.tparams, s.ty)
    dx, dparams = layer.backward(s.params, s.kept, s.dy)
    again_dx, again = layer.backward(s.params, s.kept, s.dy)
    assert np.array_equal(dx, again_dx)
    assert np.array_equal(flat(dparams), flat(again))
    assert np.array_equal(first, s.y)


def leaves(tree: object) -> list[np.ndarray]:
    if isinstance(tree, np.ndarray):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, tuple) else []


@every_case
def test_strided_upstream_gives_the_same(layer, shape, n):
    s = Sample(layer, shape, n)
    padded = np.zeros((*s.dy.shape[:-1], 2 * s.dy.shape[-1]))
    padded[..., ::2] = s.dy
    expected, _ = layer.backward(s.params, s.kept, s.dy)
    found, _ = layer.backward(s.params, s.kept, padded[..., ::2])
    assert relative_error(found, expected) <= 1e-14


ELEMENTWISE = [layer for layer, _ in CASES if type(layer).__module__.endswith("activations")]


@pytest.mark.parametrize("layer", ELEMENTWISE, ids=repr)
def test_elementwise_slopes_equal_the_complex_step_derivative(layer):
    # Im f(x + ih) / h with h = 1e-30 has neither truncation nor cancellation (Squire & Trapp 1998)
    x = np.concatenate([np.linspace(-30, 30, 401), [-1e-3, 1e-3]])
    x = x[x != 0][None, :]
    for derivative, function in ((layer.rule.slope, layer.rule.value), (layer.rule.curvature, layer.rule.slope)):
        found, expected = derivative(x), function(x + 1e-30j).imag / 1e-30
        assert np.max(np.abs(found - expected) / (np.abs(expected) + 1e-13)) <= 1e-10


def test_sigmoid_and_tanh_slopes_keep_their_digits_where_the_output_is_one():
    import mpmath

    for x in (1.0, 20.0, 40.0, 300.0):
        exact = mpmath.exp(-x) / (1 + mpmath.exp(-x)) ** 2
        for sign in (1, -1):
            assert abs(bp.Sigmoid().rule.slope(np.array([sign * x]))[0] / float(exact) - 1) <= 1e-15
            assert abs(bp.Tanh().rule.slope(np.array([sign * x]))[0] / float(1 / mpmath.cosh(x) ** 2) - 1) <= 1e-15


def test_whole_numbers_are_taken_as_numbers():
    x = np.array([[1, 2, 5]])
    for layer in (bp.Softmax(), bp.LogSoftmax(), bp.LeakyReLU(), bp.Sigmoid(), bp.Standardize(np.full(3, 1.5), np.full(3, 0.5))):
        expected, _ = layer.forward({}, x.astype(float))
        assert np.array_equal(layer.forward({}, x)[0], expected)
        assert np.array_equal(layer.jacobian({}, x), layer.jacobian({}, x.astype(float)))


def test_hyperparameters_of_numpy_types_do_not_widen_single_precision():
    x = np.ones((2, 3), dtype=np.float32)
    for layer in (bp.Softmax(temperature=np.float64(2)), bp.LeakyReLU(np.float64(0.1)), bp.Dropout(np.float64(0.5))):
        assert layer.forward({}, x, train=True, rng=np.random.default_rng(0))[0].dtype == np.float32


def test_the_tanh_form_of_gelu_stays_finite_far_out():
    x = np.array([-1e30, -1e5, 1e5, 1e30], dtype=np.float32)
    assert bp.GELU("tanh").rule.slope(x).tolist() == [0, 0, 1, 1]


def test_a_mask_belongs_to_the_layer_and_is_the_same_for_every_example():
    mask = np.array([True, False, True])
    layer = bp.Softmax(mask=mask)
    mask[:] = True
    assert layer.forward({}, np.zeros((1, 3)))[0].tolist() == [[0.5, 0.0, 0.5]]
    with pytest.raises(bp.ShapeError, match="mask that broadcasts"):
        bp.Softmax(mask=np.ones((2, 3), dtype=bool)).forward({}, np.zeros((2, 3)))


def test_conventions_at_kinks():
    zero = np.zeros((1, 1))
    assert bp.ReLU().rule.slope(zero).item() == 0
    assert bp.LeakyReLU(0.3).rule.slope(zero).item() == 0.3


def test_a_masked_softmax_entry_has_probability_and_gradient_exactly_zero():
    x = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, np.nan, 1.0, 0.0]])
    layer = bp.Softmax(mask=MASK)
    h, kept = layer.forward({}, x)
    dx, _ = layer.backward({}, kept, np.array([[1.0, 7.0, -2.0, 3.0]] * 2))
    assert (h[:, 1] == 0).all()
    assert (dx[:, 1] == 0).all()
    assert np.isfinite(h).all()


def test_a_wholly_masked_row_gives_zeros():
    layer = bp.Softmax(mask=np.zeros(3, dtype=bool))
    h, kept = layer.forward({}, np.ones((2, 3)))
    assert (h == 0).all()
    assert (layer.backward({}, kept, np.ones((2, 3)))[0] == 0).all()


def test_dropout_keeps_the_expectation_and_does_nothing_outside_training():
    x = np.ones((400, 500))
    y, _ = bp.Dropout(0.25).forward({}, x, train=True, rng=np.random.default_rng(0))
    share = np.mean(y == 0)
    assert abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / x.size)  # five standard deviations of a binomial share
    assert abs(y.mean() - 1) < 5 * np.sqrt(0.25 / 0.75 / x.size)
    assert np.array_equal(bp.Dropout(0.25).forward({}, x)[0], x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bp.Linear(0), "outputs to be a positive whole number, received 0"),
        (lambda: bp.Linear(2.5), "received 2.5"),
        (lambda: bp.Linear(2, init_weights="foo"), "received 'foo'"),
        (lambda: bp.Dropout(1.0), "rate to be a number at least 0.0 and below 1.0, received 1.0"),
        (lambda: bp.Softmax(temperature=0), "temperature to be a number above 0.0, received 0"),
        (lambda: bp.GELU("erf"), "received 'erf'"),
        (lambda: bp.Chain(), "at least one layer"),
        (lambda: bp.Residual(bp.Linear(3)).init(np.random.default_rng(0), (4,)), "keep the shape"),
        (lambda: bp.Linear(2).forward({"weight": np.ones((2, 3)), "bias": np.ones(2)}, np.ones((5, 4))), "received (5, 4)"),
        (lambda: bp.Softmax(axis=0).jacobian({}, np.ones((2, 3))), "couples them along axis 0"),
        (lambda: bp.Dropout(0.5).forward({}, np.ones((2, 3)), train=True), "expected rng"),
        (lambda: bp.Standardize(np.zeros(2), np.zeros(2)), "scale to be above 0"),
        (lambda: bp.Concatenate(bp.Linear(2), bp.Flatten()).out_shape((3, 4)), "differ in the last axis alone"),
        (lambda: bp.Softmax(mask=np.ones(3, dtype=bool)).out_shape((4,)), "mask that broadcasts"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(bp.ArgumentError, match=None) as caught:
        make()
    assert message in str(caught.value)


def test_a_class_instead_of_an_instance_is_explained():
    with pytest.raises(TypeError, match=r"write ReLU\(\.\.\.\), an instance"):
        bp.Chain(bp.Linear(2), bp.ReLU)
