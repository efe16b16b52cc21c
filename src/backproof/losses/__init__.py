"""Losses on logits, one value an example, with one reduction for value, gradient and Hessian product."""

from backproof.losses.base import Loss as Loss
from backproof.losses.outputs import BinaryCrossEntropy as BinaryCrossEntropy
from backproof.losses.outputs import Huber as Huber
from backproof.losses.outputs import SquaredError as SquaredError
from backproof.losses.softmax import CrossEntropy as CrossEntropy
from backproof.losses.softmax import KLDivergence as KLDivergence

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "Huber", "KLDivergence", "Loss", "SquaredError"]
