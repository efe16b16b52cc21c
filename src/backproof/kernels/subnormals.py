"""Numbers below the smallest normal one taken as 0 while a kernel runs: many processors need a hundred cycles for each of them."""
# mypy: disable-error-code="import-untyped, no-untyped-call"

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from backproof.kernels.compiled import intrinsic

FLUSHED = 0x8040  # in the control word: such numbers are read and written as 0


def _control(builder: Any, name: str, place: Any) -> None:
    """Store the thread's control word of floating-point operations, or load it; other processors than these have none."""
    if llvm.get_process_triple().startswith(("x86_64", "i686")):
        byte = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), f"llvm.x86.sse.{name}")
        builder.call(function, [builder.bitcast(place, byte)])


@intrinsic
def flush_subnormals(typingctx: Any) -> Any:
    """Let the thread take numbers below the smallest normal one as 0; its control word before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(32), 0))
        _control(builder, "stmxcsr", place)
        before = builder.load(place)
        builder.store(builder.or_(before, ir.Constant(before.type, FLUSHED)), place)
        _control(builder, "ldmxcsr", place)
        return before

    return types.int32(), codegen


@intrinsic
def restore_control(typingctx: Any, before: Any) -> Any:
    """Undo `flush_subnormals`, whose result this is."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _control(builder, "ldmxcsr", cgutils.alloca_once_value(builder, args[0]))
        return context.get_dummy_value()

    return types.void(types.int32), codegen
