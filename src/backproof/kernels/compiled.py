"""Numba with types: the decorator of every compiled function here, and the few atomic operations that threads need.

Loops are compiled with the fast-math flags `contract` and `nsz` only: a multiplication and an addition may become one fused
operation and the sign of zero is free, but nan and infinity keep their meaning and sums keep their order.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def compiled(*, inline: bool = False) -> Callable[[F], F]:
    """Compile a part of an entry point.

    The compiler works through a function again with each one that calls it, however deep: a part with one caller may be `inline`.
    """
    options: dict[str, Any] = {"inline": "always" if inline else "never", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return cast("Callable[[F], F]", njit(**OPTIONS, **options))


def entry(signature: Any = None) -> Callable[[F], F]:
    """Compile what Python calls and keep it on disk: for the given types at once, or for those it is first called with.

    Numba renews what it kept when the function's own file changes. What the function calls lies in other files of this folder and
    of those in it, so the stamp of all of them takes that one's place.
    """

    def compile_(function: F) -> F:
        dispatcher: Any = njit(**OPTIONS, cache=True)(function)
        files = [file.stat() for file in sorted(Path(__file__).parent.rglob("*.py"))]
        with suppress(AttributeError):  # not part of Numba's interface: without it, its own stamp stays
            dispatcher._cache._cache_file._source_stamp = tuple((file.st_mtime_ns, file.st_size) for file in files)
        if signature is not None:
            dispatcher.compile(signature)
            dispatcher.disable_compile()
        return cast("F", dispatcher)

    return compile_


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose body is written in LLVM's language."""
    return cast("Callable[..., Any]", numba_intrinsic(function))


def element(builder: Any, pointer: Any, index: Any) -> Any:
    """The address of pointer[index]."""
    return builder.gep(pointer, [index])


@intrinsic
def start_of(typingctx: Any, array: Any) -> Any:
    """Where a contiguous array begins. Compiled functions hand pointers on: an array would be seven values."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def pointer_at(typingctx: Any, table: Any, index: Any, like: Any) -> Any:
    """The address that stands in table[index], of numbers of the type of `like` (what `like` points to, if it is a pointer)."""
    kind = like if isinstance(like, types.CPointer) else types.CPointer(like)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(builder.load(element(builder, args[0], args[1])), context.get_value_type(signature.return_type))

    return kind(table, types.intp, like), codegen


@intrinsic
def runtime(typingctx: Any, number: Any) -> Any:
    """An integer constant as any other number: what is called with literals, Numba compiles once for each."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], signature.args[0], types.int64)

    return types.int64(number), codegen


@intrinsic
def rounded(typingctx: Any, like: Any, number: Any) -> Any:
    """The number in the precision of what `like` points to."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[1]

    return like.dtype(like, like.dtype), codegen


@intrinsic
def get(typingctx: Any, array: Any, index: Any) -> Any:
    """array[index] for an index that is known to be inside: without Python's negative indices, loops of it become vectors."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(element(builder, args[0], args[1]))

    return array.dtype(array, types.intp), codegen


@intrinsic
def put(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """array[index] = value, rounded to the array's dtype."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
        builder.store(number, element(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def atomic_add(typingctx: Any, array: Any, index: Any, amount: Any) -> Any:
    """Add to an integer that threads share; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", element(builder, args[0], args[1]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_read(typingctx: Any, array: Any, index: Any) -> Any:
    """Read an integer that another thread may be changing, and with it all that was written before the change."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(element(builder, args[0], args[1]), "acquire", align=8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_exchange_if(typingctx: Any, array: Any, index: Any, expected: Any, new: Any) -> Any:
    """Put `new` where `expected` is; whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = element(builder, args[0], args[1])
        return builder.extract_value(builder.cmpxchg(address, args[2], args[3], "seq_cst", "seq_cst"), 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx: Any) -> Any:
    """Tell the core that this is a waiting loop, where it has a word for it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if llvm.get_process_triple().startswith(("x86_64", "i686")):
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen
