"""Softmax, cross-entropy and their kin as functions of arrays, with their derivatives: arrays in, the same kind of array out.

Half and single precision come out correctly rounded (but for one case in thousands), double precision within a few units in the
last place, whatever the axis, the strides, the order of the entries or the rest of the batch. What that takes: `kernels.reference`.

>>> import numpy as np
>>> from backproof import functional as F
>>> F.softmax(np.log([1.0, 2.0, 5.0])).tolist()
[0.125, 0.25, 0.625]
>>> loss, dz = F.cross_entropy_and_grad(np.array([[50.0, 0.0]]), [0])
>>> f"{loss:.3e} {dz[0, 0]:.3e}"                                       # not 0: the prediction is confident, not perfect
'1.929e-22 -1.929e-22'
"""

from backproof.functional.binary import binary_cross_entropy as binary_cross_entropy
from backproof.functional.binary import binary_cross_entropy_and_grad as binary_cross_entropy_and_grad
from backproof.functional.divergence import kl_divergence as kl_divergence
from backproof.functional.divergence import kl_divergence_and_grad as kl_divergence_and_grad
from backproof.functional.entropy import cross_entropy as cross_entropy
from backproof.functional.entropy import cross_entropy_and_grad as cross_entropy_and_grad
from backproof.functional.linear import linear_cross_entropy as linear_cross_entropy
from backproof.functional.linear import linear_cross_entropy_and_grad as linear_cross_entropy_and_grad
from backproof.functional.normalised import log_softmax as log_softmax
from backproof.functional.normalised import log_softmax_vjp as log_softmax_vjp
from backproof.functional.normalised import logsumexp as logsumexp
from backproof.functional.normalised import logsumexp_vjp as logsumexp_vjp
from backproof.functional.normalised import softmax as softmax
from backproof.functional.normalised import softmax_jacobian as softmax_jacobian
from backproof.functional.normalised import softmax_jvp as softmax_jvp
from backproof.functional.normalised import softmax_vjp as softmax_vjp

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_and_grad",
    "cross_entropy",
    "cross_entropy_and_grad",
    "kl_divergence",
    "kl_divergence_and_grad",
    "linear_cross_entropy",
    "linear_cross_entropy_and_grad",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_jacobian",
    "softmax_jvp",
    "softmax_vjp",
]
