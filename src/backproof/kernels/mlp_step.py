"""One training step of a multi-layer perceptron, compiled whole: forward, loss, backward, and the optimiser's update.

    forward     z_l = W_l x_l + b_l,  x_{l+1} = f_l(z_l)             panel by panel of examples
    loss        dz_L = dE/dz_L, in place of the scores
    backward    dx_l = W_l^T dz_l,  dz_{l-1} = dx_l * f'_{l-1}(z)    never for the input itself
    weights     dW_l = dz_l x_l^T,  db_l = dz_l 1                    by blocks of rows, over all examples; then Adam on the block

Panels are independent of each other up to the weights' gradients, and rows of weights are independent after that: so any number of
threads can take panels, wait for each other once, and take blocks of rows. Who takes what changes no bit of the result. A block of
rows is updated while its gradient is still in the cache; the whole gradient is never in memory unless it is asked for.

Numbers below the smallest normal one count as 0 meanwhile, as in other compilers of training steps: once most gradients vanish,
Adam's moments go through them for thousands of steps, and many processors take a hundred cycles for each operation on one.

Threads are not waited for: tickets.py.
"""

from __future__ import annotations

import math

from backproof.arrays import Array
from backproof.kernels.adam import adam_run, corrections
from backproof.kernels.compiled import (
    address,
    atomic_add,
    atomic_read,
    compiled,
    get,
    pause,
    pointer,
    pointer_at,
    put,
    start_of,
)  # fmt: skip
from backproof.kernels.panel_dropout import drop
from backproof.kernels.panel_losses import (
    BINARY,
    LABELS,
    PROBABILITIES,
    half_squared,
    sigmoid_binary,
    softmax_labels,
    softmax_probabilities,
)
from backproof.kernels.panels import flip_panel, forward_product, input_product, load_panel, row_sum, weight_product
from backproof.kernels.penalty import add_multiple, sum_of_squares
from backproof.kernels.pointwise import activate, multiply_slope
from backproof.kernels.rows import width_of
from backproof.kernels.subnormals import flush_subnormals, restore_control
from backproof.kernels.tickets import LINE, close_tickets, give_back, next_ticket, open_tickets

# The table of integers that describes a network. Numbers that threads change lie on cache lines of their own.
LAYERS, LOSS, PACK, PACK_SIZE, GRADIENT, GRADIENT_SIZE, LOSSES, SCRATCH, SCRATCH_SIZE, CHUNK, TEAM = range(11)
DOUBLES, WEIGHTS, WORK, DRAWS = range(11, 15)  # addresses
FIRST, SECOND, THIRD, PREVIOUS = range(15, 19)  # addresses: parameters; moments, or the gradient twice; the parameters before
EXAMPLES = 25  # that everything is prepared for
GIVEN_X, GIVEN_LABELS, GIVEN_TARGETS, ACTION, NUMBER = range(26, 31)  # a step's addresses and numbers, for the helpers
RATES, PENALTY, CLASSES, ADAM, DRAWN, DRAWN_SIZE = range(19, 25)  # places: of doubles, and of the numbers drawn for a panel
NEXT_PANELS, DONE_PANELS, NEXT_ROWS, BAD_LABEL, TICKETS = 32, 40, 48, 56, 64
ALL_GOOD, OTHER_SHAPE = -1, -2  # instead of the row of a bad label
MEMBERS = 16  # at most so many threads
FIRST_LAYER = TICKETS + LINE * MEMBERS
INPUTS, OUTPUTS, WEIGHT, BIAS, CODE, INPUT, FLIPPED, DELTA, SLOPE, ROWS, DROPPED, FIELDS = range(12)  # SLOPE, DROPPED, BIAS: or -1
GRADIENT_ONLY, UPDATE, UPDATE_AND_KEEP = range(3)  # what a step does; the last writes the parameters before to PREVIOUS


