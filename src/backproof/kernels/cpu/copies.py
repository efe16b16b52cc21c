"""Rows with strides copied next to each other, and back. Row number r begins as sweeps.py has it."""

from __future__ import annotations

from typing import Any

from backproof.kernels.compiled import compiled, get, put
from backproof.kernels.cpu.panels import offset_of


@compiled()
def gather(
    like: Any, x: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int, to: Any
) -> None:
    begins = offset_of(first, inner, outer_step, inner_step)
    if first % inner + count <= inner:
        for i in range(n):
            for r in range(count):
                put(to, r * n + i, get(x, begins + r * inner_step + i * step))
    else:
        for r in range(count):
            begin = offset_of(first + r, inner, outer_step, inner_step)
            for i in range(n):
                put(to, r * n + i, get(x, begin + i * step))


@compiled()
def scatter(
    like: Any, made: Any, out: Any, first: int, count: int, inner: int, outer_step: int, inner_step: int, step: int, n: int
) -> None:
    begins = offset_of(first, inner, outer_step, inner_step)
    if first % inner + count <= inner:
        for i in range(n):
            for r in range(count):
                put(out, begins + r * inner_step + i * step, get(made, r * n + i))
    else:
        for r in range(count):
            begin = offset_of(first + r, inner, outer_step, inner_step)
            for i in range(n):
                put(out, begin + i * step, get(made, r * n + i))
