"""One library's kernels on a GPU: its own times, between two events, of calls in a queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.workers.common import own_version, report
from benchmarks.workers.softmax_common import job

Kernels = dict[str, Callable[[], Any]]
BLOCKS, LEAST = 5, 2
WAIT = 1_000_000  # cycles for which the GPU waits while a queue fills


def given(shape: list[int], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, an upstream gradient, labels; the classes are along axis 1."""
    torch.manual_seed(0)
    z, u = (torch.randn(shape, device="cuda").to(dtype) for _ in range(2))
    return z, u, torch.randint(0, shape[1], shape[:1] + shape[2:], device="cuda")


def backward_of(loss: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor) -> Callable[[], Any]:
    leaf = z.clone().requires_grad_()

    def step() -> None:
        leaf.grad = None
        loss(leaf).backward()  # type: ignore[no-untyped-call]

    return step


def of_backproof(z: Any, u: Any, t: Any) -> Kernels:
    import backproof.torch as ours
    from backproof.kernels import dispatch, triton

    h, log_h, out = dispatch.softmax(z, 1), dispatch.log_softmax(z, 1), torch.empty_like(z)
    count, logits = torch.tensor(t.numel(), device="cuda"), z.clone()
    return {
        "softmax": lambda: dispatch.softmax(z, 1, out),
        "log_softmax": lambda: dispatch.log_softmax(z, 1, out),
        "softmax_vjp": lambda: dispatch.softmax_vjp(h, u, 1, out),
        "log_softmax_vjp": lambda: dispatch.log_softmax_vjp(log_h, u, 1, out),
        "cross_entropy_and_grad": backward_of(lambda leaf: ours.cross_entropy(leaf, t), z),
        "cross_entropy_and_grad, in place": lambda: triton.labelled(logits, 1, t, None, None, count, -100, 0.0, logits).sum(),
    }


def of_torch(z: Any, u: Any, t: Any) -> Kernels:
    h, log_h, out, dtype = torch.softmax(z, 1), torch.log_softmax(z, 1), torch.empty_like(z), z.dtype
    entropy = torch.nn.functional.cross_entropy
    compiled = torch.compile(lambda x: torch.softmax(x, 1), dynamic=False)
    compiled_entropy = torch.compile(entropy, dynamic=False)
    compiled_vjp = torch.compile(lambda h, u: torch._softmax_backward_data(u, h, 1, dtype), dynamic=False)
    return {
        "copy": lambda: out.copy_(z),
        "softmax": lambda: torch.softmax(z, 1, out=out),
        "softmax, compiled": lambda: compiled(z),
        "log_softmax": lambda: torch.log_softmax(z, 1, out=out),
        "softmax_vjp": lambda: torch._softmax_backward_data(u, h, 1, dtype, grad_input=out),
        "softmax_vjp, compiled": lambda: compiled_vjp(h, u),
        "log_softmax_vjp": lambda: torch.ops.aten._log_softmax_backward_data.out(u, log_h, 1, dtype, out=out),
        "cross_entropy_and_grad": backward_of(lambda leaf: entropy(leaf, t), z),
        "cross_entropy_and_grad, compiled": backward_of(lambda leaf: compiled_entropy(leaf, t), z),
    }


def of_liger(z: Any, u: Any, t: Any) -> Kernels:
    """Its cross-entropy puts the gradient in the logits' place, and its softmax is for up to 65536 classes of contiguous rows."""
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction
    from liger_kernel.ops.softmax import LigerSoftmaxFunction

    if z.ndim > 2:
        raise SystemExit("rows of classes only")
    leaf = z.clone().requires_grad_()

    def entropy() -> None:
        leaf.grad = None
        LigerCrossEntropyFunction.apply(leaf, t, None, -100, 0.0, 0.0, "mean", None, False)[0].backward()

    kernels: Kernels = {"cross_entropy_and_grad, in place": entropy}
    if z.shape[1] <= 65536:
        kernels["softmax"] = lambda: LigerSoftmaxFunction.apply(z)
    return kernels


def measure(kernels: Kernels, seconds: float) -> dict[str, Any]:
    """Microseconds a call, of BLOCKS queues."""
    found = {}
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for name, kernel in kernels.items():
        calls = LEAST
        times: list[float] = []
        for block in range(-1, BLOCKS):
            for _ in range(2 if block < 0 else 0):
                kernel()
            torch.cuda.synchronize()
            torch.cuda._sleep(WAIT)
            start.record()
            for _ in range(calls):
                kernel()
            end.record()
            end.synchronize()
            each = 1e3 * start.elapsed_time(end) / calls
            if block < 0:
                calls = max(LEAST, min(20, int(1e6 * seconds / BLOCKS / each)))
            else:
                times.append(each)
        found[name] = {"blocks_us": times}
    return found


def main() -> None:
    asked = job()
    arrays = given(asked["shape"], getattr(torch, asked["dtype"]))
    kernels = {"backproof": of_backproof, "torch": of_torch, "liger": of_liger}[asked["library"]](*arrays)
    libraries = {"backproof": ["torch", "triton"], "torch": ["torch", "triton"], "liger": ["liger-kernel"]}[asked["library"]]
    report(measure(kernels, asked["seconds"]), libraries, **own_version())


if __name__ == "__main__":
    main()
