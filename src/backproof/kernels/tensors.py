"""What the table of kernels must know of torch tensors on a GPU. Torch is not imported: whoever has a tensor has done so."""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import cache
from typing import Any

LONGEST = 2**30  # an axis up to which a program counts
PRECISIONS = ("torch.float32", "torch.float16", "torch.bfloat16")


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _runs_on(device: Any) -> bool:
    """Whether Triton has programs for it: from Volta on."""
    return bool(sys.modules["torch"].cuda.get_device_capability(device) >= (7, 0))


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton runs its programs in NumPy, for tests, also for tensors on the CPU


def on_a_gpu(arrays: tuple[Any, ...]) -> bool:
    """Torch tensors of one precision, single or half, with something in them, on one GPU."""
    first = arrays[0]
    if not (INTERPRETED or getattr(first, "is_cuda", False)):  # where small tensors on the CPU come by, nothing more is asked
        return False
    torch = sys.modules.get("torch")
    if torch is None or not all(type(a) in (torch.Tensor, torch.nn.Parameter) for a in arrays):  # others may have no memory
        return False
    if not _has_triton() or first.layout is not torch.strided:
        return False
    if str(first.dtype) not in PRECISIONS or not first.ndim or not first.numel() or max(first.shape) >= LONGEST:
        return False
    alike = all(a.dtype is first.dtype and a.device == first.device for a in arrays[1:])
    return alike and (not first.is_cuda or _runs_on(first.device))


def entangled(out: Any, arrays: tuple[Any, ...]) -> bool:
    """Whether `out` shares memory with one of the tensors, but for being the first itself."""
    place = out.untyped_storage().data_ptr()
    is_first = out.data_ptr() == arrays[0].data_ptr() and out.shape == arrays[0].shape and out.stride() == arrays[0].stride()
    return any(a.untyped_storage().data_ptr() == place and not (i == 0 and is_first) for i, a in enumerate(arrays))


def wide_rows(z: Any) -> Any:
    """Room for a number in double precision a row."""
    return z.new_empty(z.shape[:1], dtype=sys.modules["torch"].float64)
