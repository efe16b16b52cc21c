"""Networks: the whole gradient, the fused pairs, second-order products, parity with torch."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch

import backproof as bp
from tests.numerical import along, jacobian, relative_error

RNG = np.random.default_rng(11)
X = RNG.normal(size=(7, 5))
LABELS = RNG.integers(0, 3, 7)
PROBABILITIES = RNG.dirichlet(np.ones(3), size=7)
BITS = (RNG.random((7, 3)) > 0.5).astype(float)

NETWORKS = {
    "softmax regression": (lambda: bp.Network([bp.Linear(3), bp.Softmax()], bp.CrossEntropy()), LABELS),
    "hidden sigmoid": (lambda: bp.Network([bp.Linear(4), bp.Sigmoid(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy()), LABELS),
    "hidden softmax": (lambda: bp.Network([bp.Linear(4), bp.Softmax(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy()), LABELS),
    "logits, penalty": (lambda: bp.Network([bp.Linear(4), bp.Tanh(), bp.Linear(3)], bp.CrossEntropy(), l2=0.3), PROBABILITIES),
    "softmax + squared error": (lambda: bp.Network([bp.Linear(4), bp.GELU(), bp.Linear(3), bp.Softmax()], bp.SquaredError()), BITS),
    "log-softmax + KL": (lambda: bp.Network([bp.Linear(3), bp.LogSoftmax()], bp.KLDivergence()), PROBABILITIES),
    "sigmoid + binary": (lambda: bp.Network([bp.Linear(4), bp.SiLU(), bp.Linear(3), bp.Sigmoid()], bp.BinaryCrossEntropy()), BITS),
    "residual": (
        lambda: bp.Network([bp.Linear(4), bp.Residual(bp.Linear(4), bp.Softplus()), bp.Linear(3)], bp.Huber(0.5)),
        BITS,
    ),
    "concatenate": (
        lambda: bp.Network(
            [bp.Concatenate(bp.Chain(bp.Linear(4), bp.Softmax(temperature=0.5)), bp.Linear(2)), bp.Linear(3), bp.Softmax()],
            bp.CrossEntropy(label_smoothing=0.1),
        ),
        LABELS,
    ),
    "masked output": (
        lambda: bp.Network([bp.Linear(3), bp.Softmax(temperature=2.0, mask=[True, True, True])], bp.CrossEntropy()),
        LABELS,
    ),
    "identity + squared error": (
        lambda: bp.Network([bp.Linear(4), bp.Tanh(), bp.Linear(3), bp.Identity()], bp.SquaredError()),
        BITS,
    ),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def made(name: str, dtype: str = "float64") -> tuple[bp.Network, np.ndarray]:
    make, t = NETWORKS[name]
    network = make().initialise(X.astype(dtype), seed=1)
    network.parameters += 0.1 * np.random.default_rng(0).normal(size=network.parameters.shape)  # biases off zero
    return network, t


@every_network
@pytest.mark.parametrize("n", [1, 7])
def test_gradient_equals_the_numerical_one(name, n):
    network, t = made(name)
    x, t = X[:n], t[:n]
    _, gradient = network.loss_and_gradient(x, t)
    assert relative_error(gradient, jacobian(lambda p: network.loss(x, t, parameters=p), network.parameters)) <= 1e-7
    assert relative_error(network.input_gradient(x, t), jacobian(lambda v: network.loss(v, t), x)) <= 1e-7


def test_a_sigmoid_softmax_network_passes_the_classical_check():
    """UFLDL's exercise: |numerical - analytic| / |numerical + analytic| < 1e-9, by plain central differences of 1e-5."""
    network, t = made("hidden sigmoid")
    _, gradient = network.loss_and_gradient(X, t)
    numerical = np.empty_like(gradient)
    for i in range(gradient.size):
        unit = np.zeros_like(gradient)
        unit[i] = 1e-5
        up, down = (network.loss(X, t, parameters=network.parameters + s * unit) for s in (1, -1))
        numerical[i] = (up - down) / 2e-5
    assert np.linalg.norm(numerical - gradient) / np.linalg.norm(numerical + gradient) < 1e-9


@every_network
def test_hessian_product_equals_the_derivative_of_the_gradient(name):
    network, t = made(name)
    v, u = np.random.default_rng(3).normal(size=(2, network.parameters.size))
    product = network.hessian_product(X, t, v)
    expected = along(lambda p: network.loss_and_gradient(X, t, parameters=p)[1], network.parameters, v, 3e-3)
    assert relative_error(product, expected) <= 1e-7
    other = network.hessian_product(X, t, u)
    assert abs(u @ product - v @ other) <= 1e-12 * np.abs(u * product).sum()  # H is symmetric


