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
