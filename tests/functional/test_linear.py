"""Linear layer and cross-entropy together, against the composition on whole logits in double precision, torch, and differences."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import torch

from backproof import functional as F
from backproof.kernels import blas, dispatch, linear_blas, linear_entropy

N, D, C = 23, 6, 300  # 300 classes: two segments
SEVERAL_CHUNKS = 60_000  # bytes


def problem(dtype=np.float64, n=N, d=D, c=C, seed=0):
    r = np.random.default_rng(seed)
    x, w, b = r.normal(size=(n, d)), r.normal(size=(c, d)), r.normal(size=c)
    return x.astype(dtype), w.astype(dtype), b.astype(dtype), r.integers(0, c, n)


def composed(x, w, t, bias=None, **options):
    """What the functions must agree with: logits whole, all in double precision."""
    x, w = np.float64(x), np.float64(w)
    flat = x.reshape(-1, x.shape[-1])
    z = x @ w.T + (0.0 if bias is None else np.float64(bias))
    loss, g = F.cross_entropy_and_grad(z, t, **options)
    g = g.reshape(-1, w.shape[0])
    return loss, (g @ w).reshape(x.shape), g.T @ flat, None if bias is None else g.sum(axis=0)


def bound(x, w, t, dtype, **options):
    """How far rounding in `dtype` may take the result: every sum of n products errs by at most n eps sum |terms| (Higham 2002,
    section 3.1); the error dz of a logit moves the loss by at most 2 |dz|, and the gradient by |H dz| <= |dz|/2 times the scale.
    """
    eps = float(np.finfo(dtype).eps)
    x, w = np.abs(np.float64(x)).reshape(-1, x.shape[-1]), np.abs(np.float64(w))
    dz = (x.shape[1] + 3) * eps * float((x @ w.T).max(initial=1.0) + 5)
    factor = 1 + 2 * options.get("z_loss", 0.0) * 60
    slope = factor * dz / options.get("temperature", 1.0) ** 2 + eps
    rows = max(x.shape[0], 1)
    biggest = max(x.max(initial=1.0), w.max(initial=1.0))
    return 4 * (slope * biggest + (w.shape[0] + rows) * eps * biggest / rows) * rows


def agree(got, want, limit):
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
        else:
            assert np.shape(a) == np.shape(b)
            np.testing.assert_allclose(np.float64(a), b, rtol=0, atol=limit)


OPTIONS = [
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"label_smoothing": 0.1, "z_loss": 1e-2},
    {"softcap": 3.0, "temperature": 0.7},
    {"weight": np.linspace(0.0, 2.0, C), "sample_weight": np.linspace(0.0, 1.0, N)},
    {"weight": np.linspace(0.5, 2.0, C), "ignore_index": -1, "label_smoothing": 0.2, "reduction": "none"},
    {"ignore_index": -1, "softcap": 5.0, "z_loss": 1e-3, "sample_weight": np.linspace(-1.0, 1.0, N), "reduction": "sum"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("max_bytes", [None, SEVERAL_CHUNKS])
def test_it_is_the_composition(options, dtype, max_bytes):
    x, w, b, t = problem(dtype)
    if "ignore_index" in options:
        t[3:6] = -1
    got = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=max_bytes, **options)
    assert [a.dtype for a in got] == [dtype] * 4
    limit = bound(x, w, t, dtype, **options)
    assert limit < (1e-9 if dtype == np.float64 else 0.5)
    agree(got, composed(x, w, t, b, **options), limit)
    value = F.linear_cross_entropy(x, w, t, bias=b, max_bytes=max_bytes, **options)
    np.testing.assert_allclose(value, got[0], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_single_precision_is_as_good_as_single_precision_can_be(dtype):
    x, w, b, t = problem(dtype)
    got, want = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=SEVERAL_CHUNKS), composed(x, w, t, b)
    for a, true in zip(got, want, strict=True):
        assert np.abs(a - true).max() <= 20 * np.finfo(dtype).eps * np.abs(true).max()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 1e-2}, {"reduction": "none"}])
def test_probabilities_as_targets(options):
    x, w, b, _ = problem()
    t = np.random.default_rng(1).dirichlet(np.ones(C), N)
    for given in (t, t.astype(np.float32)):
        got = F.linear_cross_entropy_and_grad(x, w, given, bias=b, max_bytes=200_000, **options)
        agree(got, composed(x, w, given, b, **options), bound(x, w, t, np.float64, **options))


@pytest.mark.parametrize("shape", [(0, 3, 4), (1, 1, 1), (5, 1, 3), (5, 3, 1), (2, 4, 129), (7, 3, 1025), (300, 2, 2)])
def test_sizes(shape):
    n, d, c = shape
    x, w, b, t = problem(n=n, d=d, c=c)
    agree(F.linear_cross_entropy_and_grad(x, w, t, bias=b), composed(x, w, t, b), 1e-12 * max(n, 1))
    agree(F.linear_cross_entropy_and_grad(x, w, t)[:3], composed(x, w, t)[:3], 1e-12 * max(n, 1))
    assert F.linear_cross_entropy_and_grad(x, w, t)[3] is None


def test_more_axes_and_one_row():
    x, w, b, t = problem(n=24)
    got = F.linear_cross_entropy_and_grad(x.reshape(4, 6, D), w, t.reshape(4, 6), bias=b, reduction="none")
    assert got[0].shape == (4, 6)
    assert got[1].shape == (4, 6, D)
    agree(got, composed(x.reshape(4, 6, D), w, t.reshape(4, 6), b, reduction="none"), 1e-11)
    agree(F.linear_cross_entropy_and_grad(x[0], w, t[0]), composed(x[0], w, t[0]), 1e-12)


def test_torch_autograd():
    x, w, b, t = problem()
    leaves = [torch.from_numpy(a.copy()).requires_grad_(True) for a in (x, w, b)]
    z = torch.nn.functional.linear(leaves[0], leaves[1], leaves[2])
    loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(t), label_smoothing=0.1)
    loss.backward()
    got = F.linear_cross_entropy_and_grad(x, w, t, bias=b, label_smoothing=0.1, max_bytes=SEVERAL_CHUNKS)
    agree(got, (loss.item(), *(leaf.grad.numpy() for leaf in leaves)), 1e-13)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_the_gradient_is_that_of_the_loss(reduction):
    """Central differences along a random direction: error h^2/6 |f'''| + eps |f| / h, least about eps^(2/3)."""
    x, w, b, t = problem()
    r = np.random.default_rng(2)
    dx, dw, db = (r.normal(size=a.shape) for a in (x, w, b))
    options = {"z_loss": 0.05, "softcap": 4.0, "reduction": reduction, "sample_weight": r.normal(size=N), "max_bytes": 60_000}

    def value(h):
        return float(np.sum(F.linear_cross_entropy(x + h * dx, w + h * dw, t, bias=b + h * db, **options)))

    _, gx, gw, gb = F.linear_cross_entropy_and_grad(x, w, t, bias=b, **options)
    slope = float(np.sum(gx * dx) + np.sum(gw * dw) + np.sum(gb * db))
    h = 1e-5
    assert (value(h) - value(-h)) / (2 * h) == pytest.approx(slope, rel=1e-7)


def test_chunks_change_rounding_only():
    x, w, b, t = problem(np.float32, n=64)
    least = int(_refusal(x, w, t, b).split("at least ")[1].split(" ")[0])
    whole = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    for room in (least, least + 5000, 100_000):
        got = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=room)
        for a, true in zip(got, whole, strict=True):
            assert np.abs(a - true).max() <= 16 * np.finfo(np.float32).eps * np.abs(true).max()


def test_several_blocks_in_a_segment(monkeypatch):
    monkeypatch.setattr(linear_entropy, "BLOCK", 1)  # which means 64 classes, of segments of 150
    x, w, b, t = problem()
    agree(F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=SEVERAL_CHUNKS), composed(x, w, t, b), 1e-12)


def _refusal(x, w, t, b):
    with pytest.raises(ValueError, match="max_bytes: expected at least") as raised:
        F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=100)
    return str(raised.value)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    x, w, b, t = problem(np.float32, n=200, d=64, c=4000)
    assert linear_entropy.WORTH_SHARING < 200 * 4000 * 64
    first = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=2_500_000)
    monkeypatch.setattr("backproof.kernels.team.processors", lambda: 1)
    second = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=2_500_000)
    for a, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, other)
    agree(first, composed(x, w, t, b), 1e-5)


def test_rows_that_do_not_count_may_hold_anything():
    x, w, b, t = problem()
    keep = np.ones(N, bool)
    keep[[2, 9, 10]] = False
    want = F.linear_cross_entropy_and_grad(x[keep], w, t[keep], bias=b)
    x[2], x[9], x[10] = np.nan, np.inf, -np.inf
    labels = np.where(keep, t, -1)
    for options in ({"ignore_index": -1}, {"sample_weight": keep * 1.0}):
        given = labels if "ignore_index" in options else t
        loss, dx, dw, db = F.linear_cross_entropy_and_grad(x, w, given, bias=b, max_bytes=SEVERAL_CHUNKS, **options)
        agree((loss, dx[keep], dw, db), want, 1e-12)
        assert (dx[~keep] == 0).all()
        assert F.linear_cross_entropy(x, w, given, bias=b, **options) == pytest.approx(float(want[0]), rel=1e-14)


def test_nothing_counts():
    x, w, b, t = problem()
    for result in F.linear_cross_entropy_and_grad(x * np.nan, w, t * 0 - 1, bias=b, ignore_index=-1):
        assert not result.any()


def test_a_class_masked_by_its_bias_has_no_gradient():
    x, w, b, t = problem()
    b[7], t[t == 7] = -np.inf, 8
    _, dx, dw, db = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    assert not dw[7].any()
    assert db[7] == 0
    assert np.isfinite(dx).all()


def test_strides_byte_order_and_read_only():
    x, w, b, t = problem()
    want = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    odd = [np.asfortranarray(x), np.repeat(w, 2, axis=1)[:, ::2], b[::-1].copy()[::-1]]
    foreign = [a.astype(">f8") for a in (x, w, b)]
    for a in odd:
        a.flags.writeable = False
    for xs, ws, bs in (odd, foreign):
        agree(F.linear_cross_entropy_and_grad(xs, ws, t, bias=bs, max_bytes=SEVERAL_CHUNKS), want, 1e-12)


def test_half_precision_is_summed_in_single():
    x, w, b, t = problem(np.float16, n=400)
    got = F.linear_cross_entropy_and_grad(x, w, t, bias=b, reduction="sum", max_bytes=SEVERAL_CHUNKS)
    assert [a.dtype for a in got] == [np.float32, np.float16, np.float16, np.float16]
    # one rounding to half precision, after sums in single precision
    for a, true in zip(got[1:], composed(x, w, t, b, reduction="sum")[1:], strict=True):
        np.testing.assert_allclose(np.float64(a), true, rtol=2.0**-11, atol=1e-4)


def test_torch_and_jax_arrays(kernels):
    import jax
    import jax.numpy as jnp

    x, w, b, t = problem(np.float32)
    want = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    got = F.linear_cross_entropy_and_grad(*map(torch.from_numpy, (x, w, t)), bias=torch.from_numpy(b))
    assert all(isinstance(a, torch.Tensor) for a in got)
    agree(got, want, 0.0)
    got = F.linear_cross_entropy_and_grad(jnp.asarray(x), jnp.asarray(w), jnp.asarray(t), bias=jnp.asarray(b))
    assert all(isinstance(a, jax.Array) for a in got)
    agree(got, want, 0.0)
    traced = jax.jit(lambda *a: F.linear_cross_entropy_and_grad(*a, ignore_index=-1))(x, w, t)
    agree(traced[:3], F.linear_cross_entropy_and_grad(x, w, t)[:3], 1e-5)
    halves = [torch.from_numpy(a).to(torch.bfloat16) for a in (x, w)]
    got = F.linear_cross_entropy_and_grad(*halves, torch.from_numpy(t))
    assert [a.dtype for a in got[:3]] == [torch.float32, torch.bfloat16, torch.bfloat16]
    exact = composed(*(a.double().numpy() for a in halves), t)
    for a, true in zip(got[:3], exact, strict=False):
        np.testing.assert_allclose(a.double().numpy(), true, rtol=2.0**-8, atol=1e-5)


def test_the_complex_step():
    x, w, b, t = problem()
    _, gx, _, _ = F.linear_cross_entropy_and_grad(x, w, t, bias=b, z_loss=0.1)
    d = np.random.default_rng(3).normal(size=x.shape)
    value = F.linear_cross_entropy(x + 1e-30j * d, w, t, bias=b, z_loss=0.1)
    assert value.imag / 1e-30 == pytest.approx(float(np.sum(gx * d)), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"x": 1.0}, ValueError, "x: expected shape (..., features), received shape ()"),
        ({"w": np.ones((4, 2))}, ValueError, "w: expected shape (classes, 3), as x has 3 features, received (4, 2)"),
        ({"w": np.ones(3)}, ValueError, "w: expected shape (classes, features) with at least one class, received (3,)"),
        ({"w": np.ones((0, 3))}, ValueError, "w: expected shape (classes, features) with at least one class, received (0, 3)"),
        ({"w": torch.ones(4, 3, dtype=torch.bfloat16)}, TypeError, "w: expected an array like x"),
        ({"bias": np.ones(3)}, ValueError, "bias: expected shape (4,), received (3,)"),
        ({"target": [0, 1, 4, 0, 0]}, IndexError, "target: expected labels from 0 to 3, received 4"),
        ({"target": [0, 1]}, ValueError, "target: expected labels of shape (5,) or probabilities of shape (5, 4), received (2,)"),
        ({"target": np.ones(5)}, TypeError, "target: expected whole-number labels"),
        ({"weight": np.ones(3)}, ValueError, "weight: expected shape (4,), received (3,)"),
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight: expected shape (5,), received (3,)"),
        ({"temperature": 0}, ValueError, "temperature: expected a finite number greater than 0"),
        ({"reduction": "avg"}, ValueError, "reduction: expected one of"),
        ({"max_bytes": 8}, ValueError, "max_bytes: expected at least"),
        ({"max_bytes": 0}, ValueError, "max_bytes: expected a number of bytes, received 0"),
        ({"max_bytes": 1.5}, TypeError, "max_bytes: expected a whole number, received 1.5"),
    ],
)
def test_errors_name_the_argument(change, kind, message):
    given = {"x": np.ones((5, 3)), "w": np.ones((4, 3)), "target": np.zeros(5, int), **change}
    for function in (F.linear_cross_entropy, F.linear_cross_entropy_and_grad):
        with pytest.raises(kind) as raised:
            function(**given)
        assert message in str(raised.value)


def test_the_blas_gets_its_threads_back_and_errors_come_through():
    def sizes():
        return [pool["num_threads"] for pool in blas._pools().info()]

    before = sizes()
    with blas.shared() as share, blas.shared():
        assert set(sizes()) <= {1}
        seen = [0] * 50

        def task(i):
            seen[i] += 1
            if i == 30:
                raise MemoryError("no room")

        with pytest.raises(MemoryError, match="no room"):
            share(task, 50)
        assert max(seen) == 1
    assert sizes() == before
    for operations, sizes_meanwhile in ((1e4, before), (1e6, [1] * len(before)), (1e9, before)):
        with blas.few(operations):
            assert sizes() == sizes_meanwhile
    assert sizes() == before


def test_whichever_thread_asks_the_blas_keeps_to_one_and_gets_its_threads_back():
    before = [pool["num_threads"] for pool in blas._pools().info()]
    inside, leave, found = threading.Event(), threading.Event(), []

    def other() -> None:
        with blas.shared():
            found.append([pool["num_threads"] for pool in blas._pools().info()])
            inside.set()
            leave.wait(60)

    for _ in range(2):  # the second time another thread has asked before
        inside.clear()
        leave.clear()
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(60)
        with blas.shared():
            leave.set()
            thread.join(60)
            assert [pool["num_threads"] for pool in blas._pools().info()] == [1] * len(before)
        assert [pool["num_threads"] for pool in blas._pools().info()] == before
    assert found == [[1] * len(before)] * 2


# --- many rows of many features: compiled products -----------------------------------------------------------------------------
WIDE = {"n": 75, "d": 45, "c": 333}  # panels, blocks of classes and vectors of features that are not full


def cut(n, d, c, dtype, max_bytes=None):
    return linear_entropy.cut(n, c, d, np.dtype(dtype), True, False, max_bytes)


def products_of(n, d, c, dtype, max_bytes=None):
    return cut(n, d, c, dtype, max_bytes).products


def room_for(rows, d, c, dtype):
    """Bytes for so many rows at a time, by compiled products."""
    how, item = cut(96, d, c, dtype), np.dtype(dtype).itemsize
    return rows * c * item + how.products.room(rows, d, how.block, len(how.segments), item, True)


@pytest.fixture
def compiled():
    pytest.importorskip("numba")
    from backproof.kernels import linear_panels

    with dispatch.only("cpu"):
        yield linear_panels


def test_which_products_are_taken(compiled):
    assert products_of(**WIDE, dtype=np.float32) is compiled
    assert products_of(**WIDE, dtype=np.float64, max_bytes=room_for(32, 45, 333, np.float64)) is compiled
    assert products_of(5, 45, 333, np.float32) is linear_blas
    assert products_of(75, 45, 333, np.float32, 200_000) is linear_blas  # room for few rows
    assert products_of(75, 6, 333, np.float32) is linear_blas
    with dispatch.only("reference"):
        assert products_of(**WIDE, dtype=np.float32) is linear_blas


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("rows", [None, 32])
def test_compiled_products(compiled, options, dtype, rows):
    x, w, b, t = problem(dtype, **WIDE)
    sizes = {"weight": len(w), "sample_weight": len(x)}
    options = {k: np.linspace(v[0], v[-1], sizes[k]) if k in sizes else v for k, v in options.items()}
    if "ignore_index" in options:
        t[3:6] = -1
    max_bytes = None if rows is None else room_for(rows, 45, 333, dtype)
    assert products_of(**WIDE, dtype=dtype, max_bytes=max_bytes) is compiled
    got = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=max_bytes, **options)
    agree(got, composed(x, w, t, b, **options), bound(x, w, t, dtype, **options))
    with dispatch.only("reference"):
        library = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=max_bytes, **options)
    for a, other in zip(got, library, strict=True):
        assert np.abs(a - other).max() <= 40 * np.finfo(dtype).eps * np.abs(other).max()
    value = F.linear_cross_entropy(x, w, t, bias=b, max_bytes=max_bytes, **options)
    np.testing.assert_array_equal(value, got[0])


@pytest.mark.parametrize("shape", [(24, 32, 1), (75, 33, 2), (64, 64, 64), (100, 70, 1025), (33, 40, 129), (130, 32, 300)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sizes_of_compiled_products(shape, dtype):
    n, d, c = shape
    x, w, b, t = problem(dtype, n, d, c)
    agree(F.linear_cross_entropy_and_grad(x, w, t, bias=b), composed(x, w, t, b), bound(x, w, t, dtype))
    agree(F.linear_cross_entropy_and_grad(x, w, t)[:3], composed(x, w, t)[:3], bound(x, w, t, dtype))


def test_compiled_products_of_any_arrays(compiled):
    x, w, b, t = problem(**WIDE)
    want = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    odd = [np.asfortranarray(x), np.repeat(w, 2, axis=1)[:, ::2], b[::-1].copy()[::-1]]
    foreign = [a.astype(">f8") for a in (x, w, b)]
    for xs, ws, bs in (odd, foreign):
        agree(F.linear_cross_entropy_and_grad(xs, ws, t, bias=bs), want, 1e-12)
    half = [a.astype(np.float16) for a in (x, w, b)]
    got = F.linear_cross_entropy_and_grad(*half[:2], t, bias=half[2], reduction="sum")
    for a, true in zip(got[1:], composed(*half[:2], t, half[2], reduction="sum")[1:], strict=True):
        np.testing.assert_allclose(np.float64(a), true, rtol=2.0**-11, atol=1e-4)
    dx, dw, db = np.empty_like(x), np.full((len(w), 90), np.nan)[:, ::2], np.empty(len(w))
    to = linear_entropy.Gradients(dx, dw, db)
    linear_entropy.entropy_of_linear(x, w, b, t, linear_entropy.Options(), np.full(len(x), 1 / len(x)), to, None)
    agree((dx, dw, db), want[1:], 1e-12)


def test_rows_that_do_not_count_may_hold_anything_in_panels(compiled):
    x, w, b, t = problem(**WIDE)
    keep = np.ones(len(x), bool)
    keep[[2, 9, 70]] = False
    want = F.linear_cross_entropy_and_grad(x[keep], w, t[keep], bias=b)
    x[2], x[9], x[70] = np.nan, np.inf, -np.inf
    for max_bytes in (None, room_for(32, 45, 333, np.float64)):
        loss, dx, dw, db = F.linear_cross_entropy_and_grad(
            x, w, np.where(keep, t, -1), bias=b, ignore_index=-1, max_bytes=max_bytes
        )
        agree((loss, dx[keep], dw, db), want, 1e-12)
        assert (dx[~keep] == 0).all()


@pytest.mark.filterwarnings("error")
def test_segments_that_cancel_infinities_warn_no_one(compiled):
    x, w, b, t = problem(np.float32, **WIDE)
    x[:, 4], w[3, 4], w[200, 4] = 0.0, 3e38, -3e38  # of the first and the second segment
    _, dx, _, _ = F.linear_cross_entropy_and_grad(x, w, t, bias=b, sample_weight=np.full(len(x), 1e9), reduction="sum")
    assert np.isnan(dx[:, 4]).any()
    assert np.isfinite(dx[:, :4]).all()


@pytest.mark.filterwarnings("error")
def test_infinite_weights_are_no_news_in_panels(compiled):
    x, w, b, t = problem(**WIDE)
    w[3, 4], w[200, 4] = np.inf, -np.inf
    _, dx, dw, _ = F.linear_cross_entropy_and_grad(x, w, t, bias=b)
    assert not np.isfinite(dx[:, 4]).any()
    assert dw.shape == w.shape


@pytest.mark.parametrize(("sizes", "rows"), [((200, 64, 4000), 96), ((1000, 2000, 1500), 256)])
def test_compiled_products_need_no_more_than_they_are_given(compiled, sizes, rows):
    x, w, b, t = problem(np.float32, *sizes)
    room = room_for(rows, sizes[1], sizes[2], np.float32)
    assert cut(*sizes, np.float32, room).rows == rows
    F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=room)
    tracemalloc.start()
    results = F.linear_cross_entropy_and_grad(x, w, t, bias=b, max_bytes=room)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - sum(a.nbytes for a in results[1:]) <= room