@every_network
def test_gauss_newton_product_is_j_t_h_j(name):
    network, t = made(name)
    v = np.random.default_rng(3).normal(size=network.parameters.size)
    j = jacobian(lambda p: network.logits(X, parameters=p), network.parameters)
    jv = j @ v
    hessian_part = along(lambda z: network.objective.value_and_gradient(z, t)[1], network.logits(X), jv, 1e-3)
    expected = np.einsum("nkp,nk->p", j, hessian_part)
    if network.l2:
        weights = np.concatenate([np.full(view.size, float(view.ndim == 2)) for view in network.named_parameters().values()])
        expected = expected + network.l2 * weights * v
    product = network.gauss_newton_product(X, t, v)
    assert relative_error(product, expected) <= 1e-7
    assert v @ product >= 0


@every_network
def test_jacobian_is_the_sensitivity_of_outputs_to_inputs(name):
    network, _ = made(name)
    full = jacobian(network.predict, X)
    expected = np.stack([full[n, :, n, :] for n in range(len(X))])
    assert relative_error(network.jacobian(X), expected) <= 1e-7


def torch_twin(network: bp.Network) -> torch.nn.Module:
    """The same layers in torch; weights have the same layout."""

    def convert(layer: bp.Layer, params: dict) -> torch.nn.Module:
        match layer:
            case bp.Chain():
                return torch.nn.Sequential(*(convert(c, params[str(i)]) for i, c in enumerate(layer.layers)))
            case bp.Linear():
                linear = torch.nn.utils.skip_init(torch.nn.Linear, params["weight"].shape[1], layer.outputs, dtype=torch.float64)
                linear.load_state_dict({k: torch.tensor(v) for k, v in params.items()})
                return linear
            case bp.Softmax():
                return TorchSoftmax(layer.temperature)
            case bp.Residual():
                return TorchResidual(convert(layer.inner, params))
            case bp.Concatenate():
                return TorchConcatenate([convert(c, params[str(i)]) for i, c in enumerate(layer.layers)])
            case _:
                return {"Sigmoid": torch.nn.Sigmoid, "Tanh": torch.nn.Tanh, "GELU": torch.nn.GELU, "SiLU": torch.nn.SiLU,
                        "Softplus": torch.nn.Softplus, "LogSoftmax": lambda: torch.nn.LogSoftmax(-1),
                        "Identity": torch.nn.Identity}[type(layer).__name__]()  # fmt: skip

    return convert(network.chain, network.parameter_tree)


class TorchSoftmax(torch.nn.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x / self.temperature, -1)


class TorchResidual(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class TorchConcatenate(torch.nn.Module):
    def __init__(self, branches: list[torch.nn.Module]) -> None:
        super().__init__()
        self.branches = torch.nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], -1)


def torch_loss(loss: bp.Loss, y: torch.Tensor, t: torch.Tensor, *, probabilities: bool) -> torch.Tensor:
    functional, n = torch.nn.functional, len(y)
    match loss:
        case bp.CrossEntropy():
            # log of torch's own softmax output where the network ends in one: logits up to a constant
            z = torch.log(y) if probabilities else y
            return functional.cross_entropy(z, t, label_smoothing=loss.label_smoothing)
        case bp.KLDivergence():
            return functional.kl_div(y.log_softmax(-1), t, reduction="batchmean")
        case bp.BinaryCrossEntropy():
            return functional.binary_cross_entropy(y, t, reduction="sum") / n
        case bp.Huber():
            return functional.huber_loss(y, t, reduction="sum", delta=loss.delta) / n
        case _:
            return functional.mse_loss(y, t, reduction="sum") / (2 * n)


@every_network
def test_torch_gives_the_same_loss_and_gradients(name):
    network, t = made(name)
    twin = torch_twin(network)
    y = twin(torch.tensor(X))
    expected = torch_loss(network.objective, y, torch.tensor(t), probabilities=isinstance(network.layers[-1], bp.Softmax))
    expected = expected + network.l2 / 2 * sum((p**2).sum() for p in twin.parameters() if p.ndim == 2)
    expected.backward()
    value, gradient = network.loss_and_gradient(X, t)
    assert relative_error(network.predict(X), y.detach().numpy()) <= 1e-10
    assert value == pytest.approx(expected.item(), rel=1e-10)
    assert relative_error(gradient, torch.cat([p.grad.ravel() for p in twin.parameters()]).numpy()) <= 1e-10


