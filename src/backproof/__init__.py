"""backproof: networks trained by backpropagation, with every gradient derived by hand and shown to be right."""

import importlib
import typing

from backproof._errors import ArgumentError as ArgumentError
from backproof._errors import ArgumentTypeError as ArgumentTypeError
from backproof._errors import BackproofError as BackproofError
from backproof._errors import CheckpointWarning as CheckpointWarning
from backproof._errors import DataError as DataError
from backproof._errors import DivergenceError as DivergenceError
from backproof._errors import DoubleSoftmaxWarning as DoubleSoftmaxWarning
from backproof._errors import LabelError as LabelError
from backproof._errors import ModelFileError as ModelFileError
from backproof._errors import NotInitialisedError as NotInitialisedError
from backproof._errors import OutputExistsError as OutputExistsError
from backproof._errors import ShapeError as ShapeError
from backproof.checking import check as check
from backproof.export import from_torch as from_torch
from backproof.export import to_onnx as to_onnx
from backproof.export import to_torch as to_torch
from backproof.history import History as History
from backproof.layers import GELU as GELU
from backproof.layers import Chain as Chain
from backproof.layers import Concatenate as Concatenate
from backproof.layers import Dropout as Dropout
from backproof.layers import Flatten as Flatten
from backproof.layers import Identity as Identity
from backproof.layers import Layer as Layer
from backproof.layers import LeakyReLU as LeakyReLU
from backproof.layers import Linear as Linear
from backproof.layers import LogSoftmax as LogSoftmax
from backproof.layers import ReLU as ReLU
from backproof.layers import Residual as Residual
from backproof.layers import Sigmoid as Sigmoid
from backproof.layers import SiLU as SiLU
from backproof.layers import Softmax as Softmax
from backproof.layers import Softplus as Softplus
from backproof.layers import Standardize as Standardize
from backproof.layers import Tanh as Tanh
from backproof.losses import BinaryCrossEntropy as BinaryCrossEntropy
from backproof.losses import CrossEntropy as CrossEntropy
from backproof.losses import Huber as Huber
from backproof.losses import KLDivergence as KLDivergence
from backproof.losses import Loss as Loss
from backproof.losses import SquaredError as SquaredError
from backproof.network import Network as Network
from backproof.optimisers import Optimizer as Optimizer
from backproof.optimisers import adam as adam
from backproof.optimisers import adamw as adamw
from backproof.optimisers import chain as chain
from backproof.optimisers import clip_by_norm as clip_by_norm
from backproof.optimisers import lbfgs as lbfgs
from backproof.optimisers import rmsprop as rmsprop
from backproof.optimisers import sgd as sgd
from backproof.progress import EarlyStopping as EarlyStopping
from backproof.progress import Record as Record
from backproof.saving import Checkpoints as Checkpoints
from backproof.saving import load as load
from backproof.saving import save as save
from backproof.schedules import constant as constant
from backproof.schedules import cosine as cosine
from backproof.schedules import step_decay as step_decay
from backproof.schedules import warm_up as warm_up
from backproof.step import TrainingStep as TrainingStep
from backproof.training import train as train

__version__ = "0.1.0"

if typing.TYPE_CHECKING:
    from backproof import functional as functional
    from backproof.estimators import NetworkRegressor as NetworkRegressor
    from backproof.estimators import SoftmaxClassifier as SoftmaxClassifier

_LATER = {"functional": None, "NetworkRegressor": "estimators", "SoftmaxClassifier": "estimators"}


def __getattr__(name: str) -> object:
    """What takes long to import (`functional`, and the estimators, for which scikit-learn is loaded), when first asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"backproof.{_LATER[name] or name}")
    return getattr(module, name) if _LATER[name] else module
