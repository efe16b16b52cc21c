"""Cross-entropy with labels as Python calls it: rows for which everything has been settled, or few that are settled here.

For few numbers each step of Python's costs as much as all the arithmetic: labels are checked and counted, the mean's divisor is
formed, and the losses are added, in the same call.
"""

from __future__ import annotations

from typing import Any

from backproof.kernels.compiled import compiled, get, pointer, put
from backproof.kernels.cpu import sweeps
from backproof.kernels.cpu.nearest_sum import nearest_sum
from backproof.kernels.dispatch import FARTHEST

_rows = compiled(inline=True)(sweeps.gradients)

NO_LABEL = -FARTHEST  # what is ignored where nothing is
VALUE, COUNTED, FACTOR, LOSSES = range(4)  # where the answer has them; after the losses come the parts of their sum
WRONG = -1.0  # no sum of losses is negative


def labelled_rows(
    like: Any, x_address: int, xi: int, xc: int, out_address: int, oi: int, oc: int, labels_address: int,
    weights_address: int, weights_step: int, ignored: int, losses_address: int, n: int, answer_address: int, loss_address: int,
    first: int, last: int, past: bool, mean: bool, added: bool, work: int,
) -> None:  # fmt: skip
    """`sweeps.gradients`; with an address for an answer, all rows there are: it takes the place of weights and losses.

    `mean`: its factor is that of the gradients; `added`: the reduced loss is wanted, with an address also as a number like x. It is
    WRONG, and nothing else has been done, if a label is neither a class nor ignored. Counted are the labels that are classes. From
    last to last: labels alone.
    """
    counted = 0
    labels, answer = pointer(labels_address, 1), pointer(answer_address, 1.0)
    if answer_address != 0:
        for r in range(last):
            label = get(labels, r)
            if label != ignored or ignored == NO_LABEL:
                if label < 0 or label >= n:
                    put(answer, VALUE, WRONG)
                    return
                counted += 1
        put(answer, VALUE, 0.0)
        put(answer, COUNTED, counted)
        put(answer, FACTOR, 1.0 / max(counted, 1))  # over nothing there is nothing to divide
        weights_address = answer_address + 8 * FACTOR if mean else 0
        losses_address = answer_address + 8 * LOSSES
    if first == last:
        return
    _rows(
        like, x_address, xi, xc, out_address, oi, oc, labels_address, weights_address, weights_step, ignored,
        losses_address, n, first, last, past, work,
    )  # fmt: skip
    if added:
        total = nearest_sum(pointer(losses_address, 1.0), last, pointer(losses_address + 8 * last, 1.0))
        total = total / max(counted, 1) if mean else total
        put(answer, VALUE, total)
        if loss_address != 0:
            put(pointer(loss_address, like), 0, total)
