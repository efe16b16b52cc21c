"""`backproof.torch` for tensors on a GPU, beside torch in double precision and the reference; nothing waits for the GPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as TF

from backproof.kernels import dispatch, reference
from backproof.kernels.triton import launches
from backproof.torch import cross_entropy, log_softmax, logsumexp, softmax

HALF = (torch.float16, torch.bfloat16)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)


def numbers(*shape, device, dtype=torch.float32, seed=0):
    return (3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).to(dtype).to(device)


def labels(shape, classes, device):
    made = torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(1)).to(device)
    made.reshape(-1)[:1] = -100
    return made


def close(mine, true, dtype, units=1.0):
    """To `units` in the last place of the largest numbers: roundings of what torch makes of them; the interpreter cuts bfloat16."""
    bound = units * torch.finfo(dtype).eps * (2 if dtype is torch.bfloat16 else 1)
    assert mine.dtype is dtype
    difference = (mine.double() - true).abs().max().item()
    assert difference <= bound * max(true.abs().max().item(), 2.0**-20), difference


@DTYPES
@pytest.mark.parametrize(("shape", "dim"), [((7, 5), 1), ((4, 300), 1), ((300, 6), 0), ((2, 21, 9, 4), 1), ((9,), 0)], ids=str)
def test_softmax_and_its_kin(dtype, shape, dim, device, swept):
    z = numbers(*shape, device=device, dtype=dtype).requires_grad_()
    u = numbers(*shape, device=device, dtype=dtype, seed=2)
    for mine, theirs in ((softmax, torch.softmax), (log_softmax, torch.log_softmax)):
        y = mine(z, dim)
        wide = z.detach().double().requires_grad_()
        true = theirs(wide, dim)
        close(y.detach(), true.detach(), dtype)
        (g,) = torch.autograd.grad(y, z, u)
        (true_g,) = torch.autograd.grad(true, wide, u.double())
        close(g, true_g, dtype, 6)  # from a rounded h, or log h, twice
    y = logsumexp(z, dim)
    close(y.detach(), torch.logsumexp(z.detach().double(), dim), dtype)
    (g,) = torch.autograd.grad(y, z, torch.ones_like(y))
    close(g, torch.softmax(z.detach().double(), dim), dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(6, 5), (70, 10), (2, 300), (3, 4, 7), (2, 300, 5), (5,)], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", ["plain", "weighted", "smoothed", "both"])
def test_cross_entropy(dtype, shape, reduction, kind, device, swept):
    classes = shape[min(1, len(shape) - 1)]
    z = numbers(*shape, device=device, dtype=dtype).requires_grad_()
    t = labels(shape[:1] + shape[2:] if len(shape) > 1 else (1,), classes, device)
    t = t if len(shape) > 1 else t[0].clamp(min=3)
    w = torch.rand(classes, generator=torch.Generator().manual_seed(3)).to(device) if kind in ("weighted", "both") else None
    smoothing = 0.1 if kind in ("smoothed", "both") else 0.0
    u = torch.rand(t.shape).to(device) if reduction == "none" else torch.tensor(1.7, device=device)
    wide = z.detach().double().requires_grad_()
    true = TF.cross_entropy(wide, t, None if w is None else w.double(), reduction=reduction, label_smoothing=smoothing)
    (true_g,) = torch.autograd.grad(true, wide, u.double())
    loss = cross_entropy(z, t, w, reduction=reduction, label_smoothing=smoothing)
    close(loss.detach(), true.detach(), torch.float32)
    (g,) = torch.autograd.grad(loss, z, u)
    close(g, true_g, dtype, 2)  # rounded, and times u rounded again
    with torch.no_grad():
        assert torch.equal(cross_entropy(z, t, w, reduction=reduction, label_smoothing=smoothing), loss)


def test_a_gradient_is_made_once_and_handed_over(device):
    """Where the graph is freed the gradient's own memory is the leaf's, times what arrives; where it is kept, it is a copy."""
    z, t = numbers(40, 30, device=device).requires_grad_(), labels((40,), 30, device)
    once = torch.autograd.grad(cross_entropy(z, t), z)[0]
    for factor in (1.0, 0.3, 1.0):
        loss = factor * cross_entropy(z, t)
        kept = torch.autograd.grad(loss, z, retain_graph=True)[0]
        given = torch.autograd.grad(loss, z)[0]
        assert torch.equal(kept, given)
        assert torch.equal(given, once * torch.tensor(factor, device=device))
    z.grad = None
    cross_entropy(z, t).backward()
    cross_entropy(z, t).backward()
    assert torch.equal(z.grad, 2 * once)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_second_derivatives_and_forward_mode(device):
    z, t = numbers(4, 6, device=device).requires_grad_(), labels((4,), 6, device)
    v = numbers(4, 6, device=device, seed=5)
    for mine, theirs in (
        (lambda x: cross_entropy(x, t), lambda x: TF.cross_entropy(x, t)),
        (lambda x: (softmax(x, 1) ** 2).sum(), lambda x: (torch.softmax(x, 1) ** 2).sum()),
    ):
        (g,) = torch.autograd.grad(mine(z), z, create_graph=True)
        (h,) = torch.autograd.grad((g * v).sum(), z)
        wide = z.detach().double().requires_grad_()
        (true,) = torch.autograd.grad(theirs(wide), wide, create_graph=True)
        (true_h,) = torch.autograd.grad((true * v.double()).sum(), wide)
        close(h, true_h, torch.float32, 4)
        tangent = torch.func.jvp(mine, (z.detach(),), (v,))[1]
        terms = true.detach() * v.double()
        assert abs(tangent.double() - terms.sum()) <= 2 * torch.finfo(torch.float32).eps * terms.abs().sum()  # of rounded gradients


@pytest.mark.parametrize(
    ("dtype", "classes", "dim"),
    [
        (torch.float32, 4096, 1),
        (torch.float32, 8192, 1),
        (torch.bfloat16, 32768, 1),
        (torch.float32, 70_000, 1),
        (torch.float32, 600, 0),
    ],
    ids=str,
)
def test_equal_logits(dtype, classes, dim, device):
    """The largest sum of units that a row can have."""
    z = torch.zeros((2, classes) if dim else (classes, 2), device=device, dtype=dtype)
    expected = torch.full_like(z, 1 / classes, dtype=torch.float64).to(dtype)
    assert torch.equal(softmax(z, dim), expected)
    close(logsumexp(z, dim), torch.full((2,), float(classes), dtype=torch.float64).log().to(device), dtype)
    if dim:
        close(
            cross_entropy(z, torch.tensor([0, 1], device=device)),
            torch.tensor(float(classes), device=device).double().log(),
            torch.float32,
        )


@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("kind", launches.KINDS)
def test_no_sum_of_units_is_too_large(kind, itemsize):
    for classes in [*range(1, 300), *(2**k + d for k in range(9, 30) for d in (-1, 0, 1))]:
        for inner in (1, 2):
            options = launches.launch(kind, launches.Rows(2 * inner, inner, classes), itemsize).options
            added = options["CLASSES"] if options["WHOLE"] else -(-classes // options["CLASSES"])
            assert added << options["BITS"] < 2**63
            assert options["BITS"] == launches.launch(kind, launches.Rows(2, 1, classes), itemsize).options["BITS"]


def test_a_batch_of_upstream_gradients(device):
    z, t = numbers(4, 5, device=device).requires_grad_(), labels((4,), 5, device)
    for loss in (cross_entropy(z, t), cross_entropy(z, t, label_smoothing=0.1)):
        us = torch.tensor([1.0, 2.0, -3.0], device=device)
        (once,) = torch.autograd.grad(loss, z, retain_graph=True)
        (batched,) = torch.autograd.grad(loss, z, us, is_grads_batched=True)
        close(batched, us.double().reshape(3, 1, 1) * once.double(), torch.float32)


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.int8, torch.uint8], ids=str)
def test_labels_of_every_kind_of_whole_number(kind, device):
    z, t = numbers(5, 200, device=device), torch.tensor([3, 100, 0, 1, 2], device=device)
    t = torch.where(t == 100, 156, t) if kind is torch.uint8 else t  # -100 in eight bits
    for weight in (None, torch.rand(200, device=device)):
        assert torch.equal(cross_entropy(z, t.to(kind), weight), cross_entropy(z, t, weight))
    with pytest.raises(TypeError):
        cross_entropy(z, t > 0)


def test_smoothing_to_the_last_bit(device):
    """Equal logits and even targets have no gradient; h next to e / C leaves what is left of both in double precision."""
    z = torch.zeros(3, 12, device=device, requires_grad=True)
    (g,) = torch.autograd.grad(cross_entropy(z, torch.tensor([0, 5, 11], device=device), label_smoothing=1.0), z)
    assert g.abs().max() < 2.0**-44  # of a reciprocal
    z = numbers(20, 300, device=device).requires_grad_()
    t = labels((20,), 300, device)
    (g,) = torch.autograd.grad(cross_entropy(z, t, label_smoothing=0.1, reduction="sum"), z)
    wide = z.detach().double().requires_grad_()
    (true,) = torch.autograd.grad(TF.cross_entropy(wide, t, label_smoothing=0.1, reduction="sum"), wide)
    scale = torch.softmax(wide.detach(), 1) + 0.1 / 300
    assert ((g.double() - true).abs() <= 0.5 * torch.finfo(torch.float32).eps * true.abs() + 2.0**-36 * scale).all()


def test_a_second_derivative_at_a_label_that_is_no_class(device):
    z, w = numbers(3, 4, device=device).requires_grad_(), torch.rand(4, device=device)
    for weight in (None, w):
        loss = cross_entropy(z, torch.tensor([1, 4, 2], device=device), weight, reduction="none")
        (g,) = torch.autograd.grad(loss.sum(), z, create_graph=True)
        (h,) = torch.autograd.grad(g[0].sum() + (g[1] * z[1]).sum(), z)
        assert h[1].isnan().all()
        assert not h[0].isnan().any()


def test_a_label_that_is_no_class_makes_nan_of_its_row(device):
    z = numbers(3, 4, device=device).requires_grad_()
    loss = cross_entropy(z, torch.tensor([1, 4, -1], device=device), reduction="none")
    assert loss.isnan().tolist() == [False, True, True]
    (g,) = torch.autograd.grad(loss.sum(), z)
    assert g.isnan().all(1).tolist() == [False, True, True]
    assert not g[0].isnan().any()


def test_nothing_counts(device):
    z, t = numbers(3, 4, device=device).requires_grad_(), torch.full((3,), -100, device=device)
    loss = cross_entropy(z, t)
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, z)[0].any()
    with torch.no_grad():
        z[1] = torch.nan
    assert cross_entropy(z, t).item() == 0


@pytest.mark.parametrize("classes", [3, 40, 130])
def test_bits_are_those_of_any_axis_and_way(classes, device, monkeypatch):
    z, u = numbers(50, classes, device=device), numbers(50, classes, device=device, seed=4)
    t = labels((50,), classes, device)
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(6)).to(device)

    def made(z, u, axis, t):
        h, log_h = dispatch.softmax(z, axis), dispatch.log_softmax(z, axis)
        slopes = torch.empty_like(z)
        values = dispatch.on_a_gpu("labelled", z)(z, axis, t, None, None, None, -100, 0.0, slopes).sum(0)
        vjps = dispatch.softmax_vjp(h, u, axis), dispatch.log_softmax_vjp(log_h, u, axis)
        return [h, log_h, *vjps, slopes], [values, dispatch.logsumexp(z, axis)]

    full, rows = made(z, u, 1, t)
    with_columns, of_columns = made(z.T.contiguous(), u.T.contiguous(), 0, t)
    assert all(torch.equal(a, b.T) for a, b in zip(full, with_columns, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows, of_columns, strict=True))
    shuffled, of_shuffled = made(z[:, order], u[:, order], 1, torch.where(t < 0, t, order.argsort()[t.clamp(min=0)]))
    assert all(torch.equal(a[:, order], b) for a, b in zip(full, shuffled, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows, of_shuffled, strict=True))
    alone, of_alone = made(z[7:9], u[7:9], 1, t[7:9])
    assert all(torch.equal(a[7:9], b) for a, b in zip(full, alone, strict=True))
    assert all(torch.equal(a[7:9], b) for a, b in zip(rows, of_alone, strict=True))
    monkeypatch.setattr(launches, "FEW", 2)  # classes that are not next to each other, swept
    launches.launch.cache_clear()
    swept, of_swept = made(z.T.contiguous(), u.T.contiguous(), 0, t)
    launches.launch.cache_clear()
    assert all(torch.equal(a, b.T) for a, b in zip(full, swept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(rows, of_swept, strict=True))


def test_rows_too_far_apart_for_a_program(device, monkeypatch):
    from backproof.kernels import triton

    z, t = numbers(2, 6, 5, device=device), labels((2, 5), 6, device)
    expected = dispatch.softmax(z, 1), dispatch.logsumexp(z, 1)
    loss, slopes = cross_entropy(z, t), torch.autograd.grad(cross_entropy(z.requires_grad_(), t), z)[0]
    monkeypatch.setattr(triton, "FARTHEST", 8)
    z = z.detach()
    assert torch.equal(dispatch.softmax(z, 1), expected[0])
    assert torch.equal(dispatch.logsumexp(z, 1), expected[1])
    assert torch.equal(cross_entropy(z, t), loss)
    assert torch.equal(torch.autograd.grad(cross_entropy(z.requires_grad_(), t), z)[0], slopes)


@pytest.mark.parametrize("classes", [7, 300])
def test_products_of_what_is_not_ordinary(classes, device, swept):
    """An h that sums to more than 1, an offset, a missing u: what the reference makes of them. An infinite u: nothing finite."""
    h, u = numbers(7, classes, device=device).abs(), numbers(7, classes, device=device, seed=3)
    h[[1, 6]] = torch.softmax(h[[1, 6]], 1)
    h[6, 2] = -30
    u[1] += 1e6
    u[2, 1], u[3, 2], h[4, 0] = torch.inf, torch.nan, torch.nan
    h[5] = 0
    true = reference.softmax_vjp(h.double(), u.double(), 1)
    made = dispatch.softmax_vjp(h, u, 1)
    assert not made[2].isfinite().any()
    made[2], true[2] = 0, 0
    assert torch.equal(made.isnan(), true.isnan())
    scale = (h.double().abs() * (u.double() - u.double().mean(1, keepdim=True)).abs().amax(1, keepdim=True)).nan_to_num()
    assert ((made.double() - true).nan_to_num().abs() <= 4 * torch.finfo(torch.float32).eps * scale).all()


def test_in_place_and_into_what_overlaps(device):
    z = numbers(20, 30, device=device)
    h = dispatch.softmax(z, 1)
    out = z.clone()
    assert dispatch.softmax(out, 1, out) is out
    assert torch.equal(out, h)
    both = torch.cat([z, z])
    assert torch.equal(dispatch.softmax(both[:20], 1, both[10:30]), h)
    assert torch.equal(both[10:30], h)
    turned = torch.empty(30, 20, device=device).T
    assert torch.equal(dispatch.softmax(z, 1, turned), h)


def test_the_reference_has_what_programs_have_not(device):
    z = numbers(5, 6, device=device)
    assert dispatch._fast("softmax", (z.double(),)) is None
    assert torch.allclose(reference.softmax(z.double(), 1), torch.softmax(z.double(), 1))
    probabilities = torch.softmax(numbers(5, 6, device=device, seed=9), 1)
    close(cross_entropy(z, probabilities), TF.cross_entropy(z.double(), probabilities.double()), torch.float32)
