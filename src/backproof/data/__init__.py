"""Data from outside: bundled sets, files and folders, in memory or a piece at a time; splits; columns as inputs."""

from backproof.data.coding import Coding as Coding
from backproof.data.dataset import Dataset as Dataset
from backproof.data.fitting import fit as fit
from backproof.data.mixing import ArraySource as ArraySource
from backproof.data.moments import Moments as Moments
from backproof.data.read import BUNDLED as BUNDLED
from backproof.data.read import Features as Features
from backproof.data.read import read as read
from backproof.data.streamed import Streamed as Streamed
from backproof.source import Source as Source

__all__ = ["BUNDLED", "ArraySource", "Coding", "Dataset", "Features", "Moments", "Source", "Streamed", "fit", "read"]
