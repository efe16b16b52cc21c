"""One classifier's fits on one data set: seconds of each, after a first one that loads and compiles, and 5-fold accuracies.

The job: {"library", "data", "batch", "epochs", "hidden", "fits", "folds"}. Every library gets the same architecture, epochs, batch,
Adam with the same rate, no penalty, no early stopping, and standardised features in double precision.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib import metadata
from typing import Any

import numpy as np
import sklearn.datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

import backproof

LEARNING_RATE = 1e-3


def data(name: str) -> tuple[Any, Any]:
    if name != "synthetic":
        return getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return sklearn.datasets.make_classification(
        20_000, 100, n_informative=30, n_classes=10, n_clusters_per_class=2, class_sep=1.5, random_state=0
    )


def classifier(job: dict[str, Any], seed: int) -> Any:
    hidden = tuple(job["hidden"])
    if job["library"] == "scikit-learn":
        return MLPClassifier(
            hidden, solver="adam", alpha=0.0, batch_size=job["batch"], learning_rate_init=LEARNING_RATE, max_iter=job["epochs"],
            tol=0.0, n_iter_no_change=job["epochs"] + 1, random_state=seed,
        )  # fmt: skip
    compiled = {"backproof": None, "backproof, compiled": True, "backproof, layers": False}[job["library"]]
    return backproof.SoftmaxClassifier(
        hidden, optimizer="adam", learning_rate=LEARNING_RATE, batch_size=job["batch"], epochs=job["epochs"], compiled=compiled,
        random_state=seed,
    )  # fmt: skip


def main() -> None:
    job: dict[str, Any] = json.loads(sys.argv[1])
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = data(job["data"])
    x = StandardScaler().fit_transform(x).astype(job["dtype"])
    times = []
    for seed in range(job["fits"] + 1):
        start = time.perf_counter()
        classifier(job, seed).fit(x, y)
        times.append(1e6 * (time.perf_counter() - start))
    scores = []
    if job["folds"]:
        splits = RepeatedStratifiedKFold(n_splits=5, n_repeats=job["folds"], random_state=0)
        for seed, (train, test) in enumerate(splits.split(x, y)):
            scores.append(classifier(job, seed).fit(x[train], y[train]).score(x[test], y[test]))
    variant = {"blocks_us": times[1:], "first_us": times[0], "accuracies": scores}
    versions = {name: metadata.version(name) for name in ("scikit-learn", "numpy", "numba")}
    print(json.dumps({"variants": {"fit": variant}, "versions": versions}, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
