"""Files of tensors with a description, damaged by accident or on purpose: what tests/fuzz_files.py feeds to the readers."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import numpy as np
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from backproof.saving.container import digest_of

Rng = np.random.Generator

# Text that json.dumps would not write: it is put in by name and replaced afterwards.
RAW = {
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@overflow": "1e999",
    "@long": "9" * 5000,
    "@wide": str(10**30),
    "@deep": "[" * 20000 + "]" * 20000,
    "@deeper": '{"a":' * 3000 + "1" + "}" * 3000,
    "@surrogate": '"\\ud800"',
    "@escape": '"\\u0000\\u001b[2J"',
}
ABSURD: list[Any] = [
    *RAW, 0, -1, 1, 7, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 1e-320, 1e308, 0.5, -0.0, True, False, None,
    "", "x", "float32", "float16", "f4,(2,2)f8", "object", "__class__", "a" * 100_000,
    [], {}, [[]], [0], [-1], [2**31 - 1, 2**31 - 1], [1] * 70, [1.5],
    {"tensor": "0.weight"}, {"tensor": "nothing"}, {"tensor": []},
    {"layer": "Linear", "outputs": 2**40}, {"layer": "Linear", "outputs": 3, "bias": "no"}, {"layer": "Flatten"},
    {"layer": "Softmax", "axis": 2**62}, {"layer": "Softmax", "axis": 0}, {"layer": "Dropout", "rate": 0.999},
    {"layer": "LeakyReLU", "slope": 1e308}, {"layer": "Standardize", "mean": 0, "scale": 0}, {"layer": "Residual", "layers": []},
    {"layer": "Chain"}, {"layer": "Layer"}, {"layer": "Combined", "layers": [1]}, {"layer": "os"},
    {"loss": "CrossEntropy", "class_weight": [1e308, -1]}, {"loss": "Huber", "delta": 1e-320}, {"loss": "Loss"},
]  # fmt: skip


def mutated(rng: Rng, content: bytes) -> bytes:
    """`content`, a file of `backproof.saving.container`, with one to three things wrong with it."""
    for _ in range(_few(rng)):
        try:
            content = _WAYS[int(rng.choice(len(_WAYS), p=_SHARES))](rng, content)
        except Exception:  # damaged so far already that it cannot be taken apart: damage the bytes
            content = _flip(rng, content)
    return content


def _few(rng: Rng) -> int:
    return int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))


# --- bytes -----------------------------------------------------------------------------------------------------------------
def _flip(rng: Rng, content: bytes) -> bytes:
    data = bytearray(content or b"\0")
    # half of the time in the header, which is the smaller part
    end = min(len(data), 2000) if rng.random() < 0.5 else len(data)
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(end))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _cut(rng: Rng, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content) + 1))]


def _move(rng: Rng, content: bytes) -> bytes:
    """A piece taken out, put in elsewhere, repeated, or replaced by noise."""
    i, j, k = sorted(int(n) for n in rng.integers(len(content) + 1, size=3))
    piece = content[i:j]
    return [
        content[:i] + content[j:],
        content[:i] + content[j:k] + piece + content[k:],
        content[:j] + piece * int(rng.integers(1, 4)) + content[j:],
        content[:i] + rng.bytes(j - i) + content[j:],
    ][int(rng.integers(4))]


def _length(rng: Rng, content: bytes) -> bytes:
    """Another length of the header in the first eight bytes."""
    lengths = [0, 1, 2, len(content) - 8, len(content), 10**8, 10**8 + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 8]
    return struct.pack("<Q", max(0, lengths[int(rng.integers(len(lengths)))])) + content[8:]


def _noise(rng: Rng, content: bytes) -> bytes:
    return rng.bytes(int(rng.integers(0, 300)))


# --- what the bytes say ----------------------------------------------------------------------------------------------------
def _header(rng: Rng, content: bytes) -> bytes:
    """A header that lies about shapes, dtypes, offsets, names."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    if rng.random() < 0.4:
        _plausible_lie(rng, header)
    else:
        for _ in range(_few(rng)):
            header = _changed(rng, header)
    text = _text(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _description(rng: Rng, content: bytes) -> bytes:
    """A description that lies, with a digest that fits; at times tensors of other shapes and dtypes."""
    length = struct.unpack("<Q", content[:8])[0]
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    described, tensors = json.loads(metadata["backproof"]), from_bytes(content)
    for _ in range(_few(rng)):
        described = _changed(rng, described)
    if rng.random() < 0.3:
        tensors = _changed_tensors(rng, tensors)
    if "layers" in described and rng.random() < 0.1:
        kind = ["Residual", "Concatenate", "Chain"][int(rng.integers(3))]
        for _ in range(int(rng.integers(1, 400))):
            described["layers"] = [{"layer": kind, "layers": described["layers"]}]
    text = _text(described)
    try:
        meant = json.loads(text)
        meant.pop("sha256", None)
        text = text.replace(described["sha256"], digest_of(meant, tensors))
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        pass  # no description that a digest could fit
    return to_bytes(tensors, metadata={"backproof": text})


def _plausible_lie(rng: Rng, header: Any) -> None:
    """Another shape of the same size, another dtype of the same width, or one tensor's bytes for another's."""
    names = [name for name in header if name != "__metadata__"]
    one, other = (header[names[int(rng.integers(len(names)))]] for _ in range(2))
    way = int(rng.integers(4))
    if way == 0:
        one["shape"] = one["shape"][::-1] if rng.random() < 0.5 else [*one["shape"], 1]
    elif way == 1:
        one["shape"] = [n * 2**32 for n in one["shape"]]
    elif way == 2:
        wide = one["dtype"] in ("F64", "I64")
        one["dtype"] = (["I64", "U64", "C64"] if wide else ["I32", "U32", "F16", "BF16", "F8_E4M3", "BOOL"])[
            int(rng.integers(3 if wide else 6))
        ]
    else:
        one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]


