"""`backproof.check` beside `torch.autograd.gradcheck`: ten torch functions of 50 to 2000 inputs in float64.

    python -m benchmarks.gradient_check

Each tool and function in a process of its own, one thread, tools alternating; the median of several calls after a warm-up.
gradcheck
compares values (and repeats each backward); check does that, with error bars, and all its probes and special points.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

SIZES = [50, 100, 150, 200, 300, 500, 800, 1000, 1500, 2000]


def functions() -> list[tuple[str, object, tuple[int, ...]]]:
    import torch
    from torch.nn import functional as F

    return [
        ("tanh", torch.tanh, (50,)), ("softmax", lambda x: torch.softmax(x, -1), (10, 10)), ("gelu", F.gelu, (150,)),
        ("layer_norm", lambda x: F.layer_norm(x, (20,)), (10, 20)), ("sigmoid", torch.sigmoid, (300,)),
        ("log_softmax", lambda x: F.log_softmax(x, -1), (25, 20)), ("normalize", lambda x: F.normalize(x, dim=-1), (40, 20)),
        ("cumsum", lambda x: torch.cumsum(x, -1), (10, 100)), ("logsumexp", lambda x: torch.logsumexp(x, -1), (50, 30)),
        ("softplus", F.softplus, (2000,)),
    ]  # fmt: skip


def one(tool: str, index: int, repeats: int) -> None:
    """Time one function with one tool, and print the seconds."""
    import torch

    torch.set_num_threads(1)
    _, function, shape = functions()[index]
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if tool == "backproof":
        import backproof

        def call() -> int:
            report = backproof.check(function, x)
            assert report.ok, report
            return report.calls["forward"]
    else:
        given = x.clone().requires_grad_()

        def call() -> int:
            assert torch.autograd.gradcheck(function, (given,))
            return 2 * x.numel() + 1

    forwards = call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": statistics.median(seconds), "forward": forwards}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "INDEX"))
    options = parser.parse_args()
    if options.one:
        one(options.one[0], int(options.one[1]), options.repeats)
        return
    ratios = []
    print(f"{'function':<12}{'inputs':>7}{'backproof':>12}{'gradcheck':>12}{'ratio':>8}   forward calls")
    for index, (name, _, shape) in enumerate(functions()):
        found: dict[str, list[dict[str, float]]] = {"backproof": [], "torch": []}
        for _ in range(options.rounds):
            for tool, runs in found.items():
                module = "benchmarks.gradient_check"
                command = [sys.executable, "-m", module, "--one", tool, str(index), "--repeats", str(options.repeats)]
                runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        ours, theirs = (statistics.median(run["seconds"] for run in found[tool]) for tool in ("backproof", "torch"))
        ratios.append(theirs / ours)
        size = 1
        for s in shape:
            size *= s
        calls = f"{found['backproof'][0]['forward']:.0f} and {found['torch'][0]['forward']:.0f}"
        print(f"{name:<12}{size:>7}{ours * 1e3:>10.1f}ms{theirs * 1e3:>10.1f}ms{ratios[-1]:>8.2f}   {calls}")
    print(f"median ratio (gradcheck / backproof): {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
