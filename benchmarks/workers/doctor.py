"""Whole trainings of one network, with a doctor and without, in turn: microseconds a step, over all of a training; and the part of
each that is spent in the doctor, which says more where others keep the machine busy."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, make_classification

import backproof as bp
from backproof.doctor import Doctor
from benchmarks.workers.common import own_version, report

WITH, WITHOUT = "with a doctor", "without"


class Timed(Doctor):
    """Knows how many seconds it has taken."""

    seconds = 0.0

    def meet(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        found = super().meet(*arguments)
        self.seconds += time.perf_counter() - start
        return found

    def look(self, *arguments: Any) -> Any:
        start = time.perf_counter()
        found = super().look(*arguments)
        self.seconds += time.perf_counter() - start
        return found


def data(name: str) -> tuple[Any, Any]:
    if name == "digits":
        x, t = load_digits(return_X_y=True)
        return x, t
    examples, features = map(int, name.split("x"))
    x, t = make_classification(examples, features, n_informative=30, n_classes=10, class_sep=1.5, random_state=0)
    return x, t


def training(job: dict[str, Any], x: Any, t: Any, doctor: Doctor | None) -> tuple[float, int]:
    """Seconds and steps."""
    held_out = len(x) // 4
    stack = [bp.Standardize.fit(x)]
    for width in job["hidden"]:
        stack += [bp.Linear(width), bp.ReLU(), bp.Dropout(0.3)]
    network = bp.Network([*stack, bp.Linear(int(t.max()) + 1), bp.Softmax()], bp.CrossEntropy(), dtype="float32")
    examples, validation = (x[held_out:], t[held_out:]), (x[:held_out], t[:held_out])
    options = {"epochs": job["epochs"], "batch_size": job["batch"], "seed": 0, "doctor": doctor}
    start = time.perf_counter()
    records = list(bp.train(network, *examples, validation=validation, **options))
    return time.perf_counter() - start, records[-1].step


def main() -> None:
    job: dict[str, Any] = json.loads(sys.argv[1])
    x, t = data(job["data"])
    x = x.astype(np.float32)
    training(job | {"epochs": 2}, x, t, Doctor())
    times: dict[str, list[float]] = {WITHOUT: [], WITH: []}
    shares, looks = [], []
    for i in range(job["pairs"]):
        for name in (WITHOUT, WITH) if i % 2 == 0 else (WITH, WITHOUT):
            doctor = Timed() if name == WITH else None
            seconds, steps = training(job, x, t, doctor)
            times[name].append(1e6 * seconds / steps)
            if doctor is not None:
                shares.append(doctor.seconds / seconds)
                looks.append(len(doctor.vitals))
    variants: dict[str, Any] = {name: {"blocks_us": blocks} for name, blocks in times.items()}
    variants[WITH] |= {"shares": shares, "looks": looks}
    report(variants, ["numpy", "numba", "scikit-learn"], **own_version())


if __name__ == "__main__":
    main()
