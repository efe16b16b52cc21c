"""Which output layer belongs to which loss, and what becomes of it there.

A canonical pair (softmax + cross-entropy or KL, sigmoid + binary cross-entropy, identity + squared error) is one object: the loss
takes the logits, normalises them itself and gives the gradient `y - t`. Everything else goes through the Jacobian product of the
last layer. The mistake to guard against is the pair that is neither: a loss on logits that is given probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator

from backproof._errors import ArgumentError
from backproof.layers.activations import Identity
from backproof.layers.base import Layer
from backproof.layers.combine import Chain, Concatenate, Residual
from backproof.layers.softmax import LogSoftmax, Softmax
from backproof.losses.base import Loss
from backproof.losses.softmax import CrossEntropy


def is_canonical(last: Layer, loss: Loss, axes: int | None) -> bool:
    """Whether `last` is the output layer that `loss` normalises by itself: along the last axis alone.

    `axes` is the number of axes of its input with the batch, None as long as that is not known.
    """
    if isinstance(last, Softmax) and last.axis != -1 and (axes is None or last.axis != axes - 1):
        return False
    return last.link is not None and last.link == loss.link


def without_link(chain: Chain) -> Chain:
    """The chain up to the logits: its last layer gives way to what it does before normalising (temperature, mask)."""
    *before, last = chain.layers
    scores = last.scores if isinstance(last, Softmax) else None
    if scores is not None and (scores.temperature != 1.0 or scores.mask is not None):
        return Chain(*before, scores)
    return Chain(*before) if before else Chain(Identity())


def require_possible_targets(last: Layer, loss: Loss) -> None:
    """Raise where the loss asks for probability on classes that the output layer masks."""
    if isinstance(last, Softmax) and last.mask is not None and isinstance(loss, CrossEntropy) and loss.label_smoothing:
        raise ArgumentError(
            "Network: expected label_smoothing=0 with a masked softmax (it gives masked classes a target, at infinite loss), "
            f"received {loss.label_smoothing}"
        )


def double_softmax(chain: Chain, loss: Loss | None, fused: bool) -> Iterator[str]:
    """A sentence for each place where probabilities are normalised a second time, by a layer or by the loss."""
    messages: list[str] = []
    given = _follow(chain, "activations", messages)
    yield from messages
    if loss is not None and not fused and given == "probabilities" and loss.link in ("softmax", "sigmoid"):
        yield (
            f"{loss!r} takes logits and normalises them itself, but the network ends in probabilities ({chain.layers[-1]!r}) "
            "that cannot be fused with it; leave that layer out, or choose the loss that fits it"
        )


def _follow(layer: Layer, given: str, messages: list[str]) -> str:
    """What comes out of `layer` when `given` goes in: "probabilities", or something else."""
    if isinstance(layer, Chain):
        for part in layer.layers:
            given = _follow(part, given, messages)
        return given
    if isinstance(layer, Residual):
        _follow(layer.inner, given, messages)
        return "activations"
    if isinstance(layer, Concatenate):
        branches = [_follow(branch, given, messages) for branch in layer.layers]
        return branches[0] if len(branches) == 1 else "activations"
    if given == "probabilities" and isinstance(layer, Softmax | LogSoftmax):
        messages.append(f"{layer!r} normalises what are probabilities already: a softmax of a softmax")
    return given if layer.produces == "same" else layer.produces
