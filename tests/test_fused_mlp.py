"""The compiled training step against plain NumPy in double precision, written here without it."""

import platform
import threading

import numpy as np
import pytest
from scipy.special import erf, expit

from backproof import _errors as errors
from backproof.kernels.adam import adam_
from backproof.kernels.fused_mlp import FusedMLP
from backproof.kernels.pointwise import CODES

C = np.sqrt(2 / np.pi)
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) + z * expit(z) * expit(-z)),
    "softplus": (lambda z: np.logaddexp(0, z), expit),
    "gelu": (
        lambda z: z * (1 + erf(z / np.sqrt(2))) / 2,
        lambda z: (1 + erf(z / np.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
    ),
    "gelu_tanh": (
        lambda z: z / 2 * (1 + np.tanh(C * (z + 0.044715 * z**3))),
        lambda z: (1 + np.tanh(C * (z + 0.044715 * z**3))) / 2
        + z / 2 / np.cosh(C * (z + 0.044715 * z**3)) ** 2 * C * (1 + 3 * 0.044715 * z**2),
    ),
}  # fmt: skip
LOSSES = ["softmax_cross_entropy", "probabilities", "sigmoid_binary_cross_entropy", "half_squared_error"]


def loss_and_delta(z, t, loss, w):
    if loss == "softmax_cross_entropy" and t.ndim == 1:
        t = np.eye(z.shape[1])[t]
    if loss in ("softmax_cross_entropy", "probabilities"):
        e = np.exp(z - z.max(1, keepdims=True))
        h = e / e.sum(1, keepdims=True)
        log_h = z - z.max(1, keepdims=True) - np.log(e.sum(1, keepdims=True))
        each, delta = -(t * log_h).sum(1), h * t.sum(1, keepdims=True) - t
    elif loss == "sigmoid_binary_cross_entropy":
        each, delta = (t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)).sum(1), expit(z) - t
    else:
        each, delta = ((z - t) ** 2).sum(1) / 2, z - t
    return w @ each, delta * w[:, None]


def reference(sizes, activations, loss, p, x, t, w, biases):
    p, x = p.astype(np.float64), x.astype(np.float64)
    layers, at = [], 0
    for i, o, b in zip(sizes, sizes[1:], biases, strict=False):
        weight = p[at : at + i * o].reshape(o, i)
        layers.append((weight, p[at + i * o : at + i * o + o] if b else np.zeros(o)))
        at += i * o + o * b
    kept, y = [], x
    for k, (weight, bias) in enumerate(layers):
        z = y @ weight.T + bias
        kept.append((y, z))
        y = ACTIVATIONS[activations[k]][0](z) if k < len(activations) else z
    value, d = loss_and_delta(y, t, loss, w)
    gradient = []
    for k in range(len(layers) - 1, -1, -1):
        gradient[:0] = [(d.T @ kept[k][0]).ravel()] + ([d.sum(0)] if biases[k] else [])
        if k:
            d = (d @ layers[k][0]) * ACTIVATIONS[activations[k - 1]][1](kept[k - 1][1])
    return value, np.concatenate(gradient)


def problem(sizes, loss, dtype, n, seed=0, biases=None, weighted=False):
    rng = np.random.default_rng(seed)
    biases = [True] * (len(sizes) - 1) if biases is None else biases
    parts = []
    for i, o, b in zip(sizes, sizes[1:], biases, strict=False):
        parts += [rng.standard_normal(i * o) / np.sqrt(i), rng.standard_normal(o * b)]
    p, x = np.concatenate(parts).astype(dtype), rng.standard_normal((n, sizes[0])).astype(dtype)
    if loss == "softmax_cross_entropy":
        t = rng.integers(0, sizes[-1], n)
    elif loss == "probabilities":
        t = rng.dirichlet(np.ones(sizes[-1]), n).astype(dtype)
    else:
        t = rng.random((n, sizes[-1])).astype(dtype)
    w = rng.random(n) if weighted else np.full(n, 1 / n)
    return p, x, t, w, biases


