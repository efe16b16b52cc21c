"""Data from outside as arrays: bundled sets, CSV and NPZ files, splits."""

from backproof.data.dataset import Dataset as Dataset
from backproof.data.dataset import split as split
from backproof.data.read import BUNDLED as BUNDLED
from backproof.data.read import read as read
from backproof.data.read import read_features as read_features

__all__ = ["BUNDLED", "Dataset", "read", "read_features", "split"]
