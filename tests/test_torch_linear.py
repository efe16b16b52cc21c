"""`backproof.torch.linear_cross_entropy` in torch's place: values and gradients, every mode of differentiation, and its memory."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as theirs  # noqa: E402
from torch.autograd import gradcheck, gradgradcheck  # noqa: E402

import backproof  # noqa: E402
import backproof.torch as ours  # noqa: E402
from backproof.torch import linear_derivatives  # noqa: E402
from tests.test_torch_functional import DOUBLE, UNIT, database, labels, numbers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

N, D, C = 6, 3, 5
LABELS = torch.tensor([0, 3, -100, 2, 1, 4])
PROBABILITIES = numbers(N, C, seed=2).softmax(1)
WEIGHT = numbers(C, seed=3).exp()


def inputs(dtype=DOUBLE):
    """x, W, b, each with a gradient to come."""
    shapes = (N, D), (C, D), (C,)
    return [numbers(*shape, seed=seed, dtype=dtype).requires_grad_(True) for seed, shape in enumerate(shapes)]


def by_torch(x, w, target, linear_bias=None, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    """What torch's own function is defined to be, in torch versions that have none too."""
    options = {"weight": weight, "reduction": reduction, "label_smoothing": label_smoothing, "ignore_index": ignore_index}
    return theirs.cross_entropy(theirs.linear(x, w, linear_bias), target, **options)


def value_and_gradients(f, arguments):
    value = f(*arguments)
    return value, *torch.autograd.grad(value, arguments, numbers(*value.shape, seed=9).to(value.dtype))


def assert_same(mine, reference, arguments):
    """To the roundings of the sums over N, C and D, a few for each."""
    for a, b in zip(value_and_gradients(mine, arguments), value_and_gradients(reference, arguments), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=8 * (N + C + D) * UNIT, atol=8 * (N + C + D) * UNIT)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("target", [LABELS, PROBABILITIES], ids=["labels", "probabilities"])
def test_it_is_torchs_linear_and_cross_entropy(target, biased, weighted, smoothing, reduction):
    options = {"weight": WEIGHT if weighted else None, "label_smoothing": smoothing, "reduction": reduction}
    arguments = inputs()[: 3 if biased else 2]

    def call(f):
        return lambda x, w, b=None: f(x, w, target, linear_bias=b, **options)

    assert_same(call(ours.linear_cross_entropy), call(by_torch), arguments)
    if hasattr(theirs, "linear_cross_entropy"):
        assert_same(call(ours.linear_cross_entropy), call(theirs.linear_cross_entropy), arguments)
    one = target[0]
    assert_same(
        lambda x, w, b=None: ours.linear_cross_entropy(x[0], w, one, linear_bias=b, **options),
        lambda x, w, b=None: by_torch(x[0], w, one, linear_bias=b, **options),
        arguments,
    )


@pytest.mark.filterwarnings("ignore")
def test_torchs_own_samples():
    pytest.importorskip("expecttest")
    operations = [op for op in database() if op.name == "nn.functional.linear_cross_entropy"]
    if not operations:
        pytest.skip("this torch has no linear_cross_entropy")
    seen = 0
    for sample in (sample for op in operations for sample in op.sample_inputs("cpu", DOUBLE, False)):
        x, (w, *rest), options = sample.input, sample.args, {**sample.kwargs, "options": None}
        seen += 1
        if theirs.linear_cross_entropy(x, w, *rest, **options).isnan().any():  # a mean over nothing
            assert ours.linear_cross_entropy(x, w, *rest, **sample.kwargs) == 0
            continue
        arguments = [t.detach().clone().requires_grad_(True) for t in (x, w)]
        for a, b in zip(
            value_and_gradients(lambda x, w: ours.linear_cross_entropy(x, w, *rest, **sample.kwargs), arguments),  # noqa: B023
            value_and_gradients(lambda x, w: theirs.linear_cross_entropy(x, w, *rest, **options), arguments),  # noqa: B023
            strict=True,
        ):
            bar = 8 * (x.numel() + len(w)) * max(1.0, float(b.detach().abs().max())) * UNIT
            torch.testing.assert_close(a, b, rtol=bar, atol=bar)
    assert seen >= 300


