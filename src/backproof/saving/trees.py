"""What a computation holds, as JSON values and tensors, and back to the bit: dictionaries, lists, numbers, text, arrays.

JSON has neither arrays nor nan nor numbers of more than 64 bits (a generator's state has 128): they become {"$tensor": name},
{"$float": "nan"}, {"$int": "0x..."}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from backproof._errors import ArgumentTypeError, ModelFileError
from backproof.arrays import Array


def to_json(tree: Any, path: str, tensors: dict[str, Array]) -> Any:
    """`tree` as JSON values; its arrays are put into `tensors`, named by their place below `path`.

    Raises `ArgumentTypeError` for what is none of the above.
    """
    if isinstance(tree, np.generic):
        tree = tree.item()
    if tree is None or isinstance(tree, bool | str):
        return tree
    if isinstance(tree, int):
        return tree if -(2**63) <= tree < 2**63 else {"$int": hex(tree)}
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else {"$float": repr(tree)}
    if isinstance(tree, np.ndarray):
        tensors[path] = tree
        return {"$tensor": path}
    if isinstance(tree, list | tuple):
        return [to_json(value, f"{path}.{i}", tensors) for i, value in enumerate(tree)]
    if isinstance(tree, dict) and all(isinstance(key, str) and not key.startswith("$") for key in tree):
        return {key: to_json(value, f"{path}.{key}", tensors) for key, value in tree.items()}
    raise ArgumentTypeError(
        f"{path}: expected dictionaries by name, lists, numbers, text and arrays, received {type(tree).__name__}"
    )


def from_json(value: Any, tensors: Mapping[str, Array]) -> Any:
    """The tree of `to_json`, tuples as lists. Raises `ModelFileError` for a tensor that is not there."""
    if isinstance(value, list):
        return [from_json(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, held = next(iter(value.items()))
        if key == "$int":
            return int(held[:40], 16)
        if key == "$float":
            return float(held[:9])
        if key == "$tensor":
            if held not in tensors:
                raise ModelFileError(f"expected the tensor {held!r}, received none")
            return tensors[held]
    return {key: from_json(part, tensors) for key, part in value.items()}


def fitted(given: Any, like: Any, place: str, bits: int = 63) -> Any:
    """A copy of `given`, if it is built as `like` is: the same names and lengths, shapes and dtypes of arrays, kinds of numbers.

    Raises `ModelFileError`, naming the place, if not. Whole numbers count: they must not be negative, nor have more than `bits`.
    """
    if isinstance(like, dict) and isinstance(given, dict) and given.keys() == like.keys():
        return {key: fitted(given[key], like[key], f"{place}.{key}", bits) for key in like}
    if isinstance(like, list | tuple) and isinstance(given, list) and len(given) == len(like):
        return type(like)(fitted(a, b, f"{place}.{i}", bits) for i, (a, b) in enumerate(zip(given, like, strict=True)))
    if isinstance(like, np.ndarray):
        if isinstance(given, np.ndarray) and (given.shape, given.dtype) == (like.shape, like.dtype):
            return given.copy()
    elif type(given) is type(like) and not isinstance(given, dict | list) and not (type(given) is int and not 0 <= given < 2**bits):
        return given
    raise ModelFileError(f"expected {place} as this training has it, {_kind(like)}, received {_kind(given)}")


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}, {value.dtype}"
    return repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__} of {len(value)}"
