"""Adapters: outputs are those of a direct call, gradients those of the code, and nothing of the user's is changed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from backproof import (
    ArgumentError,
    ArgumentTypeError,
    Chain,
    CrossEntropy,
    Dropout,
    Identity,
    Layer,
    Linear,
    Network,
    Residual,
    ShapeError,
    Softmax,
    SquaredError,
    Standardize,
    Tanh,
    check,
)
from backproof.adapters import adapt, tensors

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3))
W = RNG.normal(size=(3, 2))
G = RNG.normal(size=(4, 2))


def copies(arrays):
    return [np.array(a) for a in arrays]


def close(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def deep(value):
    """A copy of arrays, and of dictionaries and lists of arrays."""
    if isinstance(value, dict):
        return {k: deep(v) for k, v in value.items()}
    return [deep(v) for v in value] if isinstance(value, list) else np.array(value) if isinstance(value, np.ndarray) else value


def directional(subject, upstream, k, seed=0):
    """(<upstream, central difference along d>, d) for input k."""
    d = np.random.default_rng(seed).normal(size=subject.inputs[k].shape)
    values = []
    for h in (1e-5, -1e-5):
        moved = copies(subject.inputs)
        moved[k] = moved[k] + h * d
        values.append(subject.forward(moved))
    return sum(float((u * (a - b)).sum()) / 2e-5 for u, a, b in zip(upstream, *values, strict=True)), d


def assert_gradients_right(subject, tolerance=1e-7):
    upstream = [np.random.default_rng(1).normal(size=y.shape) for y in subject.outputs]
    gradients = subject.backward(copies(upstream), copies(subject.inputs))
    assert len(gradients) == len(subject.inputs)
    for k in subject.wrt:
        numerical, d = directional(subject, upstream, k)
        assert gradients[k].shape == subject.inputs[k].shape
        assert gradients[k].dtype == subject.inputs[k].dtype
        assert float((gradients[k] * d).sum()) == pytest.approx(numerical, rel=tolerance, abs=tolerance), subject.names[k]


# --- functions -------------------------------------------------------------------------------------------------------------
def product(x, w):
    return x @ w


def product_backward(upstream, x, w):
    return upstream @ w.T, x.T @ upstream


def test_function_pair():
    subject = adapt(product, (X, W), backward=product_backward)
    assert (subject.name, subject.names, subject.wrt, subject.arguments) == ("product", ("x", "w"), (0, 1), 2)
    assert not subject.packed
    assert subject.has_backward
    close(subject.outputs[0], X @ W)
    dx, dw = subject.backward([G], [X, W])
    close(dx, G @ W.T)
    close(dw, X.T @ G)
    close(subject.backward_after([G], [X, W], [X + 1, W])[1], dw)
    assert subject.jvp([X, W], [X, W]) is None
    assert subject.second_order([G]) is None


def test_scalars_and_lists_become_float64():
    subject = adapt(lambda x: x * x, (3.0,), backward=lambda g, x: g * 2 * x)
    assert subject.inputs[0].dtype == np.float64
    assert subject.outputs[0].shape == ()
    assert float(subject.backward([np.array(2.0)], subject.inputs)[0]) == 12.0
    subject = adapt(sum, ([1.0, 2.0],), backward=lambda g, x: [float(g), float(g)])
    assert subject.names == ("iterable",)
    assert subject.backward([np.array(2.0)], subject.inputs)[0].tolist() == [2.0, 2.0]
    single = adapt(lambda x: x * x, (3.0,), backward=lambda g, x: [g * 2 * x])
    assert single.backward([np.array(1.0)], single.inputs)[0].shape == ()


@pytest.mark.parametrize(
    "returned", [lambda g: g, lambda g: (g,), lambda g: (g, None), lambda g: [g, None]], ids=["bare", "one", "two", "list"]
)
def test_gradients_of_one_float_among_two_inputs(returned):
    subject = adapt(lambda x, t: x[t], (X, np.array([1, 0])), backward=lambda g, x, t: returned(g))
    dx, dt = subject.backward([G], subject.inputs)
    assert dx is not None
    assert dt is None


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g: (g,), r"expected 2 gradients \(one for each input: x, w\), received 1"),
        (lambda g: (g, g, g), "received 3"),
        (lambda g: g, "received one array"),
        (lambda g: None, "None"),
    ],
)
def test_a_wrong_number_of_gradients(returned, message):
    subject = adapt(product, (X, W), backward=lambda g, x, w: returned(g))
    with pytest.raises(ArgumentError, match=message):
        subject.backward([G], [X, W])
    alone = adapt(np.tanh, (X,), backward=lambda g, x: None)
    with pytest.raises(ArgumentError, match="return missing"):
        alone.backward([X], [X])


def test_several_outputs_and_forward_mode():
    def both(x, n):
        return np.sin(x), n, x.sum()

    def backward(upstream, x, n):
        assert isinstance(upstream, tuple)
        return upstream[0] * np.cos(x) + upstream[2], None

    subject = adapt(both, (X, np.arange(3)), backward=backward, jvp=lambda t, x, n: (t[0] * np.cos(x), t[1], t[0].sum()))
    assert subject.packed
    assert [y.dtype.kind for y in subject.outputs] == ["f", "i", "f"]
    close(subject.backward([X, np.zeros(3, int), np.array(2.0)], subject.inputs)[0], X * np.cos(X) + 2)
    close(subject.jvp([X, np.zeros(3)], subject.inputs)[0], X * np.cos(X))
    only = adapt(np.sin, (X,), jvp=lambda t, x: t * np.cos(x))
    assert not only.has_backward
    close(only.jvp([X], [X])[0], X * np.cos(X))
    with pytest.raises(NotImplementedError):
        only.backward([X], [X])


def test_functions_see_copies_and_keep_nothing_that_is_returned():
    def writes(x):
        x *= 2
        return x

    given = X.copy()
    subject = adapt(writes, (given,), backward=lambda g, x: g)
    assert (given == X).all()
    assert (subject.inputs[0] == X).all()
    mine = X.copy()
    y = subject.forward([mine])[0]
    assert (mine == 2 * X).all()  # the caller's array: that it is written to is to be seen
    assert not np.shares_memory(y, mine)
    g = X.copy()
    assert not np.shares_memory(subject.backward([g], [mine])[0], g)


def test_wrt_and_names():
    kwargs = {"backward": product_backward}
    assert adapt(product, (X, W), wrt="w", **kwargs).wrt == (1,)
    assert adapt(product, (X, W), wrt=[-1, 0], **kwargs).wrt == (1, 0)
    named = adapt(product, (X, W), names=["data"], wrt=["data"], **kwargs)
    assert (named.names, named.wrt) == (("data", "w"), (0,))
    for wrong in (2, "z", [], 1.5, True):
        with pytest.raises((ArgumentError, TypeError)):
            adapt(product, (X, W), wrt=wrong, **kwargs)
    with pytest.raises(ArgumentTypeError, match="integer input to differentiate"):
        adapt(lambda x, t: x[t], (X, np.array([0])), backward=lambda g, x, t: g, wrt=1)
    with pytest.raises(ArgumentError, match="names"):
        adapt(product, (X, W), names=["a", "b", "c"], **kwargs)


def raising(x):
    raise ValueError("no such axis")


@pytest.mark.parametrize(
    ("target", "inputs", "error", "message"),
    [
        (np.tanh, (), ArgumentError, "at least one array"),
        (np.abs, (np.arange(3),), (ArgumentError, ArgumentTypeError), "float"),
        (lambda x: x * 1.5, (np.arange(3),), ArgumentError, "nothing to differentiate.*pass x as floats"),
        (np.tanh, (X + 1j,), ArgumentTypeError, "complex"),
        (lambda x: x + 1j, (X,), ArgumentTypeError, "complex"),
        (raising, (X,), ArgumentError, "target: raising raised ValueError: no such axis"),
        (np.argmax, (X,), ArgumentTypeError, "floating-point arrays, received int64"),
        (lambda x: None, (X,), ArgumentTypeError, "NoneType"),
        (lambda x, axis: x, (X, None), ArgumentTypeError, "axis: expected an array or a number, received NoneType"),
        (lambda x, mode: x, (X, "sum"), ArgumentTypeError, "mode.*str"),
        (lambda x: x, ([[1.0], [1.0, 2.0]],), ArgumentTypeError, "list"),
        (3, (X,), ArgumentTypeError, "expected a function"),
    ],
)
def test_what_cannot_be_checked(target, inputs, error, message):
    with pytest.raises(error, match=message) as caught:
        adapt(target, inputs, backward=lambda g, *inputs: g)
    if target is raising:
        assert isinstance(caught.value.__cause__, ValueError)


def test_what_is_not_recognised():
    with pytest.raises(ArgumentTypeError, match="backward: expected the gradient of tanh"):
        adapt(np.tanh, (X,))
    with pytest.raises(ArgumentTypeError, match="received dict"):
        adapt({}, (X,))
    with pytest.raises(ArgumentTypeError, match="backward: expected a function"):
        adapt(np.tanh, (X,), backward=3)


# --- objects ---------------------------------------------------------------------------------------------------------------
class Affine:
    """A learner's layer: W also under another name, gradients assigned."""

    def __init__(self, dtype=np.float64):
        self.W = W.astype(dtype)
        self.params = {"W": self.W, "b": np.arange(2.0).astype(dtype)}
        self.grads = {}
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.x = x
        return x @ self.W + self.params["b"]

    def backward(self, g):
        self.grads["W"], self.grads["b"] = self.x.T @ g, g.sum(axis=0)
        return g @ self.params["W"].T


