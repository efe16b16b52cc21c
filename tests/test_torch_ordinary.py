"""The short way of `backproof.torch.cross_entropy`, for ordinary tensors: the general way's bits and errors; where it is taken."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("numba")

from torch.autograd import forward_ad, gradgradcheck  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import backproof.torch as ours  # noqa: E402
from backproof.kernels import dispatch  # noqa: E402
from backproof.torch import entropy, ordinary  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Ways:
    """Both ways by force: the short one or an error, and the general one."""

    def __init__(self, monkeypatch):
        self.patch = monkeypatch

    def short(self, function):
        def refused():
            raise AssertionError("the general way was taken")

        with self.patch.context() as patch:
            patch.setattr(entropy, "entropy", refused)
            return function()

    def general(self, function):
        with self.patch.context() as patch:
            patch.setattr(ordinary, "POSSIBLE", False)
            return function()

    def is_general(self, function):
        """Whether the call goes the general way of itself."""
        asked, made = [], entropy.entropy
        with self.patch.context() as patch:
            patch.setattr(entropy, "entropy", lambda: asked.append(1) or made())
            function()
        return bool(asked)


@pytest.fixture
def ways(monkeypatch):
    return Ways(monkeypatch)


def logits(*shape, dtype=torch.float32, seed=0, scale=3.0):
    return torch.from_numpy(scale * np.random.default_rng(seed).normal(size=shape)).to(dtype)


def labels(rows, classes, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, rows))


def results(z, t, upstream=1.0, **options):
    z = z.detach().requires_grad_(True)
    loss = ours.cross_entropy(z, t, **options)
    (gradient,) = torch.autograd.grad(loss, z, torch.full_like(loss, upstream))
    assert gradient.is_contiguous()
    return loss.detach(), gradient, ours.cross_entropy(z.detach(), t, **options)


def assert_same_bits(ways, z, t, **options):
    for mine, general in zip(*(way(lambda: results(z, t, **options)) for way in (ways.short, ways.general)), strict=True):
        assert mine.dtype == general.dtype
        assert mine.shape == general.shape
        np.testing.assert_array_equal(mine.numpy(), general.numpy())


SHAPES = [(1, 1), (128, 10), (5, 33), (7, 300), (600, 10), (3, 5000), (1100, 500)]  # the last by threads


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits(ways, shape, dtype, reduction):
    z, t = logits(*shape, dtype=dtype), labels(*shape)
    assert_same_bits(ways, z, t, reduction=reduction)
    assert_same_bits(ways, z, t, reduction=reduction, upstream=-2.7)
    assert_same_bits(ways, z, t, reduction=reduction, ignore_index=int(t[0]))
    assert_same_bits(ways, z, torch.where(t == t[-1], -100, t), reduction=reduction)


LAYOUTS = {
    "transposed": lambda z: z.t().contiguous().t(),
    "every second": lambda z: z.repeat_interleave(2, 0).repeat_interleave(2, 1)[::2, ::2],
    "expanded": lambda z: z[:1].expand_as(z),
    "offset": lambda z: torch.cat([z, z])[5 : 5 + len(z)],
    "parameter": torch.nn.Parameter,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_same_bits_in_any_layout(ways, layout, dtype):
    z = LAYOUTS[layout](logits(64, 40, dtype=dtype))
    assert_same_bits(ways, z, labels(64, 40))
    mine = ways.short(lambda: results(z, labels(64, 40)))
    for a, b in zip(mine, results(z.detach().contiguous(), labels(64, 40)), strict=True):
        assert torch.equal(a, b)


EDGES = {
    "nan": (1, torch.nan),
    "infinity": (1, torch.inf),
    "masked": (1, -torch.inf),
    "masked label": (0, -torch.inf),
    "confident": (0, 80.0),
    "largest": (1, 3.4e38),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.filterwarnings("error")
def test_same_bits_at_the_edges(ways, edge, dtype, reduction):
    where, value = EDGES[edge]
    z, t = logits(6, 4, dtype=dtype), torch.zeros(6, dtype=torch.int64)
    z[2, where] = value
    z[4, where] = value
    assert_same_bits(ways, z, t, reduction=reduction)
    t[2], t[4] = -100, -100  # rows that count nothing, whatever they hold
    assert_same_bits(ways, z, t, reduction=reduction)
    t[:] = -100
    assert_same_bits(ways, z, t, reduction=reduction)


def test_the_sum_is_rounded_once(ways):
    """Of losses from 1e-300 to 1e3, whose roundings a plain sum would show."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        rows = int(rng.integers(1, dispatch.FEW))
        gaps = 10.0 ** rng.uniform(-1, 2.84, rows) * np.where(rng.random(rows) < 0.8, -1, 1)
        z = torch.from_numpy(np.stack([np.zeros(rows), gaps], 1))
        t = torch.zeros(rows, dtype=torch.int64)
        each = ours.cross_entropy(z, t, reduction="none").tolist()
        assert ways.short(lambda z=z, t=t: ours.cross_entropy(z, t, reduction="sum")).item() == math.fsum(each)
        assert ours.cross_entropy(z, t).item() == math.fsum(each) / rows


