"""Model files and checkpoints: safetensors with a description in JSON; nothing in them is ever executed."""

from backproof.saving.checkpoints import Checkpoints as Checkpoints
from backproof.saving.model import load as load
from backproof.saving.model import save as save

__all__ = ["Checkpoints", "load", "save"]
