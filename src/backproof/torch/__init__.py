"""Softmax and cross-entropy for torch: torch's own signatures, this library's digits, gradients and kernels.

    from backproof.torch import cross_entropy           # instead of: from torch.nn.functional import cross_entropy

Every gradient is that of `backproof.functional`: a confident prediction keeps one where torch's is exactly 0. Tensors on the CPU
share their memory with the compiled kernels; on a GPU single and half precision have programs of their own (Triton's), and all else
has the same formulas in torch's operations. Backward with any upstream gradient, backward of the backward, forward mode,
`torch.func` and `torch.compile` work. Results keep the dtype of the input, under autocast too; but a loss is never rounded to half
precision: for half-precision logits it is float32. With labels, in those precisions, nothing waits for the GPU: a label that is no
class is no error there, but makes nan.
"""

from backproof.torch.entropy import CrossEntropyLoss as CrossEntropyLoss
from backproof.torch.entropy import cross_entropy as cross_entropy
from backproof.torch.linear import LinearCrossEntropyLoss as LinearCrossEntropyLoss
from backproof.torch.linear import linear_cross_entropy as linear_cross_entropy
from backproof.torch.normalised import log_softmax as log_softmax
from backproof.torch.normalised import logsumexp as logsumexp
from backproof.torch.normalised import softmax as softmax

__all__ = [
    "CrossEntropyLoss",
    "LinearCrossEntropyLoss",
    "cross_entropy",
    "linear_cross_entropy",
    "log_softmax",
    "logsumexp",
    "softmax",
]
