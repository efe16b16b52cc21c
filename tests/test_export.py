"""ONNX and torch: the exported network computes what the network does, layer by layer; what cannot be exported is said."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest

import backproof as bp
from tests.test_layers import CASES

torch = pytest.importorskip("torch")

ALL_MASKED = np.array([[True, True, False, True], [False] * 4, [True] * 4])
EXTRA = [
    (bp.Softmax(mask=ALL_MASKED), [(3, 4)]),
    (bp.LogSoftmax(mask=ALL_MASKED, temperature=0.5), [(3, 4)]),
    (bp.Softmax(axis=0), [(4,)]),
]
PUBLIC = [
    pytest.param(layer, shape, id=f"{layer!r}-{shape}")
    for layer, shapes in CASES + EXTRA
    if type(layer).__name__ in bp.layers.__all__
    for shape in shapes
]
every_layer = pytest.mark.parametrize(("layer", "shape"), PUBLIC)
both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
X = np.random.default_rng(0).normal(size=(20, 4))


def single(layer: bp.Layer, shape: tuple[int, ...], dtype: str) -> tuple[bp.Network, np.ndarray]:
    """A network of one layer, its biases not at 0, and inputs; Identity in front, so that standardising is no special case."""
    network = bp.Network([bp.Identity(), layer], dtype=dtype).initialise_shape(shape, seed=0)
    network.parameters += np.random.default_rng(1).normal(size=network.parameters.size)
    return network, 3 * np.random.default_rng(2).normal(size=(5, *shape)).astype(dtype)


def run_onnx(model: object, x: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


# --- ONNX ------------------------------------------------------------------------------------------------------------------
@both_dtypes
@every_layer
def test_onnx_computes_the_same(layer, shape, dtype):
    onnx = pytest.importorskip("onnx")
    network, x = single(layer, shape, dtype)
    model = bp.to_onnx(network)
    if repr(layer) == "GELU()" and dtype == "float64":  # onnxruntime has no Erf in double precision
        from onnx.reference import ReferenceEvaluator

        y = ReferenceEvaluator(model).run(None, {"x": x})[0]
    else:
        y = run_onnx(model, x)
    assert y.dtype == dtype
    # single precision: some ten roundings of 6e-8 each; the exponential's and erf's own errors
    np.testing.assert_allclose(y, network.predict(x), rtol=1e-6, atol=1e-6)
    if dtype == "float64" and "GELU()" not in repr(layer):
        np.testing.assert_allclose(y, network.predict(x), rtol=1e-13, atol=1e-13)
    assert onnx.checker.check_model(model, full_check=True) is None


def classifier(dtype: str) -> tuple[bp.Network, np.ndarray]:
    x = X + 1e6  # in single precision the features would be a constant
    stack = [bp.Standardize.fit(x), bp.Linear(8), bp.ReLU(), bp.Dropout(0.3), bp.Linear(3), bp.Softmax()]
    network = bp.Network(stack, bp.CrossEntropy(), dtype=dtype, metadata={"classes": ["a", "ü", "c"], "data": "x"})
    return network.initialise(x, seed=0), x


@both_dtypes
def test_onnx_of_a_classifier_takes_raw_features(dtype, tmp_path):
    onnx = pytest.importorskip("onnx")
    network, x = classifier(dtype)
    model = bp.to_onnx(network, tmp_path / "m.onnx")
    np.testing.assert_allclose(run_onnx(onnx.load(tmp_path / "m.onnx"), x), network.predict(x), rtol=1e-6, atol=1e-7)
    assert {p.key: json.loads(p.value) for p in model.metadata_props} == network.metadata
    with pytest.raises(bp.OutputExistsError):
        bp.to_onnx(network, tmp_path / "m.onnx")
    bp.to_onnx(network, tmp_path / "m.onnx", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_onnx_in_another_precision():
    pytest.importorskip("onnx")
    network, x = single(bp.Chain(bp.Linear(3), bp.GELU()), (4,), "float64")
    y = run_onnx(bp.to_onnx(network, dtype="float32"), x.astype(np.float32))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, network.predict(x), rtol=1e-5, atol=1e-6)


@dataclass(frozen=True, repr=False, eq=False)
class Mine(bp.Identity):
    """A layer that no other program knows."""

    rule = bp.Identity().rule


def test_a_layer_of_ones_own_is_named():
    pytest.importorskip("onnx")
    network = bp.Network([bp.Linear(2), Mine()]).initialise(X, seed=0)
    with pytest.raises(bp.ArgumentError, match=r"to_onnx: .*received Mine\(\)"):
        bp.to_onnx(network)
    with pytest.raises(bp.ArgumentError, match=r"to_torch: .*received Mine\(\)"):
        bp.to_torch(network)


def test_a_network_too_large_for_the_format(monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.setattr("backproof.export.onnx_._LARGEST", 100)
    with pytest.raises(bp.ArgumentError, match="below 2 GB"):
        bp.to_onnx(bp.Network([bp.Linear(5)]).initialise(X, seed=0))


def plain(network: bp.Network) -> str:
    """The repr without what torch does not keep."""
    return re.sub(r"float(32|64)|, init_weights='\w+'", "", repr(network))


# --- torch -----------------------------------------------------------------------------------------------------------------
@both_dtypes
@every_layer
def test_torch_computes_the_same_and_comes_back(layer, shape, dtype):
    network, x = single(layer, shape, dtype)
    module = bp.to_torch(network)
    y = module(torch.from_numpy(x)).detach().numpy()
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(y, network.predict(x), rtol=tolerance, atol=tolerance)
    again = bp.from_torch(module, in_shape=shape)
    assert plain(again) == plain(network)
    assert again.parameters.tobytes() == network.parameters.tobytes()


@both_dtypes
def test_torch_of_a_classifier_takes_raw_features(dtype):
    network, x = classifier(dtype)
    module = bp.to_torch(network)
    assert set(module.state_dict()) == {"0.mean", "0.scale", "1.weight", "1.bias", "4.weight", "4.bias"}
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), network.predict(x), rtol=1e-6, atol=1e-7)
    before = network.parameters.copy()
    with torch.no_grad():
        module[1].weight.zero_()  # a copy
    assert network.parameters.tobytes() == before.tobytes()
    again = bp.from_torch(bp.to_torch(network), bp.CrossEntropy())
    assert again.predict(x).tobytes() == network.predict(x).tobytes()
    assert again.fused


def test_gradients_of_the_two_agree():
    """The module trains as the network does: torch's autograd against the layers' own backward."""
    network, x = classifier("float64")
    t = np.arange(20) % 3
    module = bp.to_torch(network)[:-1]
    torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(t)).backward()
    _, gradient = network.loss_and_gradient(x, t)
    theirs = np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
    np.testing.assert_allclose(theirs, gradient, rtol=1e-10, atol=1e-14)


def test_from_torch_of_what_people_write():
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(12, 8, bias=False), nn.Sequential(nn.Softplus(), nn.Dropout(0.1), nn.Linear(8, 4)), nn.LogSoftmax(1)
    )
    x = torch.randn(5, 3, 4)
    network = bp.from_torch(module, bp.CrossEntropy(), in_shape=(3, 4))
    np.testing.assert_allclose(network.predict(x), module.eval()(x).detach().numpy(), rtol=1e-6, atol=1e-6)
    with pytest.raises(bp.ArgumentError, match="expected in_shape"):
        bp.from_torch(module)
    assert bp.from_torch(nn.Linear(3, 2)).in_shape == (3,)


def refused() -> list[tuple[object, str]]:
    nn = torch.nn
    shared, hooked = nn.Linear(2, 2), nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *a: None)

    class Squared(nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 2

    return [
        (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), r"module 1, BatchNorm1d\(2"),
        (nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Conv1d(1, 1, 1))), r"module 1\.1, Conv1d"),
        (nn.Sequential(shared, nn.ReLU(), shared), "module 2, Linear.* again"),
        (nn.Sequential(hooked), "without hooks, received module 0"),
        (nn.Sequential(Squared(2, 2)), "module 0, Squared"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))), "module 0, ParametrizedLinear"),
        (nn.Softplus(beta=2), "Softplus with beta=1"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(None)), "softmax with a dim"),
        (nn.Flatten(0), "all but the first"),
        (nn.Sequential(), "at least one module"),
        (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), "parameters of float32 or of float64"),
        (nn.Linear(2, 2).half(), "parameters of float32 or of float64"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)), "modules that fit each other"),
        (nn.Sequential(nn.Tanh()), "expected in_shape"),
    ]


@pytest.mark.parametrize("i", range(14))
def test_a_module_without_counterpart_is_named(i):
    module, message = refused()[i]
    with pytest.raises(bp.ArgumentError, match=message):
        bp.from_torch(module)


def test_from_torch_takes_modules():
    with pytest.raises(bp.ArgumentTypeError, match=r"expected a torch\.nn\.Module, received dict"):
        bp.from_torch({})
