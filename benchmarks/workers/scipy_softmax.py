"""SciPy's functions; it has no gradients."""

from __future__ import annotations

from scipy.special import log_softmax, logsumexp, softmax

from benchmarks.workers.common import report
from benchmarks.workers.softmax_common import given, job, measure


def main() -> None:
    asked = job()
    z = given(asked["rows"], asked["classes"]).logits
    kernels = {
        "softmax": lambda: softmax(z, axis=1),
        "log_softmax": lambda: log_softmax(z, axis=1),
        "logsumexp": lambda: logsumexp(z, axis=1),
    }
    report(measure(kernels, asked["seconds"]), ["scipy", "numpy"])


if __name__ == "__main__":
    main()