@compiled(inline=True)
def forward_backward(
    table: Array, doubles: Array, work: Array, p: Array, x: Array, labels: Array, targets: Array, weights: Array,
    draws: Array, examples: int, first: int, last: int, member: int,
) -> None:  # fmt: skip
    """Panels first <= . < last: activations, the loss of each panel, and dE/dz of every layer."""
    width = width_of(work)
    panels = (examples + width - 1) // width
    end = FIRST_LAYER + FIELDS * get(table, LAYERS)
    layer = FIRST_LAYER
    for panel in range(first, last):
        load_panel(
            x, examples, get(table, layer + INPUTS), panel, work, get(table, layer + INPUT), get(table, layer + FLIPPED), panels
        )
    for number in range(get(table, LAYERS)):
        layer = FIRST_LAYER + FIELDS * number
        following = layer + FIELDS
        inputs, outputs, code = get(table, layer + INPUTS), get(table, layer + OUTPUTS), get(table, layer + CODE)
        y0 = get(table, following + INPUT) if following < end else get(table, layer + DELTA)
        forward_product(p, get(table, layer + WEIGHT), outputs, inputs, work, get(table, layer + INPUT), work, y0, first, last)
        for panel in range(first, last):
            at, s0 = y0 + panel * outputs * width, get(table, layer + SLOPE)
            s0 += panel * outputs * width if s0 >= 0 else 0
            activate(code, get(doubles, number), p, get(table, layer + BIAS), work, at, s0, outputs)
            if get(table, layer + DROPPED) >= 0:
                start, u0 = get(table, layer + DROPPED) * examples, get(table, DRAWN) + member * get(table, DRAWN_SIZE)
                drop(get(doubles, get(table, RATES) + number), draws, start, examples, outputs, panel, u0, work, at, s0)
            if following < end:
                flip_panel(work, y0, outputs, panel, get(table, following + FLIPPED), panels)

    layer = end - FIELDS
    outputs, e0, f0 = get(table, layer + OUTPUTS), get(table, SCRATCH) + member * get(table, SCRATCH_SIZE), get(table, CLASSES)
    for panel in range(first, last):
        z0, n0 = get(table, layer + DELTA) + panel * outputs * width, panel * width
        count = min(width, examples - n0)
        if get(table, LOSS) == LABELS:
            value = math.nan
            good = True
            for n in range(n0, n0 + count):
                if get(labels, n) < 0 or get(labels, n) >= outputs:
                    good = False
                    put(table, BAD_LABEL, n)
            if good:
                value = softmax_labels(work, z0, outputs, labels, n0, count, weights, doubles, e0, f0)
        elif get(table, LOSS) == PROBABILITIES:
            value = softmax_probabilities(work, z0, outputs, targets, n0, count, weights, doubles, e0, f0)
        elif get(table, LOSS) == BINARY:
            value = sigmoid_binary(work, z0, outputs, targets, n0, count, weights)
        else:
            value = half_squared(work, z0, outputs, targets, n0, count, weights)
        put(doubles, get(table, LOSSES) + panel, value)

    for number in range(get(table, LAYERS) - 1, 0, -1):
        layer = FIRST_LAYER + FIELDS * number
        before = layer - FIELDS
        inputs, outputs, code = get(table, layer + INPUTS), get(table, layer + OUTPUTS), get(table, before + CODE)
        x0, d0, s0 = get(table, layer + INPUT), get(table, before + DELTA), get(table, before + SLOPE)
        pack0 = get(table, PACK) + member * get(table, PACK_SIZE)
        dz0, accumulate = get(table, layer + DELTA), inputs < 0
        input_product(p, get(table, layer + WEIGHT), outputs, inputs, work, dz0, work, d0, first, last, pack0, accumulate)
        for panel in range(first, last):
            at = panel * inputs * width
            multiply_slope(code, get(doubles, number - 1), work, x0 + at, s0 + at if s0 >= 0 else s0, d0 + at, inputs)