def build(sizes, activations, loss, dtype, **options):
    return FusedMLP(sizes, activations, "softmax_cross_entropy" if loss == "probabilities" else loss, dtype, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", CODES)
def test_loss_and_gradient(activation, loss, dtype):
    sizes = (11, 21, 9, 5)
    net = build(sizes, (activation, activation), loss, dtype)
    for n, weighted in ((37, False), (1, False), (16, True)):
        p, x, t, w, biases = problem(sizes, loss, dtype, n, weighted=weighted)
        g = np.empty_like(p)
        value = net.loss_and_gradient(p, x, t, w if weighted else None, out=g)
        true, gradient = reference(sizes, (activation, activation), loss, p, x, t, w, biases)
        tolerance = 3e-6 if dtype == np.float32 else 1e-13
        assert value == pytest.approx(true, rel=tolerance)
        assert np.abs(g - gradient).max() <= tolerance * np.abs(gradient).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "sizes", [(1, 1), (3, 2), (64, 10), (4, 16, 3), (5, 1, 7), (130, 67, 33, 18, 6, 2), (1100, 600, 530), (7, 48, 48, 3), (2, 300)]
)
def test_shapes(sizes, dtype):
    activations = ("tanh", "relu", "silu", "leaky_relu")[: len(sizes) - 2]
    biases = [k % 2 == 0 for k in range(len(sizes) - 1)]
    net = build(sizes, activations, "softmax_cross_entropy", dtype, biases=biases)
    for n in (1, 7, 8, 15, 17, 33, 100, 5):
        p, x, t, w, _ = problem(sizes, "softmax_cross_entropy", dtype, n, biases=biases)
        g = np.full_like(p, np.nan)
        value = net.loss_and_gradient(p, x, t, out=g)
        true, gradient = reference(sizes, activations, "softmax_cross_entropy", p, x, t, w, biases)
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        assert value == pytest.approx(true, rel=tolerance, abs=1e-12)
        assert np.abs(g - gradient).max() <= tolerance * max(np.abs(gradient).max(), 1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", CODES)
def test_central_differences(activation, loss):
    sizes = (3, 5, 4)
    net = build(sizes, (activation,), loss, np.float64)
    p, x, t, _, _ = problem(sizes, loss, np.float64, 6, seed=3)
    g, unused, h = np.empty_like(p), np.empty_like(p), 1e-6
    net.loss_and_gradient(p, x, t, out=g)
    for j in range(len(p)):
        up, down = p.copy(), p.copy()
        up[j] += h
        down[j] -= h
        slope = (net.loss_and_gradient(up, x, t, out=unused) - net.loss_and_gradient(down, x, t, out=unused)) / (2 * h)
        assert g[j] == pytest.approx(slope, abs=2e-8)


@pytest.mark.parametrize(("dtype", "gap"), [(np.float32, 20.0), (np.float32, 80.0), (np.float64, 40.0), (np.float64, 600.0)])
@pytest.mark.parametrize("soft", [False, True])
def test_confident_and_right(dtype, gap, soft):
    """The scores are the biases: one class ahead by `gap` has gradient -s / (1 + s), s = 2 exp(-gap); h - 1 would be 0."""
    net = FusedMLP((1, 3), (), "softmax_cross_entropy", dtype)
    p = np.array([0, 0, 0, gap, 0, 0], dtype=dtype)
    target = np.array([[1, 0, 0]], dtype=dtype) if soft else np.array([0])
    g = np.empty_like(p)
    value = net.loss_and_gradient(p, np.ones((1, 1), dtype=dtype), target, out=g)
    s = 2 * np.exp(-gap)
    assert float(g[3]) == pytest.approx(-s / (1 + s), rel=4 * float(np.finfo(dtype).eps), abs=0)
    assert float(g[4]) == pytest.approx(s / 2 / (1 + s), rel=4 * float(np.finfo(dtype).eps), abs=0)
    assert value == pytest.approx(np.log1p(s), rel=1e-14 if dtype == np.float64 else 2.0**-38, abs=0)  # that of the exponentials


def test_confident_binary():
    net = FusedMLP((1, 1), (), "sigmoid_binary_cross_entropy", np.float64)
    g = np.empty(2)
    value = net.loss_and_gradient(np.array([0.0, 40.0]), np.zeros((1, 1)), np.ones((1, 1)), out=g)
    assert g[1] == pytest.approx(-np.exp(-40.0), rel=1e-14, abs=0)
    assert value == pytest.approx(np.exp(-40.0), rel=1e-14, abs=0)


def test_saturated_slopes():
    """tanh'(20) = 4 exp(-40): read off the value, 1 - y^2, it would be 0."""
    for name, true in (("tanh", 4 * np.exp(-40.0)), ("sigmoid", np.exp(-20.0) / (1 + np.exp(-20.0)) ** 2)):
        net = FusedMLP((1, 1, 1), (name,), "half_squared_error", np.float64)
        p, g = np.array([0.0, 20.0, 1.0, 0.0]), np.empty(4)
        y = np.tanh(20.0) if name == "tanh" else expit(20.0)
        net.loss_and_gradient(p, np.zeros((1, 1)), np.array([[y - 1.0]]), out=g)
        assert g[1] == pytest.approx(true, rel=1e-13, abs=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", CODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(activation, loss, dtype, bad):
    """It shows in the loss, and neither the gradient nor the parameters are touched."""
    sizes = (6, 8, 4)
    net = build(sizes, (activation,), loss, dtype)
    p, x, t, _, _ = problem(sizes, loss, dtype, 20)
    x[13, 2] = bad
    g, before = np.full_like(p, 7), p.copy()
    value = net.loss_and_gradient(p, x, t, out=g)
    if np.isfinite(value):  # a saturating function may make something finite of infinity
        assert bad == np.inf
        assert activation in ("sigmoid", "tanh")
        return
    assert (g == 7).all()
    m, v = np.zeros_like(p), np.zeros_like(p)
    assert not np.isfinite(net.adam_step(p, m, v, x, t, learning_rate=0.1, step=1))
    assert (p == before).all()
    assert not m.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam(dtype):
    rng = np.random.default_rng(0)
    p, m, v = rng.standard_normal(1003).astype(dtype), np.zeros(1003, dtype), np.zeros(1003, dtype)
    p64, m64, v64 = p.astype(float), np.zeros(1003), np.zeros(1003)
    for step in range(1, 20):
        g = rng.standard_normal(1003).astype(dtype)
        adam_(np.dtype(dtype))(p, g, m, v, 1e-2, 0.9, 0.999, 1e-8, step, 0.1)
        m64, v64 = 0.9 * m64 + 0.1 * g, 0.999 * v64 + 0.001 * g.astype(float) ** 2
        p64 -= 1e-2 * (m64 / (1 - 0.9**step) / (np.sqrt(v64 / (1 - 0.999**step)) + 1e-8) + 0.1 * p64)
    assert np.abs(p - p64).max() < (2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="only these processors are told to")
@pytest.mark.parametrize("alone", [True, False])
def test_numbers_below_the_smallest_normal_one_do_not_stay(alone):
    tiny = np.float32(1e-40)
    p, x, t, _, _ = problem((4, 3, 2), "softmax_cross_entropy", np.float32, 8)
    m, v = np.full_like(p, tiny), np.full_like(p, tiny)
    if alone:
        adam_(np.dtype(np.float32))(p, np.zeros_like(p), m, v, 0.1, 0.9, 0.999, 1e-8, 1, 0.0)
    else:
        net = build((4, 3, 2), ("relu",), "softmax_cross_entropy", np.float32)
        net.adam_step(p, m, v, np.zeros_like(x), t, learning_rate=0.1, step=1)  # no input, so no gradient of the first weights
    assert not m[:12].any()
    assert not v[:12].any()
    assert tiny * np.float32(0.5) > 0  # outside all is as before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(64, 32, 10), (13, 50, 50, 3)])
def test_whole_step_is_the_two_halves(dtype, sizes):
    net = build(sizes, ("relu",) * (len(sizes) - 2), "softmax_cross_entropy", dtype)
    p, x, t, _, _ = problem(sizes, "softmax_cross_entropy", dtype, 32)
    q, g = p.copy(), np.empty_like(p)
    moments = [np.zeros_like(p) for _ in range(4)]
    for step in range(1, 6):
        one = net.adam_step(p, *moments[:2], x, t, learning_rate=1e-2, step=step, weight_decay=0.01)
        two = net.loss_and_gradient(q, x, t, out=g)
        adam_(np.dtype(dtype))(q, g, *moments[2:], 1e-2, 0.9, 0.999, 1e-8, step, 0.01)
        assert one == pytest.approx(two, rel=1e-5)
    assert np.abs(p - q).max() < (1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(200, 300, 10), (64, 513, 130, 7)])
def test_threads_change_no_bit(dtype, sizes):
    loss = "softmax_cross_entropy"
    results = []
    for threads in (1, 2, 3):
        net = build(sizes, ("silu",) * (len(sizes) - 2), loss, dtype, threads=threads)
        p, x, t, _, _ = problem(sizes, loss, dtype, 300)
        m, v = np.zeros_like(p), np.zeros_like(p)
        losses = [net.adam_step(p, m, v, x, t, learning_rate=1e-3, step=k) for k in range(1, 30)]
        results.append((losses, p.tobytes(), m.tobytes(), v.tobytes()))
    assert results[0] == results[1] == results[2]


def test_threads_of_the_caller():
    """Two networks trained from two threads at once, and one network from two threads, disturb each other not at all."""
    sizes, loss = (100, 200, 10), "softmax_cross_entropy"
    p, x, t, _, _ = problem(sizes, loss, np.float32, 200)
    shared = build(sizes, ("relu",), loss, np.float32)
    expected = np.empty_like(p)
    shared.loss_and_gradient(p, x, t, out=expected)
    wrong = []

    def work(net):
        g = np.empty_like(p)
        for _ in range(50):
            net.loss_and_gradient(p, x, t, out=g)
            if (g != expected).any():
                wrong.append(1)

    threads = [threading.Thread(target=work, args=(net,)) for net in (shared, shared, build(sizes, ("relu",), loss, np.float32))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_batch_size_does_not_change_rows():
    """Batches of changing size give what each gives alone: nothing is left over from a larger one."""
    sizes, loss = (20, 30, 4), "softmax_cross_entropy"
    net = build(sizes, ("tanh",), loss, np.float32)
    for n in (100, 3, 64, 1, 129, 17):
        p, x, t, _, _ = problem(sizes, loss, np.float32, n)
        g, fresh = np.empty_like(p), np.empty_like(p)
        one = net.loss_and_gradient(p, x, t, out=g)
        assert one == build(sizes, ("tanh",), loss, np.float32).loss_and_gradient(p, x, t, out=fresh)
        assert (g == fresh).all()


def test_input_that_may_not_be_written_to_and_other_layouts():
    sizes, loss = (6, 8, 4), "softmax_cross_entropy"
    net = build(sizes, ("relu",), loss, np.float32)
    p, x, t, _, _ = problem(sizes, loss, np.float32, 20)
    g, h = np.empty_like(p), np.empty_like(p)
    value = net.loss_and_gradient(p, x, t, out=g)
    fixed = x.copy()
    fixed.flags.writeable = False
    for other, labels in ((fixed, t), (np.asfortranarray(x), t.astype(np.uint8)), (x.astype(np.float64), t[::-1].copy()[::-1])):
        assert net.loss_and_gradient(p, other, labels, out=h) == value
        assert (g == h).all()


def test_errors():
    net = FusedMLP((3, 4), (), "softmax_cross_entropy", np.float32)
    p, x, t = np.zeros(16, np.float32), np.zeros((5, 3), np.float32), np.zeros(5, dtype=int)
    out = np.full_like(p, 7)
    for label in (-1, 4):
        t[3] = label
        with pytest.raises(errors.LabelError, match=f"received {label} in row 3"):
            net.loss_and_gradient(p, x, t, out=out)
    t[3] = 0
    with pytest.raises(errors.ShapeError, match="labels"):
        net.loss_and_gradient(p, x, t[:4], out=out)
    with pytest.raises(errors.ShapeError, match="x:"):
        net.loss_and_gradient(p, x[:, :2], t, out=out)
    with pytest.raises(errors.ShapeError, match="x:"):
        net.loss_and_gradient(p, x[:0], t[:0], out=out)
    with pytest.raises(errors.ShapeError, match="parameters"):
        net.loss_and_gradient(p[:3], x, t, out=out)
    with pytest.raises(errors.ArgumentTypeError, match="labels"):
        net.loss_and_gradient(p, x, t.astype(float), out=out)
    with pytest.raises(errors.ShapeError, match="row_weights"):
        net.loss_and_gradient(p, x, t, np.ones(4), out=out)
    assert (out == 7).all()
    for arguments in (
        ((3,), (), "half_squared_error"),
        ((3, 4), ("relu",), "half_squared_error"),
        ((3, 4, 2), ("cube",), "half_squared_error"),
        ((3, 4), (), "hinge"),
    ):
        with pytest.raises(errors.ArgumentError):
            FusedMLP(*arguments, np.float32)
    with pytest.raises(errors.ArgumentTypeError):
        FusedMLP((3, 4), (), "half_squared_error", np.int64)
