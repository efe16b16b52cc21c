"""Training steps of a torch model (embedding of the input, one linear layer to many classes) with one of two cross-entropies."""

from __future__ import annotations

import importlib

import numpy as np
import torch

from benchmarks.workers.common import own_version, report
from benchmarks.workers.softmax_common import job, measure


def main() -> None:
    asked = job()
    torch.set_num_threads(asked["threads"])
    cross_entropy = importlib.import_module(asked["module"]).cross_entropy
    rows, classes, width = asked["rows"], asked["classes"], asked["width"]
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((rows, width), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, classes, rows))
    torch.manual_seed(0)
    layer = torch.nn.Linear(width, classes)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1e-3)
    logits = torch.from_numpy(rng.standard_normal((rows, classes), dtype=np.float32)).requires_grad_(True)

    def step() -> None:
        loss = cross_entropy(layer(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def loss_alone() -> None:
        logits.grad = None
        cross_entropy(logits, labels).backward()

    into, source = torch.zeros_like(logits), logits.detach()
    kernels = {"copy": lambda: into.copy_(source), "training step": step, "loss and its gradient": loss_alone}
    report(measure(kernels, asked["seconds"]), ["torch", "numpy"], **own_version())


if __name__ == "__main__":
    main()
