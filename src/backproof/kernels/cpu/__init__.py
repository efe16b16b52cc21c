"""Softmax, cross-entropy and their derivatives for NumPy arrays, compiled. Arguments are checked by the caller.

reference.py has the formulas, docs/design.md what to do where they say nothing. Float16, float32 and float64; any axis (counted
from the first) and strides; `out` has the input's shape and dtype and may be the input. Every result has the same bits for any
axis, strides, number of threads and company of other rows; those of softmax, log-softmax and logsumexp, and in double precision
those of the products, for any order of the row.
"""

from collections.abc import Callable
from functools import partial

from backproof.kernels.cpu.gradients import cross_entropy, few_labelled, labelled_by_address
from backproof.kernels.cpu.jacobian import log_softmax_vjp, product_by_address, softmax_vjp
from backproof.kernels.cpu.limits import LOG_SOFTMAX, SOFTMAX
from backproof.kernels.cpu.totals import total
from backproof.kernels.cpu.values import log_softmax, logsumexp, logsumexp_vjp, softmax, values_by_address

# (bytes of a number, rows, classes) -> a function (out, arguments ...) of addresses; `out` may be the first argument.
BY_ADDRESS: dict[str, Callable[[int, int, int], Callable[..., None]]] = {
    "softmax": partial(values_by_address, SOFTMAX),
    "log_softmax": partial(values_by_address, LOG_SOFTMAX),
    "softmax_vjp": partial(product_by_address, SOFTMAX),
    "log_softmax_vjp": partial(product_by_address, LOG_SOFTMAX),
}

__all__ = [
    "BY_ADDRESS",
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
