"""backproof: the compiled `TrainingStep` with Adam."""

from __future__ import annotations

from itertools import cycle, islice

import backproof as bp
from benchmarks.workers.common import LEARNING_RATE, Job, Problem, job_from_command_line, measure, own_version, problem, report


class OneStep:
    """All that this benchmark knows of backproof's interface is in this class."""

    def __init__(self, job: Job, given: Problem, compiled: bool) -> None:
        self.sizes, self.given, self.compiled = job.sizes, given, compiled

    def reset(self) -> None:
        layers: list[bp.Layer] = []
        for outputs in self.sizes[1:]:
            layers += [bp.Linear(outputs), bp.ReLU()]
        self.net = bp.Network([*layers[:-1], bp.Softmax()], loss=bp.CrossEntropy(), dtype="float32")
        self.net.initialise(self.given.batches[0][0], seed=0)
        named = self.net.named_parameters()
        for i, (weight, bias) in enumerate(zip(self.given.weights, self.given.biases, strict=True)):
            named[f"{2 * i}.weight"][...] = weight.T
            named[f"{2 * i}.bias"][...] = bias
        self.step = bp.TrainingStep(self.net, bp.adam(LEARNING_RATE), compiled=self.compiled)
        self.next_batch = cycle(self.given.batches)

    def run(self, steps: int) -> None:
        step = self.step
        for x, t in islice(self.next_batch, steps):
            step(x, t)

    def next_loss(self) -> float:
        return float(self.net.loss(*next(self.next_batch)))


def main(compiled: bool = True) -> None:
    job = job_from_command_line()
    trainers = {"compiled" if compiled else "layers": OneStep(job, problem(job), compiled)}
    report(measure(trainers, job), ["numpy", "scipy", "numba"], **own_version())


if __name__ == "__main__":
    main()