@pytest.mark.parametrize(
    ("output", "loss", "t", "link"),
    [
        (bp.Softmax(), bp.CrossEntropy(reduction="sum"), np.eye(3)[LABELS], lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)),
        (bp.Softmax(), bp.KLDivergence(reduction="sum"), PROBABILITIES, lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)),
        (bp.Sigmoid(), bp.BinaryCrossEntropy(reduction="sum"), BITS, lambda z: 1 / (1 + np.exp(-z))),
        (bp.Identity(), bp.SquaredError(reduction="sum"), BITS, lambda z: z),
    ],
)
def test_canonical_pairs_are_fused_and_give_y_minus_t(output, loss, t, link):
    network = bp.Network([bp.Linear(3), output], loss).initialise(X, seed=0)
    assert network.fused
    assert len(network.trunk.layers) == 1
    z = network.logits(X)
    assert relative_error(network.predict(X), link(z)) <= 1e-15
    _, dz = loss.value_and_gradient(z, t)
    assert np.abs(dz - (network.predict(X) - t)).max() <= 1e-15
    _, gradient = network.loss_and_gradient(X, t)
    assert relative_error(gradient[:15].reshape(3, 5), (network.predict(X) - t).T @ X) <= 1e-14


def test_a_fused_softmax_keeps_its_mask_and_temperature():
    mask = np.array([True, False, True])
    network = bp.Network([bp.Linear(3), bp.Softmax(temperature=0.5, mask=mask)], bp.CrossEntropy()).initialise(X, seed=0)
    t = np.where(LABELS == 1, 0, LABELS)
    _, gradient = network.loss_and_gradient(X, t)
    assert network.fused
    assert relative_error(gradient, jacobian(lambda p: network.loss(X, t, parameters=p), network.parameters)) <= 1e-7
    assert not gradient[5:10].any()  # the masked class learns nothing
    assert network.loss(X, t) == pytest.approx(-np.mean(np.log(network.predict(X)[np.arange(7), t])), rel=1e-12)


