"""Which output layer belongs to which loss, and what becomes of it there.

A canonical pair (softmax + cross-entropy or KL, sigmoid + binary cross-entropy, identity + squared error) is one object: the loss
takes the logits, normalises them itself and gives the gradient `y - t`. Everything else goes through the Jacobian product of the
last layer. The mistake to guard against is the pair that is neither: a loss on logits that is given probabilities.
"""

from __future__ import annotations

import warnings

from backproof._errors import DoubleSoftmaxWarning
from backproof.layers.base import Layer
from backproof.layers.combine import Chain
from backproof.layers.softmax import LogSoftmax, Softmax
from backproof.losses.base import Loss


def is_canonical(last: Layer, loss: Loss) -> bool:
    """Whether `last` is the output layer that `loss` normalises by itself. Losses normalise along the last axis alone."""
    if isinstance(last, Softmax) and last.axis != -1:
        return False
    return last.link is not None and last.link == loss.link


def without_link(chain: Chain) -> Chain:
    """The chain up to the logits: its last layer gives way to what it does before normalising (temperature, mask)."""
    last = chain.layers[-1]
    scores = last.scores if isinstance(last, Softmax) else None
    if scores is not None and (scores.temperature != 1.0 or scores.mask is not None):
        return Chain(*chain.layers[:-1], scores)
    return Chain(*chain.layers[:-1])


def warn_of_double_softmax(chain: Chain, loss: Loss | None, fused: bool) -> None:
    """Announce probabilities that a later layer, or the loss, would normalise a second time."""
    given = "activations"
    for i, layer in enumerate(chain.layers):
        if given == "probabilities" and isinstance(layer, Softmax | LogSoftmax):
            _warn(f"layer {i}, {layer!r}, normalises what are probabilities already: a softmax of a softmax")
        given = given if layer.produces == "same" else layer.produces
    if loss is not None and not fused and given == "probabilities" and loss.link in ("softmax", "sigmoid"):
        _warn(
            f"{loss!r} takes logits and normalises them itself, but the network ends in probabilities ({chain.layers[-1]!r}) "
            "that cannot be fused with it; leave that layer out, or choose the loss that fits it"
        )


def _warn(message: str) -> None:
    warnings.warn(message, DoubleSoftmaxWarning, stacklevel=4)
