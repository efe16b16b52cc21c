"""PyTorch, eager, with its fused Adam."""

from __future__ import annotations

from itertools import cycle, islice

import torch
from torch import nn

from benchmarks.workers.common import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    Job,
    Problem,
    job_from_command_line,
    measure,
    problem,
    report,
)


class Eager:
    """The loop that PyTorch's own tutorials write. The loss is computed but not read: no `.item()` is charged."""

    def __init__(self, job: Job, given: Problem, threads: int) -> None:
        self.given, self.threads = given, threads
        self.pairs = list(zip(job.sizes[:-1], job.sizes[1:], strict=True))
        self.batches = [(torch.from_numpy(x), torch.from_numpy(t)) for x, t in given.batches]

    def reset(self) -> None:
        torch.set_num_threads(self.threads)
        layers: list[nn.Module] = []
        for (m, n), weight, bias in zip(self.pairs, self.given.weights, self.given.biases, strict=True):
            linear = nn.Linear(m, n)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, betas=(BETA1, BETA2), eps=EPSILON, fused=True)
        self.next_batch = cycle(self.batches)

    def run(self, steps: int) -> None:
        model, optimiser, cross_entropy = self.model, self.optimiser, nn.functional.cross_entropy
        for x, t in islice(self.next_batch, steps):
            optimiser.zero_grad(set_to_none=True)
            cross_entropy(model(x), t).backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    def next_loss(self) -> float:
        x, t = next(self.next_batch)
        with torch.no_grad():
            return float(nn.functional.cross_entropy(self.model(x), t))


def main() -> None:
    job = job_from_command_line()
    given = problem(job)
    # where the net is small, more threads than one may cost more than they bring
    trainers = {f"fused Adam, {n} thread{'s'[: n > 1]}": Eager(job, given, n) for n in sorted({job.threads, 1})}
    report(measure(trainers, job), ["torch", "numpy"])


if __name__ == "__main__":
    main()