def test_several_losses_a_row_are_torchs_by_whole_logits():
    x, w, b = numbers(N, D).requires_grad_(True), numbers(C, 2, 3, D).requires_grad_(True), numbers(C, 2, 3).requires_grad_(True)
    target = labels(N, 2, 3, classes=C)

    def reference(x, w, b):
        return theirs.cross_entropy(torch.einsum("nd,cijd->ncij", x, w) + b, target)

    assert_same(lambda x, w, b: ours.linear_cross_entropy(x, w, target, linear_bias=b), reference, (x, w, b))


def test_the_module_has_torchs_state_and_losses():
    torch.manual_seed(0)
    x, options = numbers(N, D).requires_grad_(True), {"bias": True, "dtype": DOUBLE, "weight": WEIGHT, "label_smoothing": 0.1}
    for more in ({}, {"out_features": (2,)}):
        mine = ours.LinearCrossEntropyLoss(D, C, **options, **more)
        target = LABELS if not more else labels(N, 2, classes=C)
        linear = mine.linear
        assert set(mine.state_dict()) == {"weight", "linear.weight", "linear.bias"}
        if not more:
            expected = by_torch(x, linear.weight, target, linear.bias, WEIGHT, label_smoothing=0.1)
            torch.testing.assert_close(mine(x, target), expected, rtol=64 * UNIT, atol=0)
        if hasattr(torch.nn, "LinearCrossEntropyLoss"):
            reference = torch.nn.LinearCrossEntropyLoss(D, C, **options, **more)
            reference.load_state_dict(mine.state_dict())
            torch.testing.assert_close(mine(x, target), reference(x, target), rtol=64 * UNIT, atol=0)


# --- every mode ------------------------------------------------------------------------------------------------------------
def function(reduction, target=LABELS, **options):
    options = {"weight": WEIGHT, "label_smoothing": 0.1, "reduction": reduction, **options}
    return lambda x, w, b=None: ours.linear_cross_entropy(x, w, target, linear_bias=b, **options)


CASES = {f"{r}, {k}": function(r, t) for r in ("mean", "sum", "none") for k, t in (("labels", LABELS), ("soft", PROBABILITIES))}


@pytest.fixture(params=["one chunk", "a row a chunk"])
def chunks(request, monkeypatch):
    if request.param != "one chunk":
        monkeypatch.setattr(linear_derivatives, "MEMORY", 1)


