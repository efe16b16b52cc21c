"""How compiled work calls helper threads without Python between: a ticket for each, in a table of integers that all look at.

Waking a thread takes 0.1 ms and more, as long as many a kernel. So a helper that has been called once stays awake in compiled code
for the next call, until none comes for a moment or others have work for it. Nobody waits for a helper that does not come: what it
would have done is done by those who are there, and its ticket is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.kernels import team
from backproof.kernels.compiled import atomic_exchange_if, atomic_read, compiled, get, pause, pointer_at

# A ticket: nobody there; waiting; 2 g where call g is open to the helper, 2 g + 1 where it has begun. Behind it the address of the
# bell that calls it to other work, and what that shows until then. The rest of its cache line is the table's owner's.
NOBODY, WAITING = -1, 0
BELL, HEARD, OWN = 1, 2, 3
LINE = 8  # integers from one ticket to the next
PATIENCE = 20000  # pauses (of 10 to 40 ns) that a helper waits for the next call


def aligned(count: int, dtype: Any) -> Array:
    """Zeros from the start of a cache line on: numbers that one thread changes share no line with those that others wait for."""
    whole = np.zeros(count + 8, dtype=dtype)
    return whole[(-whole.ctypes.data & 63) // 8 :][:count]


def call_helpers(
    table: Array, first: int, members: int, known: dict[int, team.Helper], function: Callable[..., Any], *given: Any
) -> None:  # fmt: skip
    """Have those who wait at this table no more, or are new (a forked process has others), call function(member, 0, table, *given).

    known : who has been called to it.
    """
    for member, helper in enumerate(team.helpers(members - 1), start=1):
        place = first + LINE * member
        if table[place] == NOBODY or known.get(member) is not helper:
            table[place : place + OWN] = WAITING, helper.bell.ctypes.data, helper.bell[0] + 1
            known[member] = helper
            helper.give(function, member, 0, table, *given)


@compiled()
def open_tickets(table: Array, first: int, members: int, generation: int) -> None:
    """Call the helpers 1 to members - 1, whose tickets lie LINE apart, that of member 0 (who has none) at `first`."""
    for helper in range(1, members):
        atomic_exchange_if(table, first + LINE * helper, WAITING, 2 * generation)


@compiled()
def next_ticket(table: Array, place: int) -> int:
    """The helper's next call, begun; 0 if it is to go."""
    bell, patience = pointer_at(table, place + BELL, 1), PATIENCE
    while True:
        ticket = atomic_read(table, place)
        if ticket == NOBODY:
            return 0
        if ticket != WAITING:
            if atomic_exchange_if(table, place, ticket, ticket + 1):
                return ticket
        elif patience == 0 or atomic_read(bell, 0) != get(table, place + HEARD):
            if atomic_exchange_if(table, place, WAITING, NOBODY):
                return 0
        else:
            patience -= 1
            pause()


@compiled()
def give_back(table: Array, place: int, ticket: int) -> None:
    """The helper has done what the ticket was for."""
    atomic_exchange_if(table, place, ticket + 1, WAITING)


@compiled()
def close_tickets(table: Array, first: int, members: int, generation: int) -> None:
    """Withdraw those that nobody took, and wait for the others."""
    for helper in range(1, members):
        place = first + LINE * helper
        while not atomic_exchange_if(table, place, 2 * generation, WAITING) and atomic_read(table, place) > WAITING:
            pause()
