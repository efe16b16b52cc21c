"""Every test here runs with the reference, and once more with each faster row of the table of kernels.

Triton's programs are such a row on a GPU. Without one they run in Triton's interpreter, and then alone: `tests/test_triton.py`.
"""

from __future__ import annotations

import importlib.util

import pytest

from backproof.kernels import dispatch, tensors


def _is_there() -> bool:
    if importlib.util.find_spec("triton") is None or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return tensors.INTERPRETED or torch.cuda.is_available()


ROWS = [row.name for row in reversed(dispatch.TABLE) if importlib.util.find_spec(row.module) and row.name != "triton"]
if _is_there():
    from tests.functional import programs
    from tests.interpreted import fast

    dispatch.TABLE = (*dispatch.TABLE[:-1], dispatch.Kernels("programs", programs.__name__, programs.takes), dispatch.TABLE[-1])
    ROWS = ["programs"] if tensors.INTERPRETED else [*ROWS, "programs"]
    fast()


@pytest.fixture(params=ROWS, autouse=True)
def kernels(request):
    with dispatch.only(request.param):
        yield request.param
