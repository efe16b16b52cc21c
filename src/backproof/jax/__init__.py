"""Softmax and cross-entropy for JAX: this library's digits and gradients under jit, grad, vmap, jvp, and to any order.

The formulas are those of `kernels.reference`, compiled by XLA (`rows`), with their derivatives written by hand: a confident
prediction keeps its gradient. With 64-bit types off the work is done in single precision.
"""

from backproof.jax.entropy import cross_entropy as cross_entropy
from backproof.jax.linear import linear_cross_entropy as linear_cross_entropy
from backproof.jax.normalised import log_softmax as log_softmax
from backproof.jax.normalised import logsumexp as logsumexp
from backproof.jax.normalised import softmax as softmax

__all__ = ["cross_entropy", "linear_cross_entropy", "log_softmax", "logsumexp", "softmax"]
