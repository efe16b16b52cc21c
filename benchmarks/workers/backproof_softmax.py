"""backproof's functions, and a plain copy by as many threads."""

from __future__ import annotations

import numpy as np

from backproof import functional as F
from backproof.kernels import team
from backproof.kernels.cpu import calls
from benchmarks.workers.common import own_version, report
from benchmarks.workers.softmax_common import given, job, measure


def main() -> None:
    asked = job()
    z, u, labels, out = given(asked["rows"], asked["classes"])
    h, log_h, in_place = F.softmax(z), F.log_softmax(z), z.copy()

    members = calls.threads()
    cuts = calls.stretches(z.shape[0], z.size, members)
    parts = len(cuts) - 1

    def copy_some(part: int) -> None:
        np.copyto(out[cuts[part] : cuts[part + 1]], z[cuts[part] : cuts[part + 1]])

    kernels = {
        "copy": lambda: team.share(copy_some, parts, min(members, parts)),
        "softmax": lambda: F.softmax(z, out=out),
        "log_softmax": lambda: F.log_softmax(z, out=out),
        "logsumexp": lambda: F.logsumexp(z),
        "softmax_vjp": lambda: F.softmax_vjp(h, u, out=out),
        "log_softmax_vjp": lambda: F.log_softmax_vjp(log_h, u, out=out),
        "cross_entropy_and_grad": lambda: F.cross_entropy_and_grad(z, labels),
        "cross_entropy_and_grad, in place": lambda: F.cross_entropy_and_grad(in_place, labels, out=in_place),
    }
    report(measure(kernels, asked["seconds"]), ["numpy", "numba"], **own_version())


if __name__ == "__main__":
    main()
