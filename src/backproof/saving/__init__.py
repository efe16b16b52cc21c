"""Model files: safetensors with the network's description as JSON; nothing in them is ever executed."""

from backproof.saving.model import load as load
from backproof.saving.model import save as save

__all__ = ["load", "save"]
