"""No false alarm on torch's own operations, with their own autograd as the backward and torch's own sample inputs.

A part runs always; `--run-slow` runs all, which prints the list and the count.
"""

from __future__ import annotations

import warnings

import pytest
import torch

import backproof as bp

# not functions of the values of their inputs alone, or not differentiable in what they are given
LEFT_OUT = {
    "as_strided": "reads the memory of its input",
    "as_strided_scatter": "writes into overlapping memory",
    "native_layer_norm": "torch marks the second output (the mean) as not differentiable",
    "nn.functional.max_unpool2d": "the sample's indices repeat: which value is kept is not defined",
    "nn.functional.max_unpool3d": "the sample's indices repeat: which value is kept is not defined",
    "normal": "draws random numbers; torch defines its gradient as 0",
    "bfloat16": "a cast, whose output has another precision",
    "linalg.eigh": "takes symmetric matrices, and the sample is not one",
    "linalg.eigvalsh": "takes symmetric matrices, and the sample is not one",
    "linalg.pinv": "its hermitian form takes symmetric matrices, and the sample is not one",
}
LIMIT = 40  # inputs


def operations():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.testing._internal.common_methods_invocations import op_db
        except ImportError:  # torch's test helpers need a package of their own
            return []
    return [op for op in op_db if op.supports_autograd and op.name not in LEFT_OUT]


def sample(op, dtype):
    torch.manual_seed(0)
    for found in op.sample_inputs("cpu", dtype, requires_grad=True):
        x = found.input
        if isinstance(x, torch.Tensor) and x.is_floating_point() and 0 < x.numel() <= LIMIT:
            return found
    return None


def verdict(op, dtype):
    """True, False with the report, or None if the operation cannot be called so (no small sample, complex, sparse)."""
    try:
        found = sample(op, dtype) if dtype in op.dtypes else None
    except Exception:
        return None
    if found is None:
        return None
    tensors = [a.detach() for a in found.args if isinstance(a, torch.Tensor)]

    def function(x, *rest):
        others = iter(rest)
        torch.manual_seed(1)
        y = op(x, *[next(others) if isinstance(a, torch.Tensor) else a for a in found.args], **found.kwargs)
        return y if found.output_process_fn_grad is None else found.output_process_fn_grad(y)

    try:
        return bp.check(function, found.input.detach(), *tensors, special_points=False)
    except bp.BackproofError:
        return None
    except RuntimeError as error:
        if "not differentiable with respect to argument" in str(error):  # torch's own word about a running mean, a target
            return None
        raise


def study(chosen):
    right, wrong = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for op in chosen:
            name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
            for dtype in (torch.float64, torch.float32):
                report = verdict(op, dtype)
                if report is not None:
                    (right if report.ok else wrong).append((name, str(dtype), *([] if report.ok else [str(report)])))
    return right, wrong


def test_a_part_of_torch():
    chosen = operations()[::12]
    if not chosen:
        pytest.skip("torch's operation database is not installed (expecttest)")
    right, wrong = study(chosen)
    assert not wrong, wrong[0][-1]
    assert len({name for name, *_ in right}) >= 15


@pytest.mark.slow
def test_all_of_torch():
    chosen = operations()
    if not chosen:
        pytest.skip("torch's operation database is not installed (expecttest)")
    right, wrong = study(chosen)
    names = sorted({name for name, *_ in right})
    print(f"{len(right)} checks of {len(names)} operations right, {len(wrong)} wrong; left out: {LEFT_OUT}\n{', '.join(names)}")
    assert not wrong, [entry[:2] for entry in wrong]
    assert len(names) >= 150
