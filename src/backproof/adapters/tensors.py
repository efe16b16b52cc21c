"""NumPy arrays as torch tensors on the same memory, and back; bfloat16 and layouts that torch does not take included."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from backproof.arrays import Array


@functools.cache
def bfloat16() -> np.dtype[Any] | None:
    """ml_dtypes' bfloat16, or None if that package is not there."""
    try:
        found: np.dtype[Any] = np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError:
        return None
    return found


def to_array(tensor: Any) -> Array:
    """A copy of a tensor as an array; bfloat16 as ml_dtypes' or, without that package, as float32."""
    torch = importlib.import_module("torch")
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg().cpu()
    if tensor.dtype == torch.bfloat16:
        special = bfloat16()
        if special is None:
            return np.array(tensor.float().numpy())
        return np.array(tensor.contiguous().view(torch.int16).numpy()).view(special)
    return np.array(tensor.numpy())


def to_tensor(array: Array, dtype: Any, device: Any) -> Any:
    """A tensor on the array's memory where device, dtype and layout allow it; `dtype` None: the array's own."""
    torch = importlib.import_module("torch")
    special = array.dtype == bfloat16() if array.dtype.kind not in "fiub" else False
    if special:
        array = array.view(np.int16) if array.ndim else array.reshape(1).view(np.int16).reshape(())
    if not array.flags.writeable or any(s < 0 for s in array.strides):
        if 0 in array.strides and array.size:  # broadcast: an expanded tensor
            compact = array[tuple(slice(0, 1) if s == 0 else slice(None) for s in array.strides)]
            tensor = torch.from_numpy(np.array(compact)).expand(array.shape)
        else:
            tensor = torch.from_numpy(np.array(array))
    elif any(s % array.itemsize for s in array.strides):
        tensor = torch.from_numpy(np.array(array))
    else:
        tensor = torch.from_numpy(array)
    if special:
        tensor = tensor.view(torch.bfloat16)
    if dtype is not None and tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    return tensor if device.type == "cpu" else tensor.to(device)


def written_back(tensors: Sequence[Any], arrays: Sequence[Array]) -> None:
    """Where torch code wrote into a tensor that does not share the array's memory (another device or dtype), write it there too.

    Torch counts its own writes in `_version`. A kernel of the user's on another device need not, so there values are compared.
    """
    torch = importlib.import_module("torch")
    for tensor, array in zip(tensors, arrays, strict=True):
        if (tensor._version or tensor.device.type != "cpu") and array.flags.writeable:
            now, before = tensor.detach(), to_tensor(array, tensor.dtype, tensor.device)
            if now.shape == before.shape and not torch.equal(_bytes(now, torch), _bytes(before, torch)):
                array[...] = to_array(now)


def _bytes(tensor: Any, torch: Any) -> Any:
    """Its bytes, by which nan equals nan."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)
