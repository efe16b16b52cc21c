"""Pixels as PNG, within the page itself.

Source: W3C, Portable Network Graphics specification (third edition): the signature, IHDR, one zlib stream in IDAT, IEND.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from backproof.arrays import Array
from backproof.report.markup import Html, element

LARGEST = 96  # pixels on a side; of a larger image every k-th pixel is taken


def image(pixels: Array, description: str) -> Html:
    """An <img> of bytes (height, width) in grey or (height, width, 3) in colour."""
    step = -(-max(pixels.shape[:2]) // LARGEST)
    small = np.ascontiguousarray(pixels[::step, ::step])
    source = f"data:image/png;base64,{base64.b64encode(png(small)).decode()}"
    return element("img", src=source, alt=description, width=small.shape[1], height=small.shape[0])


def png(pixels: Array) -> bytes:
    """The file: bytes (height, width) in grey or (height, width, 3) in colour."""
    height, width = pixels.shape[:2]
    kind = 0 if pixels.ndim == 2 else 2
    rows = pixels.reshape(height, -1)
    unfiltered = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # each row begins with its filter: none
    header = struct.pack(">2I5B", width, height, 8, kind, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(unfiltered.tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def as_bytes(values: Array) -> Array:
    """Numbers as bytes: 0 (or the least, if it is below) is black, the largest of them all white."""
    low, high = min(0.0, float(values.min())), float(values.max())
    return np.rint(255 * (values - low) / ((high - low) or 1.0)).astype(np.uint8)
