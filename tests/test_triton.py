"""The tests of Triton's programs, in the interpreter: a process of its own, as it must be chosen before Triton is imported."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = {  # double precision and bfloat16 are the reference's there, and long rows take the interpreter minutes
    "on_gpu": [],
    "functional/test_accuracy.py": ["-k", "not float64 and not bfloat16 and not mpmath and not million"],
    "functional/test_edges.py": ["-k", "not float64 and not bfloat16"],
    "functional/test_layout.py": ["-k", "not float64 and not bfloat16 and not many_rows"],
}


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="there is no Triton for this system")
@pytest.mark.parametrize("name", TESTS)
def test_programs_in_the_interpreter(name):
    # NumPy warns of what a GPU does silently, and what is chosen away afterwards
    options = ["-n", "0", "-p", "no:cacheprovider", "-W", "ignore::RuntimeWarning", *TESTS[name]]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"tests/{name}"],
        cwd=HERE.parent,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "passed" in done.stdout


# --- what the interpreter does not look at: that programs compile ------------------------------------------------------------
INTEGERS = {"rows": "i64", "inner": "i32", "vectors": "i32"}
SIGNATURES = {
    "softmax": {"z": 0, "out": 0, **INTEGERS},
    "log_softmax": {"z": 0, "out": 0, **INTEGERS},
    "logsumexp": {"z": 0, "out": 0, **INTEGERS},
    "softmax_product": {"h": 0, "u": 0, "out": 0, **INTEGERS},
    "log_softmax_product": {"log_h": 0, "u": 0, "out": 0, **INTEGERS},
    "labelled": {
        "z": 0,
        "target": "*i64",
        "weight": "*fp64",
        "scale": "*fp64",
        "others": "*fp64",
        "distance": "*fp64",
        "grad": 0,
        **INTEGERS,
        "ignored": "i32",
    },
}
TILES = {"whole": (7, 1, 1000), "swept": (7, 1, 100_000), "side by side": (14, 7, 21), "side by side, swept": (14, 7, 1000)}


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="there is no Triton for this system")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_program_compiles_for_a_gpu_that_is_not_there(name, tile, dtype):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from backproof.kernels.triton import entropy, jacobian, launches, normalised

    program = getattr(normalised, "normalised" if name.endswith("softmax") else name, None)
    program = program or next(getattr(module, name) for module in (entropy, jacobian) if name in vars(module))
    fine = dtype == "fp32"
    if "product" in name:
        kind, constants = "TWO_ARRAYS", {}
    elif name == "labelled":
        constants = {"IGNORE": True, "WEIGHTED": fine, "SCALES": 1 + fine, "SMOOTHING": 0.0 if fine else 0.1, "GRADIENT": True}
        kind, constants = "LABELLED", {"FINE": fine, **constants}
    else:
        kind, constants = "ONE_ARRAY", {"FINE": fine, **({} if name == "logsumexp" else {"LOG": name == "log_softmax"})}
    chosen = dict(launches.launch(kind, launches.Rows(*TILES[tile]), 4 if fine else 2, **constants).options)
    options = {option: chosen.pop(option) for option in ("num_warps", "maxnreg") if option in chosen}
    signature = {key: f"*{dtype}" if value == 0 else value for key, value in SIGNATURES[name].items()}
    places = {(program.arg_names.index(key),): value for key, value in chosen.items()}
    source = ASTSource(program, {**signature, **dict.fromkeys(chosen, "constexpr")}, places)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"]
