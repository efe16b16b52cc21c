"""One kernel over many rows by several threads: they take parts of the rows, each the next one when it is free.

More parts than threads: of two processors that look alike one may be half as fast, or busy with something else.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from backproof.arrays import Array
from backproof.kernels import team, tickets
from backproof.kernels.compiled import address_taken, atomic_add, element, entry, get, intrinsic, pointer, put, start_of
from backproof.kernels.tickets import LINE, OWN, call_helpers, close_tickets, give_back, next_ticket, open_tickets

MEMBERS = 16  # at most so many threads
# A job: the next part to be taken; how many there are; addresses of the function that takes parts, of the kernel, of the rows at
# which the parts begin and the last one ends, of each member's work space; then the kernel's own arguments.
NEXT, PARTS, TAKING, KERNEL, CUTS, WORKS, ARGUMENTS = 0, 1, 2, 3, 4, 5, 8
KINDS = {"i": types.int64, "b": types.boolean, "d": types.float64, "f": types.int64, "l": types.int64, "w": types.int64}


def signature(like: Any, letters: str) -> Any:
    """A kernel's: a number of its dtype, then i: integer, b: boolean, d: double; f, l: the part's first and last row, w: work."""
    return types.none(like, *(KINDS[letter] for letter in letters))


@intrinsic
def call_kernel(typingctx: Any, letters: Any, like: Any, job: Any, first: Any, last: Any, work: Any) -> Any:
    """Call the job's kernel, which has such a signature, by Numba's own calling convention."""
    if not isinstance(letters, types.StringLiteral):
        return None
    described = signature(like, letters.literal_value)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, number, job, *given = args
        part, values, place = dict(zip("flw", given, strict=True)), [number], ARGUMENTS
        for letter in letters.literal_value:
            value = part.get(letter)
            if value is None:
                value, place = builder.load(element(builder, job, ir.Constant(ir.IntType(64), place))), place + 1
            if letter == "b":
                value = builder.trunc(value, ir.IntType(1))
            elif letter == "d":
                value = builder.bitcast(value, ir.DoubleType())
            values.append(value)
        convention = context.call_conv
        function = convention.get_function_type(types.none, described.args)
        kernel = builder.inttoptr(builder.load(element(builder, job, ir.Constant(ir.IntType(64), KERNEL))), function.as_pointer())
        result, error = (builder.alloca(kind.pointee) for kind in function.args[:2])
        builder.call(kernel, [result, error, *convention._get_arg_packer(described.args).as_arguments(builder, values)])
        return context.get_dummy_value()

    number = types.int64
    return types.void(letters, like, job, number, number, number), codegen


@intrinsic
def take(typingctx: Any, function: Any, job: Any, member: Any) -> Any:
    """Call the compiled function at an address with two numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.VoidType(), [number, number])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@cache
def taking(dtype: np.dtype[Any], letters: str) -> int:
    """The address of the function that takes parts of a job whose kernel has this signature."""
    like = dtype.type(0)

    def take_parts(job_address: int, member: int) -> None:
        job = pointer(job_address, 1)
        cuts, work = pointer(get(job, CUTS), 1), get(pointer(get(job, WORKS), 1), member)
        part = atomic_add(job, NEXT, 1)
        while part < get(job, PARTS):
            call_kernel(letters, like, job, get(cuts, part), get(cuts, part + 1), work)
            part = atomic_add(job, NEXT, 1)

    return address_taken(types.void(types.int64, types.int64), take_parts)


def _serve(member: int, generation: int, facts: Array, job: int, members: int) -> None:
    """A job as its leader does it (member 0); or jobs one after the other, as a helper does them."""
    table, place = start_of(facts), LINE * member
    if member == 0:
        for helper in range(1, members):
            put(table, LINE * helper + OWN, job)
        open_tickets(table, 0, members, generation)
        take(get(pointer(job, 1), TAKING), job, member)
        close_tickets(table, 0, members, generation)
        return
    ticket = next_ticket(table, place)
    while ticket != 0:
        mine = get(table, place + OWN)
        take(get(pointer(mine, 1), TAKING), mine, member)
        give_back(table, place, ticket)
        ticket = next_ticket(table, place)


@cache
def _serving() -> Any:
    number = types.int64
    return entry(types.none(number, number, number[::1], number, number), "the sharing of work by threads")(_serve)


_lock = threading.Lock()  # one call at a time has the helpers; others work alone meanwhile
_table = tickets.aligned(LINE * MEMBERS, np.int64)
_table[...] = tickets.NOBODY
_helped: dict[int, team.Helper] = {}
_generation = 0


def share(kernel: int, function: int, arguments: list[int], cuts: list[int], works: list[int]) -> None:
    """The kernel at an address over the rows from cut to cut, by as many threads as there are work spaces."""
    global _generation
    members = min(len(works), MEMBERS)
    job = np.array([0, len(cuts) - 1, function, kernel, 0, 0, 0, 0, *arguments, *works, *cuts], dtype=np.int64)
    start = job.ctypes.data
    job[WORKS] = start + 8 * (ARGUMENTS + len(arguments))
    job[CUTS] = job[WORKS] + 8 * len(works)
    if not _lock.acquire(blocking=False):
        _serving()(0, 0, _table, start, 1)
        return
    try:
        _generation += 1
        call_helpers(_table, 0, members, _helped, _serving(), 0, 0)
        _serving()(0, _generation, _table, start, members)
    finally:
        _lock.release()
