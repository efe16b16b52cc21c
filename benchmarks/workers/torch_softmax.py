"""PyTorch's kernels, eager. Its cross-entropy has no output buffer to be given."""

from __future__ import annotations

import torch

from benchmarks.workers.common import report
from benchmarks.workers.softmax_common import given, job, measure


def main() -> None:
    asked = job()
    torch.set_num_threads(asked["threads"])
    z, u, labels, out = (torch.from_numpy(a) for a in given(asked["rows"], asked["classes"]))
    h, log_h = torch.softmax(z, 1), torch.log_softmax(z, 1)
    leaf = z.clone().requires_grad_(True)

    def cross_entropy() -> None:
        leaf.grad = None
        torch.nn.functional.cross_entropy(leaf, labels).backward()  # type: ignore[no-untyped-call]

    kernels = {
        "copy": lambda: out.copy_(z),
        "softmax": lambda: torch.softmax(z, 1, out=out),
        "log_softmax": lambda: torch.log_softmax(z, 1, out=out),
        "logsumexp": lambda: torch.logsumexp(z, 1),
        "softmax_vjp": lambda: torch._softmax_backward_data(u, h, 1, torch.float32, grad_input=out),
        "log_softmax_vjp": lambda: torch.ops.aten._log_softmax_backward_data.out(u, log_h, 1, torch.float32, out=out),
        "cross_entropy_and_grad": cross_entropy,
    }
    report(measure(kernels, asked["seconds"]), ["torch", "numpy"])


if __name__ == "__main__":
    main()
