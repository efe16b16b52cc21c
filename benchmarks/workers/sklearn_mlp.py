"""scikit-learn: MLPClassifier with solver "adam", alpha 0 (no penalty) and batches in the order given.

Its constructor takes no initial weights, so the model is made by one fit, and then its `coefs_` are overwritten. Its
Adam adds epsilon before the bias correction, not after it: where gradients are tiny the losses come out a little
different.
"""

from __future__ import annotations

import math
import warnings
from itertools import cycle, islice

import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from benchmarks.workers.common import (
    BETA1,
    BETA2,
    EPSILON,
    LEARNING_RATE,
    POOL,
    Floats,
    Job,
    Labels,
    Problem,
    Trainer,
    job_from_command_line,
    measure,
    problem,
    report,
)


class _Model:
    def __init__(self, job: Job, given: Problem, *, warm_start: bool) -> None:
        self.given = given
        self.classes = np.arange(job.sizes[-1])
        self.model = MLPClassifier(
            hidden_layer_sizes=job.sizes[1:-1],
            activation="relu",
            solver="adam",
            alpha=0.0,
            batch_size=job.batch,
            learning_rate_init=LEARNING_RATE,
            beta_1=BETA1,
            beta_2=BETA2,
            epsilon=EPSILON,
            shuffle=False,
            tol=0.0,
            n_iter_no_change=math.inf,
            max_iter=1,
            warm_start=warm_start,
        )
        self.model.fit(*given.batches[0])

    def reset(self) -> None:
        self.model.coefs_ = [weight.copy() for weight in self.given.weights]
        self.model.intercepts_ = [bias.copy() for bias in self.given.biases]
        # the state of Adam; without it the next call makes a fresh one
        self.model.__dict__.pop("_optimizer", None)
        self.done = 0

    def next_loss(self) -> float:
        x, t = self.given.batches[self.done % POOL]
        return float(log_loss(t, self.model.predict_proba(x), labels=self.classes))


class PartialFit(_Model):
    """One call of `partial_fit` per step, on exactly one batch."""

    def reset(self) -> None:
        super().reset()
        self.next_batch = cycle(self.given.batches)

    def run(self, steps: int) -> None:
        partial_fit = self.model.partial_fit
        for x, t in islice(self.next_batch, steps):
            partial_fit(x, t)
        self.done += steps


class Fit(_Model):
    """One call of `fit` for many steps: what is done once a call (checks, label encoding) is shared by all of them.

    A fresh Adam is part of each call, which favours no one: it costs two arrays of zeros.
    """

    def __init__(self, job: Job, given: Problem) -> None:
        super().__init__(job, given, warm_start=True)
        self.all = self.joined(POOL)

    def joined(self, batches: int) -> tuple[Floats, Labels]:
        """So many batches, in turn, as one data set."""
        chosen = list(islice(cycle(self.given.batches), batches))
        return np.concatenate([x for x, _ in chosen]), np.concatenate([t for _, t in chosen])

    def run(self, steps: int) -> None:
        # one call whatever `steps` is, for Adam begins anew in each; timed blocks are whole epochs of the pool
        whole = steps % POOL == 0
        self.model.max_iter = steps // POOL if whole else 1
        self.model.fit(*(self.all if whole else self.joined(steps)))
        self.done += steps


def main() -> None:
    job = job_from_command_line()
    warnings.simplefilter("ignore", ConvergenceWarning)
    # the checks that a user may leave out are left out
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    given = problem(job)
    trainers: dict[str, Trainer] = {"partial_fit": PartialFit(job, given, warm_start=False), "fit": Fit(job, given)}
    report(measure(trainers, job), ["scikit-learn", "scipy", "numpy"])


if __name__ == "__main__":
    main()
