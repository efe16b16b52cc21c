"""A mistake is one clear error that names the argument, what was expected and what was received; `out` is then untouched."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import backproof as bp
from backproof import functional as F

Z = np.random.default_rng(0).normal(size=(3, 4))
T = np.array([0, 1, 2])
P = np.full((3, 4), 0.25)
HALF = torch.zeros(3, 4, dtype=torch.bfloat16)
READ_ONLY = np.zeros((3, 4))
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: F.softmax(Z, axis=2), ValueError, "axis: expected -2 to 1 for an array with 2 axes, received 2"),
        (lambda: F.softmax(Z, axis=1.0), TypeError, "axis: expected a whole number, received 1.0"),
        (lambda: F.softmax(Z, axis=True), TypeError, "axis: expected a whole number, received True"),
        (lambda: F.softmax(Z, axis=(0, 0)), ValueError, "axis: expected different axes"),
        (lambda: F.softmax(Z, axis=(0, 5)), ValueError, "axis: expected"),
        (lambda: F.softmax(["a"]), TypeError, "z: expected numbers"),
        (lambda: F.softmax(Z, out=np.zeros((4, 3))), ValueError, "out: expected shape (3, 4), received (4, 3)"),
        (lambda: F.softmax(Z, out=np.zeros((3, 4), np.float32)), TypeError, "out: expected dtype float64, received float32"),
        (lambda: F.softmax(Z, out=READ_ONLY), ValueError, "out: expected an array that can be written to"),
        (lambda: F.softmax(Z, out=[0.0]), TypeError, "out: expected a NumPy array"),
        (lambda: F.softmax(Z, out=HALF), TypeError, "out: expected dtype float64, received torch.bfloat16 on cpu"),
        (lambda: F.softmax(HALF, out=HALF.float()), TypeError, "expected torch.bfloat16 on cpu, received torch.float32 on cpu"),
        (lambda: F.softmax(HALF, out=HALF[:2]), ValueError, "out: expected shape (3, 4), received (2, 4)"),
        (lambda: F.softmax(HALF, out=Z), TypeError, "for input of the same kind, received numpy.ndarray"),
        (lambda: F.softmax_vjp(Z, Z[:2]), ValueError, "upstream: expected shape (3, 4), received (2, 4)"),
        (lambda: F.softmax_jvp(Z, Z[0]), ValueError, "tangent: expected shape (3, 4), received (4,)"),
        (lambda: F.logsumexp_vjp(Z, Z), ValueError, "upstream: expected shape (3,), received (3, 4)"),
        (lambda: F.softmax_jacobian(1.0), ValueError, "h: expected shape (..., classes)"),
        (lambda: F.cross_entropy(1.0, 0), ValueError, "z: expected logits with an axis of classes"),
        (lambda: F.cross_entropy(Z, [0, 1, 4]), IndexError, "target: expected labels from 0 to 3, received 4"),
        (lambda: F.cross_entropy(Z, [0, 1, -100]), IndexError, "target: expected labels from 0 to 3, received -100"),
        (lambda: F.cross_entropy(Z, [0.0, 1.0, 2.0]), TypeError, "target: expected whole-number labels (dtype int)"),
        (lambda: F.cross_entropy(Z, [0, 1]), ValueError, "target: expected labels of shape (3,) or probabilities of shape (3, 4)"),
        (lambda: F.cross_entropy(Z, T, axis=0), ValueError, "target: expected labels of shape (4,)"),
        (lambda: F.cross_entropy(Z, T, axis=(0, 1)), TypeError, "axis: expected a whole number"),
        (lambda: F.cross_entropy(Z, P, ignore_index=1), ValueError, "ignore_index: expected None with probabilities"),
        (lambda: F.cross_entropy(Z, T, ignore_index=1.5), TypeError, "ignore_index: expected a whole number"),
        (lambda: F.cross_entropy(Z, T, weight=[1, 2]), ValueError, "weight: expected shape (4,), received (2,)"),
        (lambda: F.cross_entropy(Z, T, weight=[1, 2, np.nan, 1]), ValueError, "weight: expected finite numbers"),
        (lambda: F.cross_entropy(Z, T, sample_weight=[1, 2]), ValueError, "sample_weight: expected shape (3,), received (2,)"),
        (lambda: F.cross_entropy(Z, T, sample_weight=[1, 2, np.inf]), ValueError, "sample_weight: expected finite numbers"),
        (lambda: F.cross_entropy(Z, Z * 1j), TypeError, "target: expected real numbers, as z is real, received dtype complex128"),
        (lambda: F.cross_entropy(Z, T, label_smoothing=1.5), ValueError, "label_smoothing: expected a finite number of at least 0"),
        (lambda: F.cross_entropy(Z, T, label_smoothing=-0.1), ValueError, "received -0.1"),
        (lambda: F.cross_entropy(Z, T, temperature=0), ValueError, "temperature: expected a finite number greater than 0"),
        (lambda: F.cross_entropy(Z, T, softcap=-1), ValueError, "softcap: expected a finite number greater than 0, received -1"),
        (lambda: F.cross_entropy(Z, T, z_loss=np.nan), ValueError, "z_loss: expected"),
        (lambda: F.cross_entropy(Z, T, z_loss="much"), TypeError, "z_loss: expected a number, received 'much'"),
        (lambda: F.cross_entropy(Z, T, reduction="avg"), ValueError, "reduction: expected one of 'mean', 'sum', 'none'"),
        (lambda: F.kl_divergence(Z), TypeError, "received neither"),
        (lambda: F.kl_divergence(Z, P, target_logits=Z), TypeError, "received both"),
        (lambda: F.kl_divergence(Z, -P), ValueError, "target: expected probabilities that are not negative"),
        (lambda: F.kl_divergence(Z, target_logits=Z[:1]), ValueError, "target_logits: expected shape (3, 4), received (1, 4)"),
        (lambda: F.kl_divergence(1.0, 1.0), ValueError, "z: expected logits with an axis"),
        (lambda: F.binary_cross_entropy(Z, 2 * P + 1), ValueError, "target: expected numbers from 0 to 1"),
        (lambda: F.binary_cross_entropy(Z, P[0]), ValueError, "target: expected shape (3, 4), received (4,)"),
        (lambda: F.binary_cross_entropy(Z, P, weight=np.ones(3)), ValueError, "weight: expected shape (4,), received (3,)"),
    ],
)
def test_mistakes_are_named(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    assert message in str(caught.value)
    assert isinstance(caught.value, bp.BackproofError)


def test_a_tensor_in_a_dtype_that_numpy_lacks_takes_its_result_too():
    z = torch.linspace(-1, 1, 12).reshape(3, 4).bfloat16()
    out, gradient = torch.zeros_like(z), torch.zeros_like(z)
    assert F.softmax(z, out=out) is out
    assert torch.equal(out, F.softmax(z))
    assert F.cross_entropy_and_grad(z, torch.tensor(T), out=gradient)[1] is gradient
    assert torch.equal(gradient, F.cross_entropy_and_grad(z, torch.tensor(T))[1])


def test_out_is_untouched_by_a_call_that_raises():
    out = np.full((3, 4), 7.0)
    for call in (
        lambda: F.softmax(Z, axis=5, out=out),
        lambda: F.softmax_vjp(Z, Z[:1], out=out),
        lambda: F.cross_entropy_and_grad(Z, [0, 1, 9], out=out),
        lambda: F.cross_entropy_and_grad(Z, T, reduction="avg", out=out),
        lambda: F.cross_entropy_and_grad(Z, T, sample_weight=[1, 1, np.nan], out=out),
        lambda: F.cross_entropy_and_grad(Z, T, temperature=-1, out=out),
        lambda: F.kl_divergence_and_grad(Z, -P, out=out),
        lambda: F.binary_cross_entropy_and_grad(Z, P, weight=[1, 2, 3, np.inf], out=out),
    ):
        with pytest.raises(bp.BackproofError):
            call()
        assert (out == 7.0).all()


def test_arguments_are_never_written_to():
    z, t, p, w, s = Z.copy(), T.copy(), P.copy(), np.ones(4), np.ones(3)
    F.cross_entropy_and_grad(z, t, weight=w, sample_weight=s, label_smoothing=0.1, softcap=3.0, temperature=0.5, z_loss=0.1)
    F.cross_entropy_and_grad(z, p, weight=w, sample_weight=s)
    F.kl_divergence_and_grad(z, p)
    F.kl_divergence_and_grad(z, target_logits=p)
    F.binary_cross_entropy_and_grad(z, p, weight=w, sample_weight=s)
    F.softmax_vjp(z, p), F.log_softmax_vjp(z, p), F.logsumexp_vjp(z, s), F.softmax_jacobian(z)
    assert all(np.array_equal(a, b) for a, b in ((z, Z), (t, T), (p, P), (w, np.ones(4)), (s, np.ones(3))))


def test_labels_come_in_every_whole_dtype():
    expected = F.cross_entropy(Z, T)
    for dtype in (np.int8, np.uint8, np.int32, np.uint64, np.int64):
        assert F.cross_entropy(Z, T.astype(dtype)) == expected


HEAVY = {"torch", "jax", "sklearn", "scipy", "matplotlib", "numba", "llvmlite"}


def heavy_modules(*lines):
    """What a fresh process has loaded of heavy packages after these lines, modules and submodules by name."""
    code = "\n".join(("import sys", *lines, "print(*sys.modules)"))
    loaded = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {name for name in loaded if name.split(".")[0] in HEAVY}


def test_the_functions_are_reached_from_the_top_and_need_nothing_heavy(kernels):
    """Reached, and used with the reference: nothing heavy. A compiled kernel brings Numba and what Numba itself imports (a little
    of SciPy, where that is installed), nothing else."""
    reached = "import backproof as bp; assert 'backproof.functional' not in sys.modules; bp.functional.softmax"
    assert not heavy_modules(reached)
    use = ("from backproof.kernels import dispatch", f"with dispatch.only({kernels!r}): bp.functional.softmax([1.0, 2.0])")
    numba = ("import numba", "numba.njit('f8(f8)')(lambda x: x)") if kernels == "cpu" else ()
    brought = {name for name in heavy_modules(reached, *use) if name.split(".")[0] not in ("numba", "llvmlite") or not numba}
    assert brought <= heavy_modules(*numba)