@pytest.mark.parametrize(
    ("layers", "loss", "warns"),
    [
        ([bp.Linear(3), bp.Softmax(), bp.Softmax()], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax(), bp.Dropout(0.1), bp.LogSoftmax()], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax(axis=0)], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax(), bp.Dropout(0.1)], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax()], bp.BinaryCrossEntropy(), True),
        ([bp.Linear(3), bp.Sigmoid()], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), False),
        ([bp.Linear(3), bp.LogSoftmax()], bp.CrossEntropy(), False),
        ([bp.Linear(3), bp.Residual(bp.Softmax(), bp.Softmax())], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Softmax(), bp.Concatenate(bp.Softmax(), bp.Identity()), bp.Linear(3)], bp.CrossEntropy(), True),
        ([bp.Linear(3), bp.Concatenate(bp.Softmax())], bp.CrossEntropy(), True),
        ([bp.Linear(3)], bp.CrossEntropy(), False),
        ([bp.Linear(3), bp.Softmax(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), False),
        ([bp.Linear(3), bp.Softmax()], bp.SquaredError(), False),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_double_softmax_cannot_happen_silently(layers, loss, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = bp.Network(layers, loss)
    assert [w.category for w in caught] == [bp.DoubleSoftmaxWarning] * warns
    t = BITS if isinstance(loss, bp.SquaredError | bp.BinaryCrossEntropy) else LABELS
    network.initialise(X, seed=0)
    _, gradient = network.loss_and_gradient(X, t)
    numerical = jacobian(lambda p: network.loss(X, t, parameters=p), network.parameters)
    assert relative_error(gradient, numerical) <= 1e-7  # and the gradient is right all the same


@pytest.mark.parametrize(
    ("layers", "loss", "t"),
    [
        ([bp.Softmax()], bp.CrossEntropy(), LABELS),
        ([bp.Sigmoid()], bp.BinaryCrossEntropy(), RNG.random((7, 5)) > 0.5),
        ([bp.Softmax(axis=1)], bp.CrossEntropy(), LABELS),
        ([bp.Linear(3), bp.Softmax(axis=1)], bp.CrossEntropy(), LABELS),
    ],
    ids=repr,
)
def test_one_layer_and_a_positive_last_axis_are_fused_too(layers, loss, t):
    network = bp.Network(layers, loss).initialise(X, seed=0)
    y = network.predict(X)
    assert network.fused
    if isinstance(loss, bp.CrossEntropy):
        expected = -np.mean(np.log(y[np.arange(7), LABELS]))
    else:
        expected = -np.mean(np.sum(np.where(t, np.log(y), np.log(1 - y)), axis=1))
    assert network.loss(X, t) == pytest.approx(expected, rel=1e-12)


def test_a_large_common_offset_of_a_feature_costs_no_digits_in_single_precision():
    times = 1.7e9 + np.arange(200.0)[:, None]
    network = bp.Network([bp.Standardize.fit(times), bp.Linear(1, init_weights="he")], dtype="float32").initialise(times, seed=0)
    twin = bp.Network(network.chain, dtype="float64").initialise(times, seed=0)
    assert relative_error(network.predict(times), twin.predict(times)) <= 1e-6
    assert relative_error(network.jacobian(times), twin.jacobian(times)) <= 1e-6
    slope = twin.named_parameters()["1.weight"] / twin.layers[0].scale
    assert relative_error(twin.jacobian(times), np.broadcast_to(slope, (200, 1, 1))) <= 1e-15


def test_parameters_are_one_vector_and_the_layers_see_what_is_written_into_it():
    network, _ = made("hidden sigmoid")
    views = network.named_parameters()
    assert list(views) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(np.shares_memory(view, network.parameters) for view in views.values())
    before = network.predict(X)
    twin = network.copy()
    network.parameters[:] = 0
    assert np.allclose(network.predict(X), 1 / 3)
    assert np.array_equal(twin.predict(X), before)


def test_input_sizes_come_from_the_data_and_dtype_too():
    network = bp.Network([bp.Flatten(), bp.Linear(2)]).initialise(np.zeros((3, 4, 5), dtype=np.float32))
    assert network.parameters.dtype == np.float32
    assert network.in_shape == (4, 5)
    assert network.predict(np.zeros((1, 4, 5))).dtype == np.float32


def test_summary_and_repr_show_layers_shapes_and_counts():
    network, _ = made("hidden softmax")
    text = network.summary()
    assert "(N, 4)" in text
    assert "39" in text
    assert "fused" in text
    assert repr(network) == ("<Network([Linear(4), Softmax(), Linear(3), Softmax()], loss=CrossEntropy()), 39 parameters, float64>")


def test_torch_and_jax_like_inputs_are_taken():
    network, t = made("hidden sigmoid")
    assert np.array_equal(network.predict(torch.tensor(X, requires_grad=True)), network.predict(X))
    assert network.loss(X.tolist(), t.tolist()) == network.loss(X, t)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda n: n.predict(X[:, :3]), ValueError, "x: expected shape (N, 5), received (7, 3)"),
        (lambda n: n.loss(X, LABELS + 1), IndexError, "labels from 0 to 2, received 3"),
        (
            lambda n: n.loss_and_gradient(X, LABELS, parameters=np.zeros(3)),
            ValueError,
            "expected a vector of shape (39,), received (3,)",
        ),
        (lambda n: bp.Network([bp.Linear(2)]).predict(X), RuntimeError, "call network.initialise"),
        (lambda n: bp.Network([bp.Linear(2)]).initialise(X).loss(X, LABELS), ValueError, "expected a network with a loss"),
        (lambda n: bp.Network([bp.Linear(2)], bp.CrossEntropy), TypeError, "write CrossEntropy(), an instance"),
        (lambda n: bp.Network([bp.Linear(2)], l2=-1), ValueError, "l2 to be a number at least 0.0, received -1"),
        (lambda n: bp.Network([bp.Linear(2)], dtype="int8"), ValueError, "float32 or float64, received 'int8'"),
        (lambda n: bp.Network([bp.Linear(2)]).initialise(X[0]), ValueError, "x: expected shape (N, features)"),
        (lambda n: bp.Network([bp.Linear(2), bp.Residual(bp.Linear(3))]).initialise(X), ValueError, "layer 1, Residual(Linear(3))"),
        (lambda n: bp.Network(5), TypeError, "expected layers, received 5"),
        (lambda n: n.loss_and_gradient(X, LABELS, out=np.empty(50)), ValueError, "out: expected shape (39,)"),
        (lambda n: n.loss(X + 1j, LABELS), TypeError, "expected real numbers"),
        (
            lambda n: bp.Network([bp.Linear(3), bp.Softmax(mask=[True, True, False])], bp.CrossEntropy(label_smoothing=0.1)),
            ValueError,
            "label_smoothing=0 with a masked softmax",
        ),
        (lambda n: n.predict([[1, 2], [3]]), TypeError, "x: expected a rectangular array"),
    ],
)
def test_bad_arguments_are_named(call, kind, message):
    network, _ = made("hidden sigmoid")
    with pytest.raises(kind) as caught:
        call(network)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))], ids=["deepcopy", "pickle"]
)
def test_a_copied_network_still_computes_with_its_flat_vector(twin_of):
    network = bp.Network([bp.Linear(4), bp.Tanh(), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), l2=0.1).initialise(X, seed=0)
    twin = twin_of(network)
    assert np.array_equal(twin.predict(X), network.predict(X))
    twin.parameters += 1.0  # an optimiser's step: the layers must see it
    assert np.array_equal(twin.predict(X), network.predict(X, parameters=network.parameters + 1.0))
    assert not np.array_equal(twin.predict(X), network.predict(X))