@compiled()
def part_of_step(table: Array, like: Array, member: int) -> float:
    """What each thread does of a step that the table describes: panels, then rows, until none is left. The loss."""
    x, labels, targets = (
        pointer_at(table, GIVEN_X, like),
        pointer_at(table, GIVEN_LABELS, 1),
        pointer_at(table, GIVEN_TARGETS, like),
    )
    doubles, weights = pointer_at(table, DOUBLES, 0.0), pointer_at(table, WEIGHTS, 0.0)
    work, p = pointer_at(table, WORK, like), pointer_at(table, FIRST, like)
    m, v, before = pointer_at(table, SECOND, like), pointer_at(table, THIRD, like), pointer_at(table, PREVIOUS, like)
    l2, end, action = get(doubles, get(table, PENALTY)), FIRST_LAYER + FIELDS * get(table, LAYERS), get(table, ACTION)
    chunk, examples, width = get(table, CHUNK), get(table, EXAMPLES), width_of(like)
    panels = (examples + width - 1) // width
    chunks = (panels + chunk - 1) // chunk
    control = flush_subnormals()

    # Take panels until none is left; wait for those that others hold.
    turn = atomic_add(table, NEXT_PANELS, 1)
    while turn < chunks:
        last = min(panels, (turn + 1) * chunk)
        forward_backward(
            table, doubles, work, p, x, labels, targets, weights, pointer_at(table, DRAWS, x), examples, turn * chunk, last, member
        )  # fmt: skip
        atomic_add(table, DONE_PANELS, 1)
        turn = atomic_add(table, NEXT_PANELS, 1)
    while atomic_read(table, DONE_PANELS) < chunks:
        pause()
    loss = get(doubles, get(table, PENALTY) + 1)
    for panel in range(panels):
        loss += get(doubles, get(table, LOSSES) + panel)

    # Take blocks of rows until none is left: their gradient at g0, that of their biases behind it, and what is done with both.
    adam = get(table, ADAM)
    b1, b2, eps, decay = get(doubles, adam), get(doubles, adam + 1), get(doubles, adam + 2), get(doubles, adam + 3)
    learning_rate = get(doubles, adam + 4)
    rate, root = corrections(learning_rate, b1, b2, get(table, NUMBER))
    g0 = get(table, GRADIENT) + member * get(table, GRADIENT_SIZE)
    turn = atomic_add(table, NEXT_ROWS, 1)
    passed = 0
    for layer in range(FIRST_LAYER, end if math.isfinite(loss) else 0, FIELDS):
        wide, outputs, block = get(table, layer + INPUTS), get(table, layer + OUTPUTS), get(table, layer + ROWS)
        d0, w0, b0 = get(table, layer + DELTA), get(table, layer + WEIGHT), get(table, layer + BIAS)
        blocks = (outputs + block - 1) // block
        while turn < passed + blocks:
            o = (turn - passed) * block
            rows = min(block, outputs - o)
            count = rows * wide
            weight_product(work, d0, outputs, o, rows, get(table, layer + FLIPPED), wide, panels, g0)
            if l2 != 0.0:
                add_multiple(work, g0, l2, p, w0 + o * wide, count)
            if b0 >= 0:
                for r in range(rows):
                    put(work, g0 + count + r, row_sum(work, d0 + (o + r) * width, outputs * width, panels))
            for part in range(2 if b0 >= 0 else 1):
                to, of, size = (w0 + o * wide, g0, count) if part == 0 else (b0 + o, g0 + count, rows)
                if action == UPDATE_AND_KEEP:
                    for j in range(to, to + size):
                        put(before, j, get(p, j))
                if action != GRADIENT_ONLY:
                    adam_run(p, to, m, v, work, of, size, rate, b1, b2, eps, root, learning_rate * decay)
                else:
                    for j in range(size):
                        put(m, to + j, get(work, of + j))
            turn = atomic_add(table, NEXT_ROWS, 1)
        passed += blocks

    restore_control(control)
    return loss


def step(
    member: int, generation: int, facts: int, inputs: Array, labels: Array, targets: int, action: int, learning_rate: float,
    number: int,
) -> float:  # fmt: skip
    """A step as its leader does it (member 0), the result being the loss; or steps one after the other, as a helper does them.

    `facts` and `targets` are addresses (each array among the arguments costs a small step some hundredths of its time).

    With an update, m and v are Adam's moments; without, m receives the gradient and p stays. Unless the loss is finite nothing
    is changed. Where a batch has another shape than the table is prepared for, it is nan. A helper learns all from the table.
    """
    table, given, place, ticket = pointer(facts, 1), start_of(inputs), TICKETS + LINE * member, 0
    if member == 0:
        put(table, NEXT_PANELS, 0)
        put(table, DONE_PANELS, 0)
        put(table, NEXT_ROWS, 0)
        put(table, BAD_LABEL, ALL_GOOD)
        if len(inputs) != get(table, EXAMPLES) or inputs.shape[1] != get(table, FIRST_LAYER + INPUTS):
            put(table, BAD_LABEL, OTHER_SHAPE)
        if len(labels) != len(inputs) and get(table, LOSS) == LABELS:
            put(table, BAD_LABEL, OTHER_SHAPE)
        if get(table, BAD_LABEL) == OTHER_SHAPE:
            return math.nan
        put(table, GIVEN_X, address(given))
        put(table, GIVEN_LABELS, address(start_of(labels)))
        put(table, GIVEN_TARGETS, targets)
        put(table, ACTION, action)
        put(table, NUMBER, number)
        doubles, p = pointer_at(table, DOUBLES, 0.0), pointer_at(table, FIRST, given)
        put(doubles, get(table, ADAM) + 4, learning_rate)
        l2 = get(doubles, get(table, PENALTY))
        if l2 != 0.0:
            squares = 0.0
            for layer in range(FIRST_LAYER, FIRST_LAYER + FIELDS * get(table, LAYERS), FIELDS):
                squares += sum_of_squares(p, get(table, layer + WEIGHT), get(table, layer + INPUTS) * get(table, layer + OUTPUTS))
            put(doubles, get(table, PENALTY) + 1, 0.5 * l2 * squares)
        open_tickets(table, TICKETS, get(table, TEAM), generation)
    else:
        ticket = next_ticket(table, place)
    while True:
        if member > 0 and ticket == 0:
            return 0.0
        loss = part_of_step(table, given, member)
        if member == 0:
            break
        give_back(table, place, ticket)
        ticket = next_ticket(table, place)
    close_tickets(table, TICKETS, get(table, TEAM), generation)
    return loss
