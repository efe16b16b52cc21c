"""Layers: pure maps with exact, hand-derived derivatives. One file a family."""

from backproof.layers.activations import GELU as GELU
from backproof.layers.activations import Identity as Identity
from backproof.layers.activations import LeakyReLU as LeakyReLU
from backproof.layers.activations import ReLU as ReLU
from backproof.layers.activations import Sigmoid as Sigmoid
from backproof.layers.activations import SiLU as SiLU
from backproof.layers.activations import Softplus as Softplus
from backproof.layers.activations import Tanh as Tanh
from backproof.layers.base import Layer as Layer
from backproof.layers.combine import Chain as Chain
from backproof.layers.combine import Concatenate as Concatenate
from backproof.layers.combine import Residual as Residual
from backproof.layers.dropout import Dropout as Dropout
from backproof.layers.fixed import Flatten as Flatten
from backproof.layers.fixed import Standardize as Standardize
from backproof.layers.linear import Linear as Linear
from backproof.layers.softmax import LogSoftmax as LogSoftmax
from backproof.layers.softmax import Softmax as Softmax

__all__ = [
    "GELU",
    "Chain",
    "Concatenate",
    "Dropout",
    "Flatten",
    "Identity",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "ReLU",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Standardize",
    "Tanh",
]
