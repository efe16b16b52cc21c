"""Networks in the form of other programs: ONNX, torch."""

from backproof.export.onnx_ import to_onnx as to_onnx
from backproof.export.torch_ import from_torch as from_torch
from backproof.export.torch_ import to_torch as to_torch

__all__ = ["from_torch", "to_onnx", "to_torch"]