def _changed_tensors(rng: Rng, tensors: dict[str, Any]) -> dict[str, Any]:
    name = list(tensors)[int(rng.integers(len(tensors)))]
    value = tensors[name]
    if value.size == 0 or value.dtype.kind != "f":
        return {**tensors, name: np.zeros(3)}
    dtypes = ["float16", "float32", "float64", "int8", "uint64", "bool"]
    others = [
        np.clip(np.nan_to_num(value), 0, 9).astype(dtypes[int(rng.integers(len(dtypes)))]),
        np.full_like(value, [0, 1][int(rng.integers(2))]),
        value.reshape(-1),
        value.reshape(1, *value.shape),
        value[:0],
        np.full(value.shape, [np.nan, np.inf, -np.inf, 1e308][int(rng.integers(4))]),
        np.zeros((3, 0, 2)),
        np.asarray(value.reshape(-1)[:1].sum()),
        np.zeros(value.shape, dtype=np.complex64),
    ]
    return {**tensors, name: np.ascontiguousarray(others[int(rng.integers(len(others)))])}


def _changed(rng: Rng, tree: Any) -> Any:
    """One node of a JSON tree replaced, removed, renamed, doubled, exchanged with another."""
    places = list(_places(tree))
    if not places:
        return ABSURD[int(rng.integers(len(ABSURD)))]
    parent, key = places[int(rng.integers(len(places)))]
    other, its_key = places[int(rng.integers(len(places)))]
    way = int(rng.choice(6, p=[0.15, 0.07, 0.08, 0.15, 0.05, 0.5]))
    if way == 0:
        del parent[key]
    elif way == 1 and isinstance(parent, dict):
        parent[f"{key}@again"] = parent[key]  # the same key twice in the text
    elif way == 2 and isinstance(parent, dict):
        parent[f"{key}s"] = parent.pop(key)
    elif way == 3:
        parent[key] = json.loads(json.dumps(other[its_key]))
    elif way == 4 and isinstance(parent[key], list):
        parent[key] = parent[key] * int(rng.integers(2, 200))
    else:
        parent[key] = json.loads(json.dumps(ABSURD[int(rng.integers(len(ABSURD)))]))
    return tree


def _places(tree: Any) -> Any:
    """(container, key) of every node below `tree`."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _text(tree: Any) -> str:
    text = json.dumps(tree).replace('@again"', '"')
    return re.sub(r'"(@[a-z]+)"', lambda match: RAW.get(match[1], match[0]), text)


_WAYS = [_flip, _cut, _move, _length, _noise, _header, _description]
_SHARES = [0.15, 0.04, 0.08, 0.02, 0.01, 0.2, 0.5]