@pytest.mark.parametrize("name", CASES)
def test_gradcheck_in_every_mode(name, chunks):
    f, arguments = CASES[name], inputs()
    assert gradcheck(f, arguments, check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    assert gradgradcheck(f, arguments, check_fwd_over_rev=True, check_batched_grad=True)
    assert gradgradcheck(f, arguments[:2])


def test_only_what_requires_a_gradient_gets_one():
    x, w, b = inputs()
    for part in ([x], [w], [b]):
        for other in (x, w, b):
            other.requires_grad_(any(other is p for p in part))
        for reduction in ("mean", "none"):
            assert gradcheck(lambda *_, r=reduction: CASES[f"{r}, labels"](x, w, b), part)
            assert gradgradcheck(lambda *_, r=reduction: CASES[f"{r}, labels"](x, w, b), part)


def test_third_derivatives():
    x, w, b = (t.detach() for t in inputs())

    def second(x):
        (g,) = torch.autograd.grad(CASES["mean, labels"](x, w, b), x, create_graph=True)
        (gg,) = torch.autograd.grad(g.square().sum(), x, create_graph=True)
        return gg

    assert gradcheck(second, x.requires_grad_(True))


def test_probabilities_and_weights_that_require_gradients_go_by_whole_logits():
    t, weight = PROBABILITIES.clone().requires_grad_(True), WEIGHT.clone().requires_grad_(True)
    assert gradcheck(
        lambda *a: ours.linear_cross_entropy(*a[:3], linear_bias=a[3], weight=a[4]), (*inputs()[:2], t, inputs()[2], weight)
    )


def test_torch_func(chunks):
    from torch.func import grad, hessian, vmap

    x, w, b = (t.detach() for t in inputs())

    def found(f):
        return (
            *grad(lambda x, w: f(x, w, LABELS, linear_bias=b), argnums=(0, 1))(x, w),
            hessian(lambda x: f(x, w, LABELS, linear_bias=b, weight=WEIGHT))(x),
            vmap(grad(lambda x, t: f(x[None], w, t[None], linear_bias=b)))(x, LABELS.clamp(0)),
            vmap(hessian(lambda x, t: f(x[None], w, t[None], linear_bias=b)))(x, LABELS.clamp(0)),
        )

    for one, two in zip(found(ours.linear_cross_entropy), found(by_torch), strict=True):
        torch.testing.assert_close(one, two, rtol=256 * UNIT, atol=256 * UNIT)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiled_without_a_break_in_the_graph(reduction, backend):
    torch._dynamo.reset()
    f = CASES[f"{reduction}, labels"]
    whole = lambda x, w, b: f(2 * x, w.sin(), b).sin()  # noqa: E731
    compiled = torch.compile(whole, backend=backend, fullgraph=True)
    assert_same(compiled, whole, inputs())
    if backend == "eager":  # those that trace ahead of time do not differentiate twice
        assert gradgradcheck(compiled, inputs())


def test_torchs_own_check_of_operators():
    x, w, b = inputs(torch.float32)
    for bias, scale, reduction in ((b, None, "mean"), (None, None, "none"), (b, numbers(N, dtype=torch.float32), "sum")):
        arguments = x, w, bias, scale, LABELS, None, -100, reduction, 0.1, reduction != "none"
        torch.library.opcheck(torch.ops.backproof.linear_cross_entropy.default, arguments)


# --- state, dtypes, limits -------------------------------------------------------------------------------------------------
def test_a_graph_that_is_kept_gives_the_same_gradients_again():
    arguments = inputs()
    loss = CASES["mean, labels"](*arguments)
    loss.backward(retain_graph=True)
    first = [t.grad.clone() for t in arguments]
    for t in arguments:
        t.grad.zero_()  # whoever writes to a gradient must not reach what the graph keeps
    loss.backward(retain_graph=True)
    assert all(torch.equal(t.grad, g) for t, g in zip(arguments, first, strict=True))
    (3 * loss).backward()
    for t, g in zip(arguments, first, strict=True):
        torch.testing.assert_close(t.grad, 4 * g, rtol=4 * UNIT, atol=0)


def test_inputs_stay_as_they_are_and_are_shared_with_the_kernels(monkeypatch):
    whole = numbers(2 * D, 3 * N)
    x, w = whole[::2, ::3].t(), numbers(C, D)
    before, kept, seen = whole.clone(), w.clone(), []
    call = backproof.functional.linear_cross_entropy_and_grad

    def spy(x, w, *rest, **options):
        seen.extend((x.data_ptr(), w.data_ptr()))
        return call(x, w, *rest, **options)

    monkeypatch.setattr(backproof.functional, "linear_cross_entropy_and_grad", spy)
    assert_same(
        lambda x, w: ours.linear_cross_entropy(x, w, LABELS),
        lambda x, w: by_torch(x, w, LABELS),
        [x.requires_grad_(True), w.requires_grad_(True)],
    )
    assert seen == [x.data_ptr(), w.data_ptr()]
    assert torch.equal(whole, before)
    assert torch.equal(w, kept)
    monkeypatch.setattr(backproof.functional, "linear_cross_entropy_and_grad", None)
    with torch.no_grad():
        ours.linear_cross_entropy(x, w, LABELS)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_low_precision_is_computed_in_single(dtype, reduction):
    """Single precision: a rounding for each term of a sum, of at most 5, and the kernels' own; then one to the dtype."""
    low = inputs(dtype)
    exact = [t.detach().double().requires_grad_(True) for t in low]
    single = 16 * torch.finfo(torch.float32).eps
    for number, (a, b) in enumerate(
        zip(
            value_and_gradients(CASES[f"{reduction}, labels"], low),
            value_and_gradients(CASES[f"{reduction}, labels"], exact),
            strict=True,
        )
    ):
        assert a.dtype == (torch.float32 if number == 0 else dtype)
        bar = single if number == 0 else single + torch.finfo(dtype).eps * 0.502 * (1 if reduction == "none" else 2)
        torch.testing.assert_close(a.double(), b, rtol=bar, atol=single)
    gradient = torch.autograd.grad(CASES["mean, labels"](*low), low, create_graph=True)
    assert [t.dtype for t in torch.autograd.grad(sum(g.sum() for g in gradient), low)] == [dtype] * 3


def test_ignored_rows_count_nothing_whatever_they_hold():
    x, w, b = inputs()
    x = x.detach().clone()
    x[2] = torch.nan
    x.requires_grad_(True)
    for reduction in ("mean", "none"):
        loss = CASES[f"{reduction}, labels"](x, w, b).sum()
        first = torch.autograd.grad(loss, (x, w, b), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, w, b))
        for each in (loss, *first, *second):
            assert each.isfinite().all()
        assert first[0][2].tolist() == second[0][2].tolist() == [0.0] * D
    nothing = ours.linear_cross_entropy(x, w, torch.full((N,), -100))
    assert nothing == 0
    assert all(not g.any() for g in torch.autograd.grad(nothing, (x, w)))


