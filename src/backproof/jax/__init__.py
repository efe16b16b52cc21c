"""Softmax and cross-entropy for JAX: this library's digits and gradients under jit, grad, vmap, jvp, and to any order.

The formulas are those of `kernels.reference` in JAX's operations, compiled by XLA, with their derivatives written by hand: a
confident prediction keeps its gradient. With 64-bit types off the work is done in single precision, and its sums are still exact.
"""

from backproof.jax.entropy import cross_entropy as cross_entropy
from backproof.jax.normalised import log_softmax as log_softmax
from backproof.jax.normalised import logsumexp as logsumexp
from backproof.jax.normalised import softmax as softmax

__all__ = ["cross_entropy", "log_softmax", "logsumexp", "softmax"]