class Accumulating(Affine):
    """Gradients are added to what is there."""

    def __init__(self, dtype=np.float64):
        super().__init__(dtype)
        self.grads = {k: np.zeros_like(v) for k, v in self.params.items()}

    def backward(self, g):
        self.grads["W"] += self.x.T @ g
        self.grads["b"] += g.sum(axis=0)
        return g @ self.W.T


class Listed:
    """Parameters in a list, as in Saitoh's book."""

    def __init__(self):
        self.params = [W.copy(), np.zeros(2)]
        self.grads = [np.zeros_like(W), np.zeros(2)]

    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]

    def backward(self, g):
        self.grads[0][...] = self.x.T @ g
        self.grads[1][...] = g.sum(axis=0)
        return g @ self.params[0].T


class Attributes:
    """W and dW, not announced anywhere; the cache and its gradient are attributes too."""

    def __init__(self):
        self.W, self.b, self.scale = W.copy(), np.zeros(2), 1.0

    def __call__(self, x):
        self.x = x
        return self.scale * (x @ self.W) + self.b

    def backward(self, g):
        self.dW, self.db = self.scale * self.x.T @ g, g.sum(axis=0)
        self.dx = self.scale * g @ self.W.T
        return self.dx


class WithLock(Accumulating):
    """What it holds cannot be copied."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()


class Uncopyable(Accumulating):
    def __reduce_ex__(self, protocol):
        raise TypeError("no copies")


@pytest.mark.parametrize("kind", [Affine, Accumulating, Listed, Attributes, WithLock, Uncopyable])
@pytest.mark.parametrize("used", [False, True])
def test_layer_objects(kind, used):
    layer = kind()
    if used:
        (layer if kind is Attributes else layer.forward)(X)
        layer.backward(G)
    before = {k: deep(v) for k, v in vars(layer).items()}
    subject = adapt(layer, (X,))
    expected = {Listed: ("x", "params[0]", "params[1]")}.get(kind, ("x", "W", "b"))
    assert (subject.names, subject.wrt, subject.arguments) == (expected, (0, 1, 2), 1)
    close(subject.outputs[0], X @ W + subject.inputs[2])
    assert_gradients_right(subject)
    assert_gradients_right(subject)  # nothing is left from the first time
    moved = copies(subject.inputs)
    moved[1] += 1.0
    close(subject.forward(moved)[0], X @ (W + 1) + moved[2])
    after = subject.backward_after([G], copies(subject.inputs), [X + 1, *copies(subject.inputs[1:])])
    for a, b in zip(after, subject.backward([G], copies(subject.inputs)), strict=True):
        close(a, b)
    assert vars(layer).keys() == before.keys()
    np.testing.assert_equal(vars(layer), before)


def test_objects_compute_and_accumulate_in_float64_when_asked():
    subject = adapt(Accumulating(np.float32), (X.astype(np.float32),))
    wide = [x.astype(np.float64) for x in subject.inputs]
    assert subject.forward(wide)[0].dtype == np.float64
    dw = subject.backward([G], wide)[1]
    assert dw.dtype == np.float64
    close(dw, wide[0].T @ G)


def test_a_class_is_constructed():
    assert adapt(Affine, (X,)).name == "Affine"

    class Demanding(Affine):
        def __init__(self, size):
            self.size = size

    class Static:
        @staticmethod
        def forward(x):
            return x

        @staticmethod
        def backward(g):
            return g

    with pytest.raises(ArgumentError, match=r"Demanding\(\) raised TypeError"):
        adapt(Demanding, (X,))
    with pytest.raises(ArgumentTypeError, match="static"):
        adapt(Static, (X,))


def test_attributes_on_request():
    subject = adapt(Attributes(), (X,), parameters={"W": "dW", "scale": "dscale"})
    assert subject.names == ("x", "W", "scale")
    gradients = subject.backward([G], copies(subject.inputs))
    close(gradients[1], X.T @ G)
    assert gradients[2] is None
    doubled = [*copies(subject.inputs[:2]), np.array(2.0)]
    close(subject.forward(doubled)[0], 2 * X @ W)
    for wrong, error in (({"V": "dV"}, ArgumentError), (["W"], ArgumentTypeError)):
        with pytest.raises(error, match="parameters"):
            adapt(Attributes(), (X,), parameters=wrong)


class CachesOnce:
    """A bug: x is kept by the first forward only."""

    def forward(self, x):
        if not hasattr(self, "x"):
            self.x = x
        return x**2

    def backward(self, g):
        return 2 * self.x * g


def test_a_cache_that_is_never_renewed_shows():
    subject = adapt(CachesOnce(), (X,))
    close(subject.backward([X], [X])[0], 2 * X * X)
    close(subject.backward_after([X], [X], [X + 1])[0], 2 * (X + 1) * X)


def test_objects_of_several_inputs_and_settings_among_the_parameters():
    class Scaled:
        def __init__(self):
            self.params = {"gain": {"g": np.array(2.0)}, "eps": 0.5}
            self.grads = {"gain": {}}

        def forward(self, a, b):
            self.kept = a, b
            return self.params["gain"]["g"] * (a + self.params["eps"]) * b, a

        def backward(self, upstream):
            a, b = self.kept
            g, eps = self.params["gain"]["g"], self.params["eps"]
            self.grads["gain"]["g"] = (upstream[0] * (a + eps) * b).sum()
            return upstream[0] * g * b + upstream[1], upstream[0] * g * (a + eps)

    subject = adapt(Scaled(), (X, X + 1))
    assert (subject.names, subject.packed) == (("a", "b", "gain.g"), True)
    assert_gradients_right(subject)


# --- our own ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (Softmax(), ("x",)),
        (Softmax, ("x",)),
        (Linear(2), ("x", "weight", "bias")),
        (Dropout(0.5), ("x",)),
        (Chain(Linear(4), Tanh(), Residual(Linear(4))), ("x", "0.weight", "0.bias", "2.0.weight", "2.0.bias")),
        (Standardize(X.mean(axis=0), X.std(axis=0)), ("x",)),
    ],
    ids=str,
)
def test_layers(layer, names):
    subject = adapt(layer, (X,))
    assert subject.names == names
    assert_gradients_right(subject)
    upstream = [np.ones_like(subject.outputs[0])]
    tangents = [np.random.default_rng(k).normal(size=x.shape) for k, x in enumerate(subject.inputs)]
    gradients = subject.backward(upstream, subject.inputs)
    forward_mode = float(subject.jvp(tangents, subject.inputs)[0].sum())
    assert forward_mode == pytest.approx(sum(float((g * t).sum()) for g, t in zip(gradients, tangents, strict=True)))
    second = subject.second_order(upstream)
    h = 1e-6
    ahead, behind = (second.forward([x + s * t for x, t in zip(subject.inputs, tangents, strict=True)]) for s in (h, -h))
    for t, a, b in zip(second.jvp(tangents, subject.inputs), ahead, behind, strict=True):
        close(t, (a - b) / (2 * h), 1e-7)
    with pytest.raises(NotImplementedError):
        second.backward(ahead, subject.inputs)


def test_parameters_of_a_layer_may_be_given():
    given = {"weight": np.ones((2, 3)), "bias": np.zeros(2)}
    close(adapt(Linear(2), (X,), parameters=given).outputs[0], X @ np.ones((3, 2)))
    with pytest.raises(ArgumentError, match=r"weight of shape \(2, 3\), received \(3, 2\)"):
        adapt(Linear(2), (X,), parameters={**given, "weight": np.ones((3, 2))})
    with pytest.raises(ArgumentError, match="bias"):
        adapt(Linear(2), (X,), parameters={"weight": given["weight"]})
    with pytest.raises(ArgumentError, match=r"Linear\(\) raised"):
        adapt(Linear, (X,))
    with pytest.raises(ArgumentError, match="one array x"):
        adapt(Softmax(), (X, X))
    assert adapt(Linear(2), (X.astype(np.float32),)).inputs[1].dtype == np.float32


@pytest.mark.parametrize(("loss", "t"), [(CrossEntropy(), np.array([0, 2, 1, 1])), (SquaredError(), np.ones((4, 3)))], ids=str)
def test_losses(loss, t):
    subject = adapt(loss, (X, t))
    assert (subject.names, subject.wrt, subject.outputs[0].shape) == (("z", "t"), (0,), ())
    assert float(subject.outputs[0]) == loss(X, t)
    assert_gradients_right(subject)
    assert_gradients_right(subject.second_order([np.array(1.5)]))
    assert adapt(loss, (X, t, np.ones(4))).names == ("z", "t", "sample_weight")
    with pytest.raises(ArgumentError, match="z and t"):
        adapt(loss, (X,))
    with (
        pytest.raises(ArgumentTypeError, match="integer input to differentiate")
        if t.dtype.kind == "i"
        else pytest.raises(ArgumentError, match="have a gradient")
    ):
        adapt(loss, (X, t), wrt="t")


T = np.array([0, 1, 1, 0])


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_networks(l2):
    network = Network([Standardize(X.mean(axis=0), X.std(axis=0)), Linear(5), Tanh(), Linear(2), Softmax()], CrossEntropy(), l2=l2)
    network.initialise(X, seed=0)
    before = network.parameters.copy()
    subject = adapt(network, (X, T))
    assert subject.names[:4] == ("x", "t", "1 Linear(5) weight", "1 Linear(5) bias")
    assert subject.wrt == (0, 2, 3, 4, 5)
    assert float(subject.outputs[0]) == network.loss(X, T)
    assert_gradients_right(subject)
    close(
        np.concatenate([g.ravel() for g in subject.backward([np.array(1.0)], subject.inputs)[2:]]),
        network.loss_and_gradient(X, T)[1],
    )
    second = subject.second_order([np.array(2.0)])
    assert second.wrt == (2, 3, 4, 5)
    assert_gradients_right(second)
    moved = copies(subject.inputs)
    moved[2] += 1.0
    assert subject.forward(moved)[0] != subject.outputs[0]
    assert subject.forward(copies(subject.inputs))[0] == subject.outputs[0]
    assert (network.parameters == before).all()


def test_networks_of_float32_compute_in_float64_when_asked():
    network = Network([Linear(5), Tanh(), Linear(2), Softmax()], CrossEntropy(), dtype="float32").initialise(X, seed=0)
    subject = adapt(network, (X, T))
    assert {x.dtype for x in subject.inputs} == {np.dtype(np.float32), T.dtype}
    gradients = subject.backward([np.array(1.0)], subject.inputs)
    assert gradients[0].dtype == gradients[2].dtype == np.float32
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in subject.inputs]
    theta = np.concatenate([x.ravel() for x in wide[2:]])
    assert float(subject.forward(wide)[0]) == network.loss(wide[0], T, parameters=theta)
    assert subject.backward([np.array(1.0)], wide)[2].dtype == np.float64
    assert network.dtype == np.float32


def test_networks_with_dropout_without_a_loss_and_without_parameters():
    network = Network([Linear(5), Dropout(0.5), Linear(2), Softmax()], CrossEntropy())
    subject = adapt(network, (X, T))
    assert not network.is_initialised
    assert 0 not in subject.wrt
    assert any("dropout" in note for note in subject.notes)
    assert_gradients_right(subject)
    outputs = adapt(Network([Linear(2), Softmax()]).initialise(X, seed=3), (X,))
    assert outputs.names == ("x", "0 Linear(2) weight", "0 Linear(2) bias")
    close(outputs.outputs[0], Network([Linear(2), Softmax()]).initialise(X, seed=3).predict(X))
    assert_gradients_right(outputs)
    with pytest.raises(ArgumentError, match="with a loss"):
        adapt(Network([Linear(2)]), (X, T))
    with pytest.raises(ShapeError):
        adapt(Network([Linear(2), Softmax()], CrossEntropy()).initialise(X, 0), (X[:, :2], T))


# --- torch -----------------------------------------------------------------------------------------------------------------
torch = pytest.importorskip("torch")


class Cube(torch.autograd.Function):
    """x^3 times a constant that is no tensor."""

    @staticmethod
    def forward(ctx, x, factor=1.0):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return factor * x**3

    @staticmethod
    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return 3 * ctx.factor * x**2 * upstream, None


def tensor(array, **kwargs):
    return torch.tensor(array, **kwargs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("target", [Cube, Cube.apply], ids=["class", "apply"])
def test_torch_functions(dtype, target):
    x = tensor(X, dtype=dtype)
    subject = adapt(target, (x, 2.0))
    assert (subject.name, subject.names, subject.arguments, subject.packed) == ("Cube", ("x",), 1, False)
    assert subject.inputs[0].dtype == x.numpy().dtype
    close(subject.outputs[0], Cube.apply(x, 2.0).numpy(), 0)
    gradient = subject.backward([np.ones_like(subject.inputs[0])], subject.inputs)[0]
    assert gradient.dtype == subject.inputs[0].dtype
    close(gradient, 6 * subject.inputs[0] ** 2, float(np.finfo(gradient.dtype).eps) * 100)
    wide = [subject.inputs[0].astype(np.float64)]
    assert subject.forward(wide)[0].dtype == np.float64
    close(subject.backward([np.ones_like(X)], wide)[0], 6 * wide[0] ** 2)
    assert x.grad is None
    assert not x.requires_grad


@pytest.mark.parametrize("special", [True, False], ids=["ml_dtypes", "without ml_dtypes"])
def test_bfloat16(monkeypatch, special):
    if special:
        pytest.importorskip("ml_dtypes")
    else:
        monkeypatch.setattr(tensors, "bfloat16", lambda: None)
    x = tensor(X).to(torch.bfloat16)
    subject = adapt(Cube, (x,))
    assert subject.inputs[0].dtype.name == ("bfloat16" if special else "float32")
    assert [note[:30] for note in subject.notes] == ([] if special else ["bfloat16 was checked in float3"])
    assert (subject.inputs[0].astype(np.float32) == x.float().numpy()).all()
    close(subject.outputs[0].astype(np.float32), Cube.apply(x).float().numpy(), 0 if special else 2.0**-7)
    upstream = np.ones_like(subject.inputs[0])
    gradient = subject.backward([upstream], copies(subject.inputs))[0]
    assert gradient.dtype == subject.inputs[0].dtype
    assert subject.forward([subject.inputs[0].astype(np.float64)])[0].dtype == np.float64


def test_torch_matches_autograd_with_several_inputs_and_outputs():
    def function(a, rest, scale, index):
        return {"y": (a * rest[0])[index] * scale, "index": index, "sum": [a.sum()]}

    a, b, index = tensor(X), tensor(X + 1), tensor([0, 2])
    subject = adapt(function, (a, [b, "ignored"], 3, index))
    assert subject.names == ("a", "rest[0]", "index")
    assert (subject.wrt, subject.arguments, subject.packed) == ((0, 1), 3, True)
    assert [y.shape for y in subject.outputs] == [(2, 3), ()]
    upstream = [np.ones((2, 3)), np.array(2.0)]
    gradients = subject.backward(upstream, subject.inputs)
    a.requires_grad_()
    b.requires_grad_()
    out = function(a, [b], 3, index)
    expected = torch.autograd.grad([out["y"], out["sum"][0]], [a, b], [torch.ones(2, 3, dtype=a.dtype), tensor(2.0, dtype=a.dtype)])
    for g, e in zip(gradients[:2], expected, strict=True):
        close(g, e.numpy())
    assert gradients[2] is None
    only_b = adapt(lambda a, b: a * b, (a.detach(), b))  # what requires a gradient, if anything does
    assert only_b.wrt == (1,)
    unused = adapt(lambda a, b: a * 1, (a.detach(), b.detach()))
    assert (unused.backward([np.ones_like(X)], unused.inputs)[1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_torch_modules(dtype):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2, bias=False)).to(dtype)
    module[2].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    x = tensor(X, dtype=dtype)
    subject = adapt(module, (x,))
    assert subject.names == ("input", "0.weight", "0.bias", "1.weight", "1.bias")
    wide = [np.asarray(v, dtype=np.float64) for v in subject.inputs]
    subject.forward(wide)
    gradients = subject.backward([np.asarray(G, subject.outputs[0].dtype)], copies(subject.inputs))
    for k, v in module.state_dict().items():
        assert torch.equal(v, before[k]), k
    assert all(p.grad is None for p in module.parameters())
    (module(x) * tensor(G, dtype=dtype)).sum().backward()
    for name, g in zip(subject.names[1:], gradients[1:], strict=True):
        close(g, module.get_parameter(name).grad.numpy(), 1e-5 if dtype == torch.float32 else 1e-12)
    assert_gradients_right(adapt(module.double(), (x.double(),)))


def test_a_module_that_draws_random_numbers_draws_the_same():
    module = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(3, 2)).double()
    state = torch.get_rng_state()
    subject = adapt(module, (tensor(X),))
    assert "random" in subject.notes[0]
    close(subject.forward(subject.inputs)[0], subject.outputs[0], 0)
    assert_gradients_right(subject)
    assert torch.equal(torch.get_rng_state(), state)
    function = adapt(lambda x: torch.nn.functional.dropout(x, 0.5), (tensor(X),))
    assert (function.forward(function.inputs)[0] != function.outputs[0]).any()


def test_torch_writes_into_arguments_show():
    class Writes(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, upstream):
            return upstream.mul_(2 * ctx.saved_tensors[0])

    upstream, x = X.copy(), X.copy()
    gradient = adapt(Writes, (tensor(X),)).backward([upstream], [x])[0]
    assert (upstream != X).any()
    assert not np.shares_memory(gradient, upstream)
    low = tensor(X).to(torch.bfloat16)
    subject = adapt(Writes, (low,))
    upstream = np.ones_like(subject.inputs[0])
    subject.backward([upstream], copies(subject.inputs))
    assert (upstream != np.ones_like(upstream)).any()
    in_place = adapt(lambda x: x.mul_(2), (tensor(X),))
    x = X.copy()
    in_place.forward([x])
    assert (x == 2 * X).all()
    close(in_place.backward([np.ones_like(X)], [X.copy()])[0], 2 * np.ones_like(X))


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda a: a[::-1, ::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    ],
    ids=["fortran", "reversed", "broadcast", "strided"],
)
def test_layouts(layout):
    subject = adapt(Cube, (tensor(X),))
    upstream = layout(X.copy())
    close(subject.backward([upstream], [layout(X.copy())])[0], 3 * np.array(layout(X)) ** 2 * upstream)


def test_torch_second_order_and_forward_mode():
    subject = adapt(lambda a, b: torch.sin(a) * b, (tensor(X), tensor(X + 1)), forward_ad=True)
    second = subject.second_order([X])
    assert [y.shape for y in second.outputs] == [X.shape, X.shape]
    assert_gradients_right(second)
    close(subject.jvp([X, X], subject.inputs)[0], np.cos(X) * X * (X + 1) + np.sin(X) * X)
    assert adapt(Cube, (tensor(X),)).jvp([X], [X]) is None
    assert_gradients_right(adapt(Cube, (tensor(X),)).second_order([X]))
    linear = adapt(lambda x: 2 * x, (tensor(X),)).second_order([X])
    assert (linear.backward([X], [X])[0] == 0).all()

    class Once(Cube):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, upstream):
            return 3 * ctx.saved_tensors[0] ** 2 * upstream, None

    assert adapt(Once, (tensor(X),)).second_order([X]) is None


def test_torch_backward_after_another_forward():
    class Forgetful(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            Forgetful.x = x
            return x**2

        @staticmethod
        def backward(ctx, upstream):
            return 2 * Forgetful.x * upstream

    subject = adapt(Forgetful, (tensor(X),))
    close(subject.backward([X], [X])[0], 2 * X * X)
    close(subject.backward_after([X], [X], [X + 1])[0], 2 * (X + 1) * X)


@pytest.mark.parametrize(
    ("target", "inputs", "kwargs", "error", "message"),
    [
        (torch.abs, (torch.ones(2, dtype=torch.complex64),), {}, ArgumentTypeError, "complex"),
        (torch.abs, (torch.ones(2, dtype=torch.int64),), {}, (ArgumentError, ArgumentTypeError), "float"),
        (torch.view_as_complex, (torch.ones(3, 2),), {}, ArgumentTypeError, "complex"),
        (torch.argmax, (torch.ones(3),), {}, ArgumentTypeError, "floating-point"),
        (torch.matmul, (torch.ones(3), torch.ones(2)), {}, ArgumentError, "target: matmul raised RuntimeError"),
        (torch.nn.Linear, (torch.ones(3),), {}, ArgumentTypeError, r"write Linear\(\.\.\.\)"),
        (torch.abs, (torch.ones(3),), {"backward": lambda g, x: g}, ArgumentTypeError, "expected NumPy arrays"),
        (torch.abs, (torch.ones(3),), {"parameters": {"a": "b"}}, ArgumentTypeError, "parameters"),
        (3, (torch.ones(3),), {}, ArgumentTypeError, "expected a function of tensors"),
    ],
)
def test_what_torch_cannot_be_checked(target, inputs, kwargs, error, message):
    with pytest.raises(error, match=message):
        adapt(target, inputs, **kwargs)


# --- JAX -------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def jax():
    return pytest.importorskip("jax")


def test_jax_pytrees(jax):
    jnp = jax.numpy

    def function(params, x, kind):
        assert kind == "tanh"
        return {"y": jnp.tanh(x @ params["w"] + params["b"]), "n": jnp.arange(3)}

    params = {"w": jnp.asarray(W), "b": jnp.zeros(2)}
    subject = adapt(function, (params, jnp.asarray(X), "tanh"))
    assert subject.names == ("params['b']", "params['w']", "x")
    assert (subject.wrt, subject.arguments, subject.packed, subject.device[:3]) == ((0, 1, 2), 3, True, "cpu")
    assert len(subject.outputs) == 1
    assert subject.outputs[0].dtype == np.float32  # as the session is set
    close(subject.outputs[0], np.asarray(function(params, jnp.asarray(X), "tanh")["y"]), 1e-6)
    wide = [x.astype(np.float64) for x in subject.inputs]
    assert subject.forward(wide)[0].dtype == np.float64
    gradients = subject.backward([G], wide)
    s = (1 - np.tanh(wide[2] @ wide[1]) ** 2) * G
    for g, e in zip(gradients, (s.sum(axis=0), wide[2].T @ s, s @ wide[1].T), strict=True):
        assert g.dtype == np.float64
        close(g, e)
    assert jnp.zeros(2).dtype == np.float32
    assert adapt(function, (params, jnp.asarray(X), "tanh"), wrt="x").backward([G], wide)[0] is None


def test_jax_custom_derivatives(jax):
    @jax.custom_vjp
    def wrong(x):
        return x**3

    wrong.defvjp(lambda x: (x**3, x), lambda x, g: (g * 2 * x**2,))
    subject = adapt(wrong, (X,))  # recognised by what it is
    assert subject.names == ("x",)
    close(subject.backward([np.ones_like(X)], [X])[0], 2 * X**2)
    assert subject.jvp([X], [X]) is None
    close(subject.second_order([np.ones_like(X)]).backward([np.ones_like(X)], [X])[0], 4 * X)

    @jax.custom_jvp
    def tangent(x):
        return x**2

    tangent.defjvp(lambda primals, tangents: (primals[0] ** 2, 3 * primals[0] * tangents[0]))
    close(adapt(tangent, (X,)).jvp([np.ones_like(X)], [X])[0], 3 * X)
    close(adapt(jax.jit(lambda x: x**2), (X,), forward_ad=True).jvp([np.ones_like(X)], [X])[0], 2 * X)
    assert float(adapt(tangent, (3.0,)).outputs[0]) == 9.0


def test_jax_runs_what_cannot_be_traced_and_takes_integers_and_low_precision(jax):
    jnp = jax.numpy
    branching = adapt(lambda x: x * 2 if x.sum() > 0 else x * 3, (jnp.ones(3),))
    close(branching.outputs[0], 2 * np.ones(3))
    close(branching.backward([np.ones(3)], [np.ones(3)])[0], 2 * np.ones(3))
    close(branching.forward([-np.ones(3)])[0], -3 * np.ones(3))
    taken = adapt(lambda x, i: x[i], (jnp.asarray(X), jnp.array([1, 1])))
    assert taken.wrt == (0,)
    dx, di = taken.backward([np.ones((2, 3))], [X, np.array([1, 1])])
    assert di is None
    assert dx[1].tolist() == [2, 2, 2]
    low = adapt(jnp.tanh, (jnp.asarray(X, dtype=jnp.bfloat16),))
    assert low.inputs[0].dtype.name == low.outputs[0].dtype.name == "bfloat16"
    key = adapt(lambda x, key: x * jax.random.normal(key, x.shape), (jnp.asarray(X), jax.random.key(0)))
    assert key.names == ("x",)


def test_what_jax_cannot_be_checked(jax):
    jnp = jax.numpy
    with pytest.raises(ArgumentTypeError, match="complex"):
        adapt(jnp.abs, (jnp.ones(2) + 1j,))
    with pytest.raises(ArgumentError, match="raised TypeError"):
        adapt(jnp.dot, (jnp.ones(2), jnp.ones(3)))
    with pytest.raises(ArgumentError, match="float"):
        adapt(lambda x: x * 1.5, (jnp.arange(3),))
    with pytest.raises(ArgumentTypeError, match="function of JAX arrays"):
        adapt(3, (jnp.ones(2),))


@pytest.mark.parametrize(("arguments", "line"), [((), "backproof.check(Doubled, x)"), ((3,), "backproof.check(Doubled(...), x)")])
def test_the_replay_of_an_object_says_that_it_needs_arguments(arguments, line):
    class Doubled:
        if arguments:

            def __init__(self, size):
                self.size = size

        def forward(self, x):
            return 2 * x

        def backward(self, upstream):
            return upstream

    report = check(Doubled(*arguments), np.ones(3))
    assert report.replay.splitlines()[-1] == line


def test_the_replay_of_a_function_names_its_backward():
    def cubed(x):
        return x**3

    def cubed_backward(upstream, x):
        return 2 * x * upstream

    assert check(cubed, np.ones(3), backward=cubed_backward).replay == (
        "x = np.array([1.0, 1.0])\nbackproof.check(cubed, x, backward=cubed_backward)"
    )


def test_a_replay_makes_the_arrays_that_the_target_takes():
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    jax = pytest.importorskip("jax")

    class Cubed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, upstream):
            return 2 * ctx.saved_tensors[0] * upstream

    lines = [check(Cubed, torch.ones(3, dtype=d)).replay.splitlines()[0] for d in (torch.float32, torch.float64)]
    assert lines == ["x = torch.tensor([1.0, 1.0])", "x = torch.tensor([1.0, 1.0], dtype=torch.float64)"]

    @jax.custom_vjp
    def cubed(x):
        return x**3

    cubed.defvjp(lambda x: (x**3, x), lambda x, upstream: (2 * x * upstream,))
    assert check(cubed, jnp.ones(3, dtype=jnp.float32)).replay == "x = jnp.array([1.0, 1.0])\nbackproof.check(cubed, x)"


class Squared(Layer):
    def __init__(self, factor):
        self.factor = factor

    def hyperparameters(self):
        return {}

    def __repr__(self):
        return "Squared()"

    def forward(self, params, x, *, train=False, rng=None):
        return x * x, x

    def backward(self, params, kept, dy):
        return self.factor * kept * dy, {}


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("within", [lambda layer: layer, lambda layer: Chain(Identity(), layer)])
def test_a_layer_without_forward_mode_is_checked_without_it(order, within):
    assert check(within(Squared(2)), X, order=order).ok
    report = check(within(Squared(3)), X, order=order)
    assert [f.cause for f in report.findings][:1] == ["wrong-scale"]
    assert report.calls["jvp"] == 0


def test_a_class_with_other_names_is_told_what_to_write():
    class Rectifier:
        def __call__(self, x):
            return np.maximum(x, 0)

        def grad(self, upstream):
            return upstream

    said = "received Rectifier with __call__, grad; below the class, write Rectifier.forward = Rectifier.METHOD and"
    for target in (Rectifier, Rectifier()):
        with pytest.raises(ArgumentTypeError, match=said):
            adapt(target, (X,))


def test_a_gradient_without_upstream_is_told_what_it_lacks():
    def loss(y, t):
        return ((y - t) ** 2).sum()

    def grad(y, t):
        return 2 * (y - t)

    def shorter(upstream):
        return upstream

    wanted = r"backward\(upstream, y, t\), received"
    with pytest.raises(ArgumentTypeError, match=wanted + r" grad\(y, t\); multiply its gradient by upstream"):
        adapt(loss, (X, X), backward=grad)
    with pytest.raises(ArgumentTypeError, match=wanted + r" shorter\(upstream\)$"):
        adapt(loss, (X, X), backward=shorter)