def test_an_upstream_gradient_that_overflowed_says_so():
    x, w, b = inputs()
    upstream = torch.ones(N, dtype=DOUBLE)
    upstream[[1, 2]] = torch.inf  # the second of an ignored row
    dx, dw, _ = torch.autograd.grad(CASES["none, labels"](x, w, b), (x, w, b), upstream)
    assert dx.isnan().any(1).tolist() == [False, True, False, False, False, False]
    assert dw.isnan().all()


def test_no_rows():
    w = numbers(C, D).requires_grad_(True)
    loss = ours.linear_cross_entropy(torch.zeros(0, D, dtype=DOUBLE), w, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert not w.grad.any()


# --- memory ----------------------------------------------------------------------------------------------------------------
PEAK = """
import resource, sys, torch, backproof.torch as ours
n, d, c = 2048, 16, 32768
x, w = torch.randn(n, d, requires_grad=True), torch.randn(c, d, requires_grad=True)
t = torch.randint(0, c, (n,))
loss = lambda x, w, t, r: ours.linear_cross_entropy(x, w, t, reduction=r).sum()
step = lambda x, w, t, r: torch.autograd.grad(loss(x, w, t, r), (x, w), create_graph=r == "sum")
if sys.argv[1] == "second":
    run = lambda x, w, t: torch.autograd.grad(sum(g.sum() for g in step(x, w, t, "sum")), (x, w))
else:
    run = lambda x, w, t: step(x, w, t, sys.argv[1])
run(x[:8], w[:300], t[:8] % 300)  # what is loaded and compiled at the first call
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(x, w, t)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is measured in KiB there")
@pytest.mark.parametrize("what", ["mean", "none", "second"])
def test_logits_are_never_whole(what):
    """They would take 256 MiB, their gradient as much; allowed are 56 to work in, the results, and what threads and BLAS take."""
    run = subprocess.run([sys.executable, "-c", PEAK, what], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 128


# --- use -------------------------------------------------------------------------------------------------------------------
def test_the_check_says_that_it_is_right():
    report = backproof.check(CASES["mean, labels"], *inputs())
    assert report.ok, str(report)


def test_training_with_the_module_is_training_with_torch():
    torch.manual_seed(0)
    head = ours.LinearCrossEntropyLoss(D, C, bias=True, dtype=DOUBLE)
    plain_head = copy.deepcopy(head.linear)
    losses = [], []
    for step in (0, 1):
        parameters = (head if step == 0 else plain_head).parameters()
        optimizer = torch.optim.Adam(parameters, lr=0.1)
        for _ in range(20):
            x = numbers(N, D)
            loss = head(x, LABELS) if step == 0 else theirs.cross_entropy(plain_head(x), LABELS)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[step].append(loss.detach())
    torch.testing.assert_close(torch.stack(losses[0]), torch.stack(losses[1]), rtol=1e4 * UNIT, atol=0)
    assert losses[0][-1] < 0.8 * losses[0][0]


def test_mistakes_are_one_clear_error():
    x, w, b = inputs()
    for wrong, name in (
        (lambda: ours.linear_cross_entropy(x, w[:, :2], LABELS), "linear_weight"),
        (lambda: ours.linear_cross_entropy(x, w, LABELS, linear_bias=b[:2]), "linear_bias"),
        (lambda: ours.linear_cross_entropy(x[None], w, LABELS), "input"),
        (lambda: ours.linear_cross_entropy(x, w, LABELS[:2]), "target"),
        (lambda: ours.LinearCrossEntropyLoss(D, C, weight=b[:2]), "weight"),
    ):
        with pytest.raises(backproof.ShapeError, match=f"^{name}"):
            wrong()
    with pytest.raises(IndexError, match="labels from 0 to 4, received 5"):
        ours.linear_cross_entropy(x, w, LABELS.clamp(0) + 1)
    with pytest.raises(backproof.ArgumentError, match="ignore_index"):
        ours.linear_cross_entropy(x, w, PROBABILITIES, ignore_index=1)
    with pytest.raises(backproof.ArgumentError, match="reduction"):
        ours.linear_cross_entropy(x, w, LABELS, reduction="median")
    with pytest.raises(TypeError, match="target"):
        ours.linear_cross_entropy(x, w, LABELS.numpy())
