"""backproof's kernels, and a plain copy by as many threads."""

from __future__ import annotations

import numpy as np

from backproof.kernels import cpu
from backproof.kernels.cpu import calls
from benchmarks.workers.common import report
from benchmarks.workers.softmax_common import given, job, measure


def main() -> None:
    asked = job()
    n = asked["rows"]
    z, u, labels, out = given(n, asked["classes"])
    h, losses, scale, in_place = np.empty_like(z), np.empty(n), np.full(n, 1.0 / n), z.copy()
    cpu.softmax(z, 1, h)

    def copy_some(first: int, last: int, work: int) -> None:
        np.copyto(out[first:last], z[first:last])

    def cross_entropy(logits: np.ndarray, grad: np.ndarray) -> float:
        cpu.cross_entropy(
            logits, labels, scale=scale, class_weight=None, ignore_index=None, label_smoothing=0.0, z_loss=0.0, softcap=None,
            temperature=1.0, loss=losses, grad=grad,
        )  # fmt: skip
        return float(losses.mean())

    kernels = {
        "copy": lambda: calls.run(copy_some, n, asked["classes"], 0),
        "softmax": lambda: cpu.softmax(z, 1, out),
        "log_softmax": lambda: cpu.log_softmax(z, 1, out),
        "softmax_vjp": lambda: cpu.softmax_vjp(h, u, 1, out),
        "cross_entropy_and_grad": lambda: cross_entropy(z, out),
        "cross_entropy_and_grad, in place": lambda: cross_entropy(in_place, in_place),
    }
    report(measure(kernels, asked["seconds"]), ["numpy", "numba"])


if __name__ == "__main__":
    main()
