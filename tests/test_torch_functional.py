"""`backproof.torch` in torch's place: its values and gradients, and what torch loses; every mode of differentiation."""

from __future__ import annotations

import copy
import functools
import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as theirs  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import backproof  # noqa: E402
import backproof.torch as ours  # noqa: E402

# torch warns of a part of itself that gradcheck, torch.func and the compiler use
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

DOUBLE = torch.float64
UNIT = torch.finfo(DOUBLE).eps


def numbers(*shape, seed=0, dtype=DOUBLE):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=shape)).to(dtype)


def labels(*shape, classes, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, classes, shape))


def value_and_gradient(function, z):
    z = z.detach().clone().requires_grad_(True)
    value = function(z)
    upstream = numbers(*value.shape, seed=9).to(value.dtype)
    (gradient,) = torch.autograd.grad(value, z, upstream)
    return value.detach(), gradient


def assert_same(mine, reference, z):
    """To the roundings of torch's own sums: a unit for each term, of the largest magnitude that occurs among them."""
    terms = 8 + 2 * max(z.shape, default=1)
    for a, b in zip(value_and_gradient(mine, z), value_and_gradient(reference, z), strict=True):
        assert a.dtype == b.dtype
        largest = max(1.0, float(b.abs().max()) if b.numel() else 0.0, float(z.abs().max()) if z.numel() else 0.0)
        torch.testing.assert_close(a, b, rtol=terms * UNIT, atol=terms * largest * UNIT)


# --- in torch's place ------------------------------------------------------------------------------------------------------
@functools.cache
def database():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return op_db


SAMPLES = {"softmax": 14, "log_softmax": 14, "logsumexp": 15, "nn.functional.cross_entropy": 21}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.filterwarnings("ignore")
def test_torchs_own_samples(name):
    pytest.importorskip("expecttest")
    mine, seen = getattr(ours, name.rpartition(".")[2]), 0
    for op in (op for op in database() if op.name == name):
        for sample in op.sample_inputs("cpu", DOUBLE, False):
            seen += 1
            if sample.kwargs.get("dtype") is not None:
                assert mine(sample.input, *sample.args, **sample.kwargs).dtype == sample.kwargs["dtype"]
                continue
            call = functools.partial(mine, **sample.kwargs), functools.partial(op.op, **sample.kwargs)
            expected = op.op(sample.input, *sample.args, **sample.kwargs)
            if expected.isnan().any():  # a mean over nothing
                assert call[0](sample.input, *sample.args) == 0
                continue
            assert_same(*(lambda z, f=f, args=sample.args: f(z, *args) for f in call), sample.input)
    assert seen >= SAMPLES[name]


SHAPES = {"(C,)": (5,), "(N, C)": (6, 5), "(N, C, d)": (4, 5, 3), "(N, C, d, e)": (2, 5, 3, 2), "no rows": (0, 5)}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["labels", "ignored", "probabilities"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cross_entropy_is_a_drop_in(shape, kind, weighted, smoothing, reduction):
    z = numbers(*shape)
    rows = shape[:1] * (len(shape) > 1) + shape[2:]
    target = numbers(*shape, seed=2).softmax(min(1, len(shape) - 1)) if kind == "probabilities" else labels(*rows, classes=5)
    options = {
        "weight": numbers(5, seed=3).exp() if weighted else None,
        "label_smoothing": smoothing,
        "reduction": reduction,
    }
    if kind == "ignored":
        options["ignore_index"] = 2
        target = torch.where(target == 2, 3, target) if rows == () else target
    if 0 in shape and reduction == "mean":
        value, gradient = value_and_gradient(lambda z: ours.cross_entropy(z, target, **options), z)
        assert value == 0
        assert gradient.shape == shape
        return
    assert_same(*(lambda z, f=f: f(z, target, **options) for f in (ours.cross_entropy, theirs.cross_entropy)), z)
    module = ours.CrossEntropyLoss(**options), torch.nn.CrossEntropyLoss(**options)
    assert_same(*(lambda z, f=f: f(z, target) for f in module), z)
    assert set(module[0].state_dict()) == set(module[1].state_dict())


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 4), (2, 3, 4), (2, 0)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_is_a_drop_in_and_chooses_torchs_dimension(name, shape):
    z, mine, reference = numbers(*shape), getattr(ours, name), getattr(theirs, name)
    for dim in range(-max(len(shape), 1), max(len(shape), 1)):
        assert_same(lambda z, d=dim: mine(z, d), lambda z, d=dim: reference(z, d), z)
    with pytest.warns(UserWarning, match="Implicit dimension"):
        chosen = mine(z)
    with pytest.warns(UserWarning, match="Implicit dimension"):
        torch.testing.assert_close(chosen, reference(z), rtol=32 * UNIT, atol=32 * UNIT)


