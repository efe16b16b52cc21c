"""Triton's programs as a row of the table that takes NumPy arrays: what is asked of the kernels in these tests is asked of them.

On a GPU where there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import numpy as np
import torch

from backproof.kernels import dispatch, reference_losses
from backproof.kernels import triton as programs
from backproof.kernels.dispatch import scaled

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def takes(arrays):
    first = arrays[0]
    return all(
        isinstance(a, np.ndarray) and a.dtype == first.dtype and a.dtype.char in "fe" and a.dtype.isnative and a.size and a.ndim
        for a in arrays
    )


def seen(array):
    if array is None:
        return None
    if min(array.strides, default=0) < 0 or not array.flags.writeable:
        array = np.array(array)
    return torch.from_numpy(array).to(DEVICE)


def _along(name):
    def kernel(*arguments):
        *arrays, axis, out = arguments
        made = torch.empty(out.shape, dtype=torch.float32 if out.dtype == np.float32 else torch.float16, device=DEVICE)
        getattr(programs, name)(*map(seen, arrays), axis, made)
        out[...] = made.cpu().numpy()

    return kernel


softmax, log_softmax = _along("softmax"), _along("log_softmax")
softmax_vjp, log_softmax_vjp = _along("softmax_vjp"), _along("log_softmax_vjp")


def logsumexp(z, axis):
    return programs.logsumexp(seen(z), axis).cpu().numpy()


def cross_entropy(z, target, *, scale, loss, grad, **options):
    asked = reference_losses.Options(**options)
    given = [None if each is None else seen(np.asarray(each)) for each in (target, scale, asked.class_weight)]
    if not dispatch._suited(seen(z[:1]), given[0], asked, scale):
        loss[...], slopes = reference_losses.cross_entropy(z, target, asked)
        if grad is not None:
            grad[...] = scaled(slopes, scale, z.dtype)
        return
    logits = seen(np.array(z))  # where the gradient takes their place
    values = torch.empty(len(z), dtype=torch.float64, device=DEVICE)
    options["class_weight"] = given[2]
    programs.cross_entropy(logits, given[0], scale=given[1], loss=values, grad=None if grad is None else logits, **options)
    loss[...] = values.cpu().numpy()
    if grad is not None:
        grad[...] = logits.cpu().numpy()
