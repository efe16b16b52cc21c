"""Torch's own sample inputs for its operators, with torch in double precision as what is expected."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch

from backproof import functional as F
from tests.functional.peers import binary, kl, nll

pytest.importorskip("expecttest")

# operator: (the call with ours, how many samples there are at least)
OPERATORS = {
    "softmax": 14,
    "log_softmax": 14,
    "logsumexp": 15,
    "nn.functional.cross_entropy": 21,
    "nn.functional.nll_loss": 61,
    "nn.functional.kl_div": 16,
    "nn.functional.binary_cross_entropy_with_logits": 26,
}


@functools.cache
def database():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db
    return [op for op in op_db if op.name in OPERATORS]


def ours(name, z, args, options):
    dtype = options.pop("dtype", None)
    z = z if dtype is None else z.to(dtype)
    if name in ("softmax", "log_softmax"):
        axis = args[0] if args else options["dim"]
        return (F.softmax if name == "softmax" else F.log_softmax)(z, axis=axis)
    if name == "logsumexp":
        axis, keep = (*args, False)[:2]
        value = F.logsumexp(z, axis=axis)
        return value.reshape(torch.logsumexp(z, axis, keep).shape)
    target, reduction = args[0].numpy(), options.get("reduction", "mean")
    if name == "nn.functional.cross_entropy":
        return F.cross_entropy(z, args[0], axis=min(1, z.ndim - 1), **options)
    z = z.numpy()
    weight, pos_weight = (None if options.get(k) is None else options[k].numpy() for k in ("weight", "pos_weight"))
    if name == "nn.functional.nll_loss":
        return nll(z, target, weight, options.get("ignore_index", -100), reduction, min(1, z.ndim - 1))
    if name == "nn.functional.kl_div":
        return kl(z, target, options.get("log_target", False), reduction)
    return binary(z, target, weight, pos_weight, reduction)


def theirs(op, z, args, options):
    def widen(a):
        return a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a

    if options.get("dtype") is not None:
        z = z.to(options["dtype"])
    options = {k: widen(v) for k, v in options.items() if k != "dtype"}
    if op.name == "nn.functional.kl_div" and options.get("reduction") == "none":
        return op.op(widen(z), *map(widen, args), **options).sum(dim=-1)
    return op.op(widen(z), *map(widen, args), **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.filterwarnings("ignore")
def test_torchs_samples(name, dtype):
    """A few roundings of the result, and of the terms: torch's own double-precision sums lose as much."""
    unit = torch.finfo(dtype).eps
    seen = 0
    for op in (op for op in database() if op.name == name):
        for sample in op.sample_inputs("cpu", dtype, False):
            seen += 1
            expected = theirs(op, sample.input, sample.args, sample.kwargs)
            result = np.asarray(ours(name, sample.input, sample.args, dict(sample.kwargs)), np.float64)
            assert result.size == expected.numel()
            expected = expected.double().numpy().reshape(result.shape)
            if np.isnan(expected).any():  # a mean over nothing
                assert np.array_equal(result, np.zeros_like(result))
                continue
            terms = 100 if "loss" in name or "entropy" in name or "kl" in name else 1  # weighted sums of numbers up to 9 * 9
            np.testing.assert_allclose(result, expected, rtol=8 * unit, atol=8 * unit * terms)
    assert seen >= OPERATORS[name]
