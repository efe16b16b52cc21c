"""A torch training script with this library's cross-entropy in torch's place: the same losses, in less time.

    python examples/train_torch.py                  # with both, alternating, and what a step takes with each

A model of the next word: an embedding, a linear layer to all words, Adam, on a made-up text in which every word has a few likely
successors. What differs between the two runs is one function; in a script of one's own it is one import:

    from backproof.torch import cross_entropy       # instead of: from torch.nn.functional import cross_entropy
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

import backproof.torch

LOSSES = {"torch": torch.nn.functional.cross_entropy, "backproof": backproof.torch.cross_entropy}


def text(words: int, length: int) -> torch.Tensor:
    """A walk in which each word is followed by one of four, the same four every time."""
    generator = torch.Generator().manual_seed(0)
    successors = torch.randint(words, (words, 4), generator=generator).tolist()
    choices = torch.randint(4, (length,), generator=generator).tolist()
    walk = [0]
    for choice in choices:
        walk.append(successors[walk[-1]][choice])
    return torch.tensor(walk)


def training(cross_entropy: Callable[..., torch.Tensor], words: int, batch: int) -> Iterator[tuple[float, float]]:
    """Loss and seconds of one step after another."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(words, 64), torch.nn.Linear(64, words))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    walk = text(words, 64 * batch)
    while True:
        for x, y in zip(walk[:-1].split(batch), walk[1:].split(batch), strict=True):
            start = time.perf_counter()
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item(), time.perf_counter() - start


def compare(words: int, batch: int, steps: int) -> dict[str, list[tuple[float, float]]]:
    """Steps with either loss in turn, so that whatever else the machine does meets both."""
    runs = {name: training(function, words, batch) for name, function in LOSSES.items()}
    records: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(steps):
        for name, run in runs.items():
            records[name].append(next(run))
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    records = compare(asked.words, asked.batch, asked.steps)
    print(f"{'step':>4}" + "".join(f"{name:>14}" for name in records))
    for step in range(0, asked.steps, max(asked.steps // 5, 1)):
        print(f"{step:>4}" + "".join(f"{record[step][0]:>14.7f}" for record in records.values()))
    for name, record in records.items():
        # the first step with ours compiles its kernels, once a machine
        print(f"{name}: {1e3 * statistics.median(seconds for _, seconds in record[1:]):.1f} ms a step, the median")


if __name__ == "__main__":
    main()