@pytest.mark.parametrize("dim", [0, -1, (0, 2), (2, 0), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("keepdim", [False, True])
def test_logsumexp_is_a_drop_in(dim, keepdim):
    assert_same(lambda z: ours.logsumexp(z, dim, keepdim), lambda z: torch.logsumexp(z, dim, keepdim), numbers(3, 4, 2))


@pytest.mark.parametrize(("average", "reduce"), [(True, None), (False, None), (None, True), (None, False), (False, True)])
def test_torchs_older_words_for_the_reduction(average, reduce):
    z, t = numbers(3, 4), labels(3, classes=4)
    with pytest.warns(UserWarning, match="size_average"):
        mine = ours.cross_entropy(z, t, size_average=average, reduce=reduce)
    with pytest.warns(UserWarning, match="size_average"):
        torch.testing.assert_close(mine, theirs.cross_entropy(z, t, size_average=average, reduce=reduce))


# --- what torch loses ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE], ids=str)
@pytest.mark.parametrize("gap", [40.0, 80.0])
def test_a_confident_prediction_keeps_its_gradient(gap, dtype):
    z = torch.tensor([[gap, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    t = torch.tensor([0])
    bar, wrong = 2 * torch.finfo(dtype).eps, -2 * math.exp(-gap)
    for loss in (ours.cross_entropy(z, t), -ours.log_softmax(z, 1)[0, 0]):
        (gradient,) = torch.autograd.grad(loss, z)
        assert float(gradient[0, 0]) == pytest.approx(wrong, rel=bar)
    (gradient,) = torch.autograd.grad(theirs.cross_entropy(z, t), z)
    assert gradient[0, 0] == 0


def test_logsumexps_gradient_is_the_softmax_far_from_zero():
    z = torch.tensor([1e8, 1e8], requires_grad=True)
    ours.logsumexp(z, 0).backward()
    assert z.grad.tolist() == [0.5, 0.5]


def test_a_mean_over_nothing_is_zero_and_an_ignored_row_counts_nothing():
    z = torch.tensor([[1.0, 2.0], [torch.nan, 0.0]], requires_grad=True)
    loss = ours.cross_entropy(z, torch.tensor([-100, -100]))
    (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), z)
    assert loss == 0
    assert gradient.tolist() == second.tolist() == [[0, 0], [0, 0]]


# --- every mode ------------------------------------------------------------------------------------------------------------
WEIGHT = numbers(4, seed=3).exp()
LABELS = torch.tensor([0, 3, -100, 2, 1])
PROBABILITIES = numbers(5, 4, seed=2).softmax(1)
FUNCTIONS = {
    "softmax": lambda z: ours.softmax(z, 1),
    "log_softmax": lambda z: ours.log_softmax(z, 0),
    "logsumexp": lambda z: ours.logsumexp(z, 1),
    "logsumexp of all": lambda z: ours.logsumexp(z, (0, 1), keepdim=True),
    **{
        f"cross_entropy {reduction}": lambda z, r=reduction: ours.cross_entropy(z, LABELS, WEIGHT, reduction=r, label_smoothing=0.1)
        for reduction in ("mean", "sum", "none")
    },
    "cross_entropy of probabilities": lambda z: ours.cross_entropy(z, PROBABILITIES, WEIGHT),
    "cross_entropy (N, C, d)": lambda z: ours.cross_entropy(z.reshape(1, 4, 5), LABELS[None], reduction="none"),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradcheck_in_every_mode(name):
    z = numbers(5, 4).requires_grad_(True)
    assert gradcheck(FUNCTIONS[name], z, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(FUNCTIONS[name], z, check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_probabilities_and_their_weights_have_gradients_too(reduction):
    z, t, w = (
        numbers(3, 4).requires_grad_(True),
        numbers(3, 4, seed=2).softmax(1).requires_grad_(True),
        WEIGHT.clone().requires_grad_(True),
    )
    options = {"reduction": reduction, "label_smoothing": 0.1}
    assert gradcheck(lambda *a: ours.cross_entropy(*a, **options), (z, t, w), check_forward_ad=True)
    assert gradgradcheck(lambda *a: ours.cross_entropy(*a, **options), (z, t, w), check_fwd_over_rev=True)
    fixed = ours.cross_entropy(z, t.detach(), w.detach(), **options)
    torch.testing.assert_close(ours.cross_entropy(z, t, w, **options), fixed, rtol=16 * UNIT, atol=16 * UNIT)
    with pytest.raises(backproof.ArgumentError, match="weight"):
        ours.cross_entropy(z, torch.tensor([0, 1, 2]), w)


def test_third_derivatives():
    z = numbers(2, 3).requires_grad_(True)
    for name, mine in {
        "softmax": lambda z: ours.softmax(z, 1),
        "cross": lambda z: ours.cross_entropy(z, torch.tensor([0, 2])),
    }.items():

        def second(z, f=mine):
            (g,) = torch.autograd.grad(f(z).square().sum(), z, create_graph=True)
            (gg,) = torch.autograd.grad(g.square().sum(), z, create_graph=True)
            return gg

        assert gradcheck(second, z), name


def test_torch_func():
    from torch.func import grad, hessian, jacfwd, jacrev, vmap

    z, t = numbers(5, 4), LABELS.clamp(0)

    def found(m):
        return (
            hessian(lambda z: m.cross_entropy(z, LABELS, WEIGHT))(z),
            vmap(grad(lambda z, t: m.cross_entropy(z[None], t[None])))(z, t),
            vmap(lambda z: m.softmax(z, 0), in_dims=1)(z),
            jacfwd(lambda z: m.log_softmax(z, 1))(z),
            jacfwd(jacrev(lambda z: m.softmax(z, 1)))(z),
        )

    for a, b in zip(found(ours), found(theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=64 * UNIT, atol=64 * UNIT)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_without_a_break_in_the_graph(name, backend):
    torch._dynamo.reset()
    function = FUNCTIONS[name]
    compiled = torch.compile(lambda z: function(2 * z).sin(), backend=backend, fullgraph=True)
    both = [value_and_gradient(f, numbers(5, 4)) for f in (compiled, lambda z: function(2 * z).sin())]
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=4 * UNIT, atol=4 * UNIT)
    if backend == "eager":  # those that trace ahead of time do not differentiate twice
        assert gradgradcheck(compiled, numbers(5, 4).requires_grad_(True))


@pytest.mark.parametrize("operator", ["softmax", "log_softmax", "logsumexp"])
def test_torchs_own_check_of_operators(operator):
    z = numbers(3, 4, dtype=torch.float32).requires_grad_(True)
    torch.library.opcheck(getattr(torch.ops.backproof, operator).default, (z, 1))
    torch.library.opcheck(torch.ops.backproof.cross_entropy.default, (z, torch.tensor([0, 1, -100]), None, -100, "none", 0.1, True))


# --- state -----------------------------------------------------------------------------------------------------------------
def test_a_graph_that_is_kept_gives_the_same_gradient_again():
    z, t = numbers(3, 4).requires_grad_(True), labels(3, classes=4)
    loss = ours.cross_entropy(z, t)
    loss.backward(retain_graph=True)
    first = z.grad.clone()
    z.grad.zero_()  # whoever writes to the gradient must not reach what the graph keeps
    loss.backward(retain_graph=True)
    assert torch.equal(z.grad, first)
    (3 * loss).backward()
    torch.testing.assert_close(z.grad, 4 * first, rtol=4 * UNIT, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_inputs_stay_as_they_are_in_any_layout_and_without_a_gradient_none_is_made(monkeypatch):
    whole = numbers(8, 12)
    z, t = whole[::2, ::3].t(), labels(4, classes=4)
    before = whole.clone()
    assert_same(lambda z: ours.cross_entropy(z, t), lambda z: theirs.cross_entropy(z, t), z)
    assert_same(lambda z: ours.softmax(z, 0), lambda z: theirs.softmax(z, 0), z)
    monkeypatch.setattr(backproof.functional, "cross_entropy_and_grad", None)
    assert not ours.cross_entropy(z, t).requires_grad
    with torch.no_grad():
        ours.cross_entropy(z.clone().requires_grad_(True), t)
    assert torch.equal(whole, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, DOUBLE], ids=str)
def test_dtypes_are_kept_but_that_a_loss_is_never_half(dtype):
    z, t = numbers(3, 40, dtype=dtype).requires_grad_(True), labels(3, classes=40)
    exact = z.detach().double().requires_grad_(True)
    half = torch.finfo(dtype).bits == 16
    bar = torch.finfo(dtype).eps * (0.502 if half else 4)
    for name in ("softmax", "log_softmax", "logsumexp"):
        value = getattr(ours, name)(z, 1)
        assert value.dtype == dtype
        torch.testing.assert_close(value.double(), getattr(ours, name)(exact, 1), rtol=bar, atol=0)
        (gradient,) = torch.autograd.grad(value.sum(), z)
        assert gradient.dtype == dtype
    loss = ours.cross_entropy(z, t)
    assert loss.dtype == (torch.float32 if half else dtype)
    (gradient,) = torch.autograd.grad(loss, z)
    (expected,) = torch.autograd.grad(ours.cross_entropy(exact, t), exact)
    assert gradient.dtype == dtype
    torch.testing.assert_close(gradient.double(), expected, rtol=bar, atol=float(torch.finfo(dtype).smallest_normal) * bar)
    assert torch.equal(ours.softmax(torch.tensor([1, 1]), 0), torch.tensor([0.5, 0.5]))


# --- use -------------------------------------------------------------------------------------------------------------------
def test_a_training_script_with_another_import():
    from sklearn.datasets import load_digits

    x, y = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    x = (x / 16).to(torch.float32)
    torch.manual_seed(0)
    start = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    losses = {}
    for module in (ours, theirs):
        net = copy.deepcopy(start)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        losses[module] = []
        for step in range(60):
            part = slice(128 * (step % 14), 128 * (step % 14 + 1))
            loss = module.cross_entropy(net(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[module].append(loss.item())
    # roundings of 2^-24 that 60 smooth steps carry on and add up
    np.testing.assert_allclose(losses[ours], losses[theirs], rtol=60 * 2**-22)
    assert losses[ours][-1] < 0.5 * losses[ours][0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_check_says_that_they_are_right(name):
    report = backproof.check(FUNCTIONS[name], numbers(5, 4).requires_grad_(True))
    assert report.ok, str(report)


def test_mistakes_are_one_clear_error():
    z, t = numbers(2, 3), torch.tensor([0, 3])
    with pytest.raises(IndexError, match="labels from 0 to 2, received 3"):
        ours.cross_entropy(z, t)
    with pytest.raises(backproof.ShapeError, match="target"):
        ours.cross_entropy(z, t[:1])
    with pytest.raises(backproof.ArgumentError, match="reduction"):
        ours.cross_entropy(z, torch.tensor([0, 1]), reduction="median")
    with pytest.raises(backproof.ArgumentError, match="dim"):
        ours.softmax(z, 2)
    with pytest.raises(backproof.ArgumentError, match="different"):
        ours.logsumexp(z, (0, -2))
    with pytest.raises(TypeError, match="input"):
        ours.softmax(z.numpy(), 1)
    with pytest.raises(TypeError, match="real"):
        ours.softmax(z + 0j, 1)


@pytest.mark.parametrize("rows", [5, 400])
def test_an_upstream_gradient_of_one_may_have_a_tangent(rows):
    """Forward over reverse: the derivative of the gradient in the direction of the upstream gradient's tangent."""
    z = torch.randn(rows, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.arange(rows) % 300
    tangents = []
    for function in (torch.nn.functional.cross_entropy, ours.cross_entropy):
        with torch.autograd.forward_ad.dual_level():
            one = torch.autograd.forward_ad.make_dual(torch.ones((), dtype=z.dtype), torch.full((), 3.0, dtype=z.dtype))
            (gradient,) = torch.autograd.grad(function(z, labels), z, one)
            tangents.append(torch.autograd.forward_ad.unpack_dual(gradient).tangent)
    torch.testing.assert_close(tangents[1], tangents[0])
