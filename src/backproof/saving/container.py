"""One file of tensors with a description: safetensors, the description as strict JSON in its metadata, a digest over both.

Nothing in such a file is ever executed. `read` gives back what `write` was given, or raises `ModelFileError`; it allocates no more
than the file is long.

The format number is raised when an older reader would misunderstand a file; what only adds to it adds keys, which older readers
leave alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backproof._errors import ArgumentError, ModelFileError
from backproof.arrays import Array
from backproof.saving.files import write_atomically

FORMAT = 1

Tensors = dict[str, Array]
Description = dict[str, Any]


def write(path: Path, kind: str, description: Description, tensors: Mapping[str, Array]) -> None:
    """Write `description` (JSON values) and `tensors` to `path`, whole or not at all; `kind` says what the file is for.

    Raises `ArgumentError` for a description that `read` would not take.
    """
    from safetensors.numpy import save as to_bytes

    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    whole = {"format": FORMAT, "kind": kind, **description}
    try:
        text = json.dumps({"sha256": digest_of(whole, arrays), **whole}, allow_nan=False)
        _parsed(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: expected a description of JSON values with finite numbers, received {error}") from error
    write_atomically(path, to_bytes(arrays, metadata={"backproof": text}))  # one entry: safetensors keeps no order of several


def read(path: Path, kind: str) -> tuple[Description, Tensors]:
    """(description, tensors) of the file `path`, of this `kind`.

    Raises `ModelFileError` if it is not as `write` left it; the caller adds the file's name.
    """
    if not path.is_file():
        raise ModelFileError(f"expected a {kind} file, received {'a folder' if path.is_dir() else 'no such file'}")
    text, tensors = _contents(path)
    if text is None:
        raise ModelFileError(f"expected a {kind} saved by backproof, received a safetensors file of something else")
    description = _parsed(text)
    digest = description.pop("sha256", None)
    version = description.get("format")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"expected format {FORMAT}, received {version!r}")
    if version > FORMAT:
        raise ModelFileError(f"expected format {FORMAT} or older, received {version}: a newer version of backproof reads it")
    if digest != digest_of(description, tensors):
        raise ModelFileError("expected contents that agree with the file's own SHA-256, received others: the file is damaged")
    if description.get("kind") != kind:
        raise ModelFileError(f"expected a {kind}, received a file that says it is {description.get('kind')!r}")
    return description, tensors


def _contents(path: Path) -> tuple[str | None, Tensors]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("backproof")
            return text, {} if text is None else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (SafetensorError, OSError, TypeError, ValueError, AttributeError) as error:  # the latter: numbers that NumPy lacks
        raise ModelFileError(f"expected a whole safetensors file, received one that is damaged or cut short ({error})") from error


def digest_of(description: Description, tensors: Mapping[str, Array]) -> str:
    """SHA-256 of the description, however its JSON is written, and of every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\n{name}\n{value.dtype.str}{value.shape}\n".encode("utf-8", "surrogatepass"))
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def _parsed(text: str) -> Description:
    """JSON without what it leaves open: no key twice, finite numbers, whole ones of 64 bits, text that can be written."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_finite, parse_float=_finite, parse_int=_within_64_bits)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"expected a description in JSON, received a damaged one ({error})") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"expected a description in JSON, received a {type(value).__name__}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]}")
    return number


def _within_64_bits(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**64:
        raise ValueError(f"the number {text[:40]}")
    return number
