"""Where everything of a compiled training step lies: the table that `mlp_step` reads, and the arrays that it points into."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from backproof.kernels import mlp_step as plan
from backproof.kernels import panel_losses, pointwise, tickets
from backproof.kernels.panels import pack_size
from backproof.kernels.rows import panel_width
from backproof.kernels.tiles import TILE

BLOCK_ROWS = 24  # rows of weights whose gradient is formed and used at a time ...
BLOCK_NUMBERS = 65536  # ... or fewer, if their gradient would outgrow the cache


class Perceptron(NamedTuple):
    """What a network is to the step. Everything but the sizes has one entry a layer; base and own have one a class."""

    sizes: tuple[int, ...]  # from input to scores
    biases: tuple[bool, ...]
    codes: tuple[int, ...]  # of the activations, the scores' being the identity
    leaks: tuple[float, ...]
    rates: tuple[float, ...]  # of dropout behind the activation
    loss: int
    base: tuple[float, ...]  # targets are t_i = base_i + own_i q_i, see panel_losses
    own: tuple[float, ...]
    l2: float
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """How many parameters there are."""
        return sum(i * o + o * b for i, o, b in zip(self.sizes, self.sizes[1:], self.biases, strict=False))

    @property
    def dropped(self) -> int:
        """How many numbers are drawn for one example."""
        return sum(out for out, rate in zip(self.sizes[1:], self.rates, strict=True) if rate)


class Workspace:
    """The table and the arrays for batches of up to so many panels."""

    def __init__(self, net: Perceptron, panels: int, threads: int) -> None:
        self.panels, self.width = panels, panel_width(net.dtype.itemsize)
        self.table = tickets.aligned(plan.FIRST_LAYER + plan.FIELDS * len(net.codes), np.int64)
        for member in range(plan.MEMBERS):
            self.table[plan.TICKETS + tickets.LINE * member] = tickets.NOBODY
        self._end = 0
        largest_block = self._place_layers(net)
        self._place_for_threads(net, largest_block, threads)
        width, layers, classes = self.width, len(net.codes), net.sizes[-1]
        numbers = np.zeros(self._end + width * width + width, dtype=net.dtype)  # flipping reads up to a square beyond
        skip = -numbers.ctypes.data % (width * net.dtype.itemsize) // net.dtype.itemsize
        self.numbers = numbers[skip:]
        self.drawn = np.zeros(panels * width * net.dropped, dtype=net.dtype)
        table, scratch = self.table, (classes + panel_losses.ROWS) * width
        table[plan.LAYERS], table[plan.LOSS], table[plan.RATES] = layers, net.loss, layers
        table[plan.PENALTY], table[plan.CLASSES] = 2 * layers, 2 * layers + 2
        table[plan.ADAM] = 2 * layers + 2 + 2 * classes
        table[plan.LOSSES] = table[plan.ADAM] + 5
        table[plan.SCRATCH], table[plan.SCRATCH_SIZE] = table[plan.LOSSES] + panels, scratch
        facts = [*net.leaks, *net.rates, net.l2, 0.0, *net.base, *net.own, *[0.0] * 5]  # at last Adam's four and its rate
        self.doubles = tickets.aligned(len(facts) + panels + threads * scratch, np.float64)
        self.doubles[: len(facts)] = facts
        for place, array in ((plan.DOUBLES, self.doubles), (plan.WORK, self.numbers), (plan.DRAWS, self.drawn)):
            table[place] = array.ctypes.data

    def _take(self, count: int) -> int:
        start, self._end = self._end, self._end + -(-count // self.width) * self.width
        return start

    def _place_layers(self, net: Perceptron) -> int:
        """Places of parameters and activations; the numbers of the largest block of weight rows."""
        parameters, dropped, block_size = 0, 0, 0
        for number, (inputs, out) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
            field = self.table[plan.FIRST_LAYER + plan.FIELDS * number :][: plan.FIELDS]
            code, rate = net.codes[number], net.rates[number]
            padded = -(-inputs // self.width) * self.width
            rows = max(TILE, min(BLOCK_ROWS, BLOCK_NUMBERS // padded // TILE * TILE))
            field[plan.INPUTS], field[plan.OUTPUTS], field[plan.CODE], field[plan.ROWS] = inputs, out, code, rows
            field[plan.WEIGHT], field[plan.BIAS] = parameters, parameters + inputs * out if net.biases[number] else -1
            parameters += inputs * out + out * net.biases[number]
            field[plan.INPUT] = self._take(self.panels * inputs * self.width)
            field[plan.FLIPPED] = self._take(self.panels * padded * self.width)
            field[plan.DELTA] = self._take(self.panels * out * self.width)
            field[plan.SLOPE] = self._take(self.panels * out * self.width) if code > pointwise.LEAKY_RELU or rate else -1
            field[plan.DROPPED] = dropped if rate else -1
            dropped += out if rate else 0
            block_size = max(block_size, rows * (padded + 1))
        return -(-block_size // 64) * 64

    def _place_for_threads(self, net: Perceptron, block: int, threads: int) -> None:
        """What each thread works in: columns of weights side by side, a block's gradient, a panel of drawn numbers."""
        drawn = max((out for out, rate in zip(net.sizes[1:], net.rates, strict=True) if rate), default=0) * self.width
        for place, size_place, size in (
            (plan.PACK, plan.PACK_SIZE, pack_size(self.width)),
            (plan.GRADIENT, plan.GRADIENT_SIZE, block),
            (plan.DRAWN, plan.DRAWN_SIZE, drawn),
        ):
            self.table[place], self.table[size_place] = self._take(threads * size), size
