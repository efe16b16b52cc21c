"""Softmax, cross-entropy and their derivatives for NumPy arrays, compiled. Arguments are checked by the caller.

reference.py has the formulas, docs/design.md what to do where they say nothing. Float16, float32 and float64; any axis (counted
from the first) and strides; `out` has the input's shape and dtype and may be the input. Every result has the same bits for any
axis, strides, number of threads and company of other rows; those of softmax, log-softmax and logsumexp, and in double precision
those of the products, for any order of the row.
"""

from backproof.kernels.cpu.gradients import cross_entropy, few_labelled, labelled_by_address
from backproof.kernels.cpu.jacobian import log_softmax_vjp, softmax_vjp
from backproof.kernels.cpu.totals import total
from backproof.kernels.cpu.values import log_softmax, logsumexp, logsumexp_vjp, softmax

__all__ = [
    "cross_entropy",
    "few_labelled",
    "labelled_by_address",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_vjp",
    "total",
]
