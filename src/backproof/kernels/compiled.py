"""Numba with types: the decorator of every compiled function here, and the few atomic operations that threads need.

Loops are compiled with the fast-math flags `contract` and `nsz` only: a multiplication and an addition may become one fused
operation and the sign of zero is free, but nan and infinity keep their meaning and sums keep their order.

What is not on the disk yet takes seconds to compile. That is announced: in the log "backproof" (level INFO), or, if nobody reads
that, on standard error where a person is watching.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, event
from numba.core.ccallback import CFunc
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import overload

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}


def compiled(*, inline: bool = False, late: bool = False) -> Callable[[F], F]:
    """Compile a part of an entry point.

    The compiler works through a function again with each one that calls it, however deep: a part with one caller may be `inline`.
    One that many call with constants becomes part of them `late`, by LLVM: Numba takes seconds for it.
    """
    options: dict[str, Any] = {"inline": "always" if inline else "never", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    if late:
        options["forceinline"] = True
    return cast("Callable[[F], F]", njit(**OPTIONS, **options))


def by_type(choose: Callable[[Any], Callable[..., Any]]) -> Callable[..., Any]:
    """A function that compiled code calls, and that is another one (what `choose` returns) for each type of its first argument."""

    def chosen(like: Any, *rest: Any) -> Any:
        raise NotImplementedError

    options: Any = {**OPTIONS, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

    @overload(chosen, strict=False, jit_options=options)
    def implementation(like: Any, *rest: Any) -> Any:
        function = choose(types.unliteral(like))
        return lambda like, *rest: function(like, *rest)

    return chosen


class _Announcement(event.Listener):
    """Says when the compilation of a function begins, and how long it took. Of its parts, compiled meanwhile, nothing is said."""

    def __init__(self, dispatcher: Any, what: str) -> None:
        self.dispatcher, self.what, self.began = dispatcher, what, 0.0
        self.log = logging.getLogger("backproof")
        self.is_watched = not self.log.isEnabledFor(logging.INFO) and sys.stderr is not None
        self.is_watched = self.is_watched and (sys.stderr.isatty() or hasattr(sys, "ps1"))

    def on_start(self, happened: Any) -> None:
        if happened.data["dispatcher"] is self.dispatcher:
            self.began = time.perf_counter()
            self.log.info("compiling %s, once on this machine; it takes some seconds", self.what)
            if self.is_watched:
                print(f"backproof: compiling {self.what}, once on this machine ...", end="", file=sys.stderr, flush=True)

    def on_end(self, happened: Any) -> None:
        if happened.data["dispatcher"] is self.dispatcher:
            seconds = time.perf_counter() - self.began
            self.log.info("compiled %s in %.1f s", self.what, seconds)
            if self.is_watched:
                print(f" {seconds:.1f} s", file=sys.stderr, flush=True)


def _stamp(dispatcher: Any) -> None:
    """Numba renews what it kept when the function's own file changes. What the function calls lies in other files, of this folder
    and of those in it, so the stamp of all of them takes that one's place.
    """
    files = [file.stat() for file in sorted(Path(__file__).parent.rglob("*.py"))]
    with suppress(AttributeError):  # not part of Numba's interface: without it, its own stamp stays
        dispatcher._cache._cache_file._source_stamp = tuple((file.st_mtime_ns, file.st_size) for file in files)


def entry(signature: Any, what: str) -> Callable[[F], F]:
    """Compile what Python calls, for the given types, and keep it on disk; `what` it is called when that is announced."""

    def compile_(function: F) -> F:
        dispatcher: Any = njit(**OPTIONS, cache=True)(function)
        _stamp(dispatcher)
        with event.install_listener("numba:compile", _Announcement(dispatcher, what)):  # what comes from the disk is no such event
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return cast("F", dispatcher)

    return compile_


_kept: list[Any] = []  # whose code is called without them


def address_taken(signature: Any, function: Callable[..., Any]) -> int:
    """Compile what compiled code calls by its address, by C's calling convention, and keep it on disk."""
    made: Any = CFunc(
        function, (signature.args, signature.return_type), {}, {key: OPTIONS[key] for key in ("error_model", "fastmath")}
    )
    made.enable_caching()
    _stamp(made)
    made.compile()
    _kept.append(made)  # its address is kept, too
    return int(made.address)


def called_at_once(dispatcher: Any) -> Callable[..., None]:
    """The one function that `entry` has compiled, without the dispatcher, which looks at the type of each argument first and takes
    half of a short call for it: arguments must be what the signature says, or numbers that are as good."""
    _kept.append(dispatcher)
    (compiled_function,) = dispatcher.overloads.values()
    function: Callable[..., None] = compiled_function.entry_point
    return function


def address_of(dispatcher: Any) -> int:
    """Of the one function that `entry` has compiled, to be called by Numba's calling convention."""
    (compiled_function,) = dispatcher.overloads.values()
    return int(compiled_function.library.get_pointer_to_function(compiled_function.fndesc.llvm_func_name))


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
def address(typingctx: Any, array: Any) -> Any:
    """Where the pointer points to."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(args[0], ir.IntType(64))

    return types.int64(array), codegen


@intrinsic
def pointer(typingctx: Any, place: Any, like: Any) -> Any:
    """The address as a pointer to numbers of the type of `like`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(types.unliteral(like))(types.int64, like), codegen


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