def test_what_is_far_below_decides_a_tie(ways):
    z = torch.tensor([[2.0**60, 0.0], [128.0, 0.0], [0.0, 40.0]], dtype=torch.float64)  # losses of 2^60, 128, and 4e-18
    assert ways.short(lambda: ours.cross_entropy(z, torch.tensor([1, 1, 1]), reduction="sum")).item() == 2.0**60 + 256


WRONG = {
    "label as large as the classes": lambda z, t: (z, torch.where(t == 3, 4, t), {}),
    "label too large": lambda z, t: (z, t + 4, {}),
    "label wrong among many": lambda z, t: (logits(1100, 500), labels(1100, 500) + 1, {}),
    "label negative": lambda z, t: (z, t - 1, {}),
    "label not the ignored one": lambda z, t: (z, t - 100, {"ignore_index": -99}),
    "too few labels": lambda z, t: (z, t[1:], {}),
    "labels of another shape": lambda z, t: (z, t[:, None], {}),
    "labels not whole": lambda z, t: (z, t.float(), {}),
    "reduction": lambda z, t: (z, t, {"reduction": "median"}),
    "ignored": lambda z, t: (z, t, {"ignore_index": 0.5}),
    "no tensor": lambda z, t: (z, t.tolist(), {}),
    "complex": lambda z, t: (z + 0j, t, {}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_same_errors(ways, wrong):
    z, t, options = WRONG[wrong](logits(6, 4), torch.tensor([0, 1, 2, 3, 0, 1]))
    said = []
    for way in (lambda f: f(), ways.general):
        with pytest.raises(Exception, match="expected") as caught:
            way(lambda: ours.cross_entropy(z, t, **options))
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


# --- derivatives, and who owns the gradient --------------------------------------------------------------------------------
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_gradient_can_be_differentiated(ways, reduction):
    t = torch.tensor([0, 3, -100, 2, 1])

    def second(z):
        (g,) = torch.autograd.grad(ours.cross_entropy(z, t, reduction=reduction).sum(), z, create_graph=True)
        return torch.autograd.grad((g * g.detach().sin()).sum(), z)[0]

    z = logits(5, 4, dtype=torch.float64).requires_grad_(True)
    assert torch.equal(ways.general(lambda: second(z)), second(z))
    assert gradgradcheck(lambda z: ours.cross_entropy(z, t, reduction=reduction), z, check_batched_grad=True)


def test_a_kept_graph_and_a_gradient_share_no_memory(ways):
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    loss = ways.short(lambda: ours.cross_entropy(z, t))
    first, second = (torch.autograd.grad(loss, z, retain_graph=True)[0] for _ in range(2))
    expected = second.clone()
    first.fill_(7.0)
    assert torch.equal(second, expected)
    (last,) = torch.autograd.grad(loss, z)
    assert torch.equal(last, expected)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, z)


def test_logits_that_have_changed_are_noticed_where_they_are_needed(ways):
    """The gradient is that of the logits as they were, as torch's is; its derivative would need them."""
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    (expected,) = torch.autograd.grad(ours.cross_entropy(z, t), z)
    moved = z * 1
    loss, other = (ways.short(lambda: ours.cross_entropy(moved, t)) for _ in range(2))
    moved.add_(1.0)
    assert torch.equal(torch.autograd.grad(loss, z)[0], expected)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(other, z, create_graph=True)


def test_the_gradient_is_given_away_without_a_copy(ways, monkeypatch):
    z, t, made = logits(6, 4).requires_grad_(True), labels(6, 4), []
    monkeypatch.setattr(torch, "empty_like", lambda *a, like=torch.empty_like, **k: made.append(like(*a, **k)) or made[-1])
    loss = ways.short(lambda: ours.cross_entropy(z, t))
    place = made.pop().data_ptr()
    loss.backward()
    assert z.grad.data_ptr() == place


# --- where it is taken, and where not --------------------------------------------------------------------------------------
def test_without_a_gradient_none_is_made(ways):
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    with torch.no_grad():
        assert not ways.short(lambda: ours.cross_entropy(z, t)).requires_grad
    with torch.inference_mode():
        loss = ways.short(lambda: ours.cross_entropy(logits(6, 4), t))
    assert loss == ours.cross_entropy(z, t)


class Wrapped(torch.Tensor):
    pass


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def misaligned(z):
    raw = np.zeros(z.numel() * 4 + 1, np.uint8)[1:]
    raw[:] = np.frombuffer(z.numpy().tobytes(), np.uint8)
    return torch.frombuffer(raw, dtype=torch.float32).reshape(z.shape)


EXTRAORDINARY = {
    "a subclass": lambda z, t: ours.cross_entropy(z.as_subclass(Wrapped), t),
    "numbers to be negated": lambda z, t: ours.cross_entropy(torch._neg_view(z), t),
    "no alignment": lambda z, t: ours.cross_entropy(misaligned(z), t),
    "half precision": lambda z, t: ours.cross_entropy(z.half(), t),
    "one row": lambda z, t: ours.cross_entropy(z[0], t[0]),
    "more dimensions": lambda z, t: ours.cross_entropy(z[None], t[:4][None]),
    "shorter labels": lambda z, t: ours.cross_entropy(z, t.int()),
    "labels with strides": lambda z, t: ours.cross_entropy(z, t.repeat_interleave(2)[::2]),
    "probabilities": lambda z, t: ours.cross_entropy(z, z.softmax(1)),
    "class weights": lambda z, t: ours.cross_entropy(z, t, torch.ones(4)),
    "smoothing": lambda z, t: ours.cross_entropy(z, t, label_smoothing=0.1),
    "torch.func": lambda z, t: torch.func.grad(lambda z: ours.cross_entropy(z, t))(z),
    "vmap": lambda z, t: torch.func.vmap(lambda z: ours.cross_entropy(z, t))(z[None]),
    "no rows": lambda z, t: ours.cross_entropy(z[:0], t[:0]),
    "many": lambda z, t: ours.cross_entropy(torch.zeros(dispatch.MOST, 1), torch.zeros(dispatch.MOST, dtype=torch.int64)),
}


@pytest.mark.parametrize("kind", EXTRAORDINARY)
def test_what_is_not_ordinary_goes_the_general_way(ways, kind):
    z, t = logits(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    assert ways.is_general(lambda: EXTRAORDINARY[kind](z, t))
    assert not ways.is_general(lambda: ours.cross_entropy(z, t))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_mode_of_torchs_and_the_reference_take_the_general_way(ways):
    z, t = logits(6, 4), labels(6, 4)
    with Watching():
        assert ways.is_general(lambda: ours.cross_entropy(z, t))
    with forward_ad.dual_level():
        assert ways.is_general(lambda: ours.cross_entropy(forward_ad.make_dual(z, z), t))
    with dispatch.only("reference"):
        assert ways.is_general(lambda: ours.cross_entropy(z, t))
    assert ways.is_general(lambda: torch.jit.trace(lambda z: ours.cross_entropy(z, t), z))


def test_what_has_no_memory_is_not_looked_for_there():
    with pytest.raises(RuntimeError, match="ZeroTensor"):
        ours.cross_entropy(torch._efficientzerotensor((6, 4)), labels(6, 4))


def test_another_default_device_does_not_move_the_loss(ways):
    z, t = logits(6, 4), labels(6, 4)
    with torch.device("meta"):
        assert all(way(lambda: ours.cross_entropy(z, t)).device.type == "cpu" for way in (ways.short, ways.general))


# --- upstream gradients ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("factor", [1.0, -2.7, math.nan, math.inf])
def test_any_upstream_gradient(ways, factor):
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    found = []
    for way in (ways.short, ways.general):
        loss = way(lambda: ours.cross_entropy(z, t))
        (loss * factor).backward()
        found.append(z.grad.numpy().copy())
        z.grad = None
    np.testing.assert_array_equal(*found)


def test_upstream_gradients_of_every_kind():
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)

    def gradient(upstream, **options):
        return torch.autograd.grad(ours.cross_entropy(z, t), z, upstream, **options)[0]

    one = gradient(torch.tensor(1.0))
    torch.testing.assert_close(gradient(torch._neg_view(torch.tensor(1.0))), -one, rtol=0, atol=0)
    assert not gradient(torch._efficientzerotensor((), dtype=torch.float32)).any()
    many = gradient(torch.tensor([1.0, -2.0, 0.0]), is_grads_batched=True)
    torch.testing.assert_close(many, torch.stack([one, -2 * one, 0 * one]), rtol=0, atol=0)
    with forward_ad.dual_level():
        z2 = z.detach().requires_grad_(True)
        loss = ours.cross_entropy(z2, t)
        moving = torch.autograd.grad(loss, z2, forward_ad.make_dual(torch.tensor(1.0), torch.tensor(3.0)))[0]
        torch.testing.assert_close(forward_ad.unpack_dual(moving).tangent, 3 * one)


def test_what_is_written_to_a_gradient_reaches_no_other(ways):
    """The gradient of the first loss becomes the leaf's own memory."""
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    ways.short(lambda: ours.cross_entropy(z, t)).backward()
    first = z.grad.clone()
    ways.short(lambda: ours.cross_entropy(z, t)).backward()
    assert torch.equal(z.grad, 2 * first)


def test_a_loss_that_is_kept_holds_no_gradient(ways):
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    made, empty_like = [], torch.empty_like

    def watched(*args, **options):
        tensor = empty_like(*args, **options)
        made.append(weakref.ref(tensor))
        return tensor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty_like", watched)
        loss = ways.short(lambda: ours.cross_entropy(z * 1, t))
    assert [m() is not None for m in made] == [True]
    loss.backward()
    assert made[0]() is None


def test_changed_labels_are_noticed_where_they_count(ways):
    z, t = logits(6, 4).requires_grad_(True), labels(6, 4)
    loss = ways.short(lambda: ours.cross_entropy(z, t))
    t += 0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, z, create_graph=True)
