"""Triton's programs: on a GPU where there is one, else in Triton's interpreter, if the environment has TRITON_INTERPRET=1.

The interpreter must be chosen before Triton is imported, and takes every tensor of the process: `tests/test_triton.py` starts one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backproof.kernels import tensors

HERE = Path(__file__).parent
ON_A_GPU = torch.cuda.is_available()

if not ON_A_GPU and not tensors.INTERPRETED:
    collect_ignore_glob = ["test_*.py"]
elif not ON_A_GPU:
    from tests.interpreted import fast

    fast()


def pytest_collection_modifyitems(config, items):
    """Of the many combinations that cross-entropy has here, every fifth in the interpreter; all with --run-slow, and on a GPU.

    `items` are those of all folders.
    """
    if not ON_A_GPU and not config.getoption("--run-slow"):
        combinations = [item for item in items if item.path.parent == HERE and item.name.startswith("test_cross_entropy[")]
        left_out = set(combinations) - set(combinations[::5])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def device():
    return "cuda" if ON_A_GPU else "cpu"


@pytest.fixture(autouse=True)
def all_by_programs(monkeypatch):
    """Tensors on the CPU are taken for such on a GPU, where NumPy's kernels would have them."""
    if not ON_A_GPU:
        from backproof.torch import plain

        monkeypatch.setattr(plain, "_is_plain", lambda tensor: False)


@pytest.fixture(params=[False, True], ids=["whole", "swept"])
def swept(request, monkeypatch):
    """Once as it is, once with rows that are said to be too long to be read at once."""
    if request.param:
        from backproof.kernels.triton import launches

        kinds = dict.fromkeys((2, 4), launches.Kind(1, 64, 64, 64, 64, 64))
        monkeypatch.setattr(launches, "KINDS", dict.fromkeys(launches.KINDS, kinds))
        monkeypatch.setattr(launches, "FEW", 16)
        launches.launch.cache_clear()
    yield request.param
    if request.param:
        launches.launch.cache_clear()
