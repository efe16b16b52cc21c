"""The benchmarks run: what they measure is not for a test."""

import subprocess
import sys

import pytest

from tests.pages import ROOT


@pytest.mark.parametrize(("name", "shape"), [("softmax_kernels", "65536x10"), ("training_step", "small"), ("torch_step", "128x10")])
def test_a_benchmark_runs(name, shape):
    command = [sys.executable, "-m", "benchmarks", name, "--shape", shape, "--quick", "--patience", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "could not run" not in done.stdout, done.stdout
    assert "torch / ours" in done.stdout
