"""backproof's linear_cross_entropy_and_grad."""

from __future__ import annotations

from backproof.functional import linear_cross_entropy_and_grad
from benchmarks.workers.common import own_version, report
from benchmarks.workers.linear_common import given, job, measure


def main() -> None:
    asked = job()
    x, w, labels = given(asked["rows"], asked["features"], asked["classes"])
    room = (asked["max_mib"] << 20) or None

    def call() -> float:
        return float(linear_cross_entropy_and_grad(x, w, labels, max_bytes=room)[0])

    def warm() -> None:
        linear_cross_entropy_and_grad(x[:96], w[:4000], labels[:96] % 4000)

    variant = f"max_bytes {asked['max_mib']} MiB" if room else "max_bytes by itself"
    report({variant: measure(call, warm, asked["calls"], x.nbytes + w.nbytes)}, ["numpy", "numba"], **own_version())


if __name__ == "__main__":
    main()
