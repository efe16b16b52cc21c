"""torch: a linear layer and cross-entropy, forward and backward, and its own function for both."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from benchmarks.workers.common import report
from benchmarks.workers.linear_common import given, job, measure


def main() -> None:
    asked = job()
    torch.set_num_threads(asked["threads"])
    x, w, labels = (torch.from_numpy(a) for a in given(asked["rows"], asked["features"], asked["classes"]))
    variant = asked["variant"]

    def step(x: torch.Tensor, w: torch.Tensor, labels: torch.Tensor) -> float:
        x, w = x.detach().requires_grad_(True), w.detach().requires_grad_(True)
        if variant == "linear and cross_entropy":
            loss = F.cross_entropy(F.linear(x, w), labels)
        elif variant == "linear_cross_entropy":
            loss = F.linear_cross_entropy(x, w, labels)
        else:
            loss = F.linear_cross_entropy(x, w, labels, options=torch.nn.LinearCrossEntropyOptions())
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    measured = measure(
        lambda: step(x, w, labels),
        lambda: step(x[:40], w[:4000], labels[:40] % 4000),
        asked["calls"],
        4 * (x.numel() + w.numel()),
    )
    report({variant: measured}, ["torch", "numpy"])


if __name__ == "__main__":
    main()
