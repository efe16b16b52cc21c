"""The `gradcheck` fixture in a pytest run of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

TESTS = """
import numpy as np
import pytest

x = np.random.default_rng(0).normal(size=(2, 3))


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_right(gradcheck):
    report = gradcheck(np.tanh, x, backward=lambda g, x: g * (1 - np.tanh(x) ** 2))
    assert report.ok
    assert report.seed == 0


def test_is_an_assertion(gradcheck):
    with pytest.raises(AssertionError, match="missing-cross-terms"):
        gradcheck(softmax, x, backward=lambda g, x: g * softmax(x) * (1 - softmax(x)))


def test_wrong(gradcheck):
    gradcheck(softmax, x, backward=lambda g, x: g * softmax(x) * (1 - softmax(x)), seed=3)
"""

MODULES = """
import sys


def test_modules():
    assert not {"torch", "jax", "scipy", "numba", "sklearn", "rich", "click", "safetensors"} & set(sys.modules)
    assert "backproof.gradcheck.rendering" not in sys.modules
"""


def pytest_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    installed = any(e.value == "backproof.pytest_plugin" for e in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "backproof.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", *plugin, "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_fixture_passes_and_fails_with_the_report(tmp_path):
    (tmp_path / "test_gradients.py").write_text(TESTS)
    done = pytest_in(tmp_path, "-W", "error")
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "E       backproof.gradcheck.findings.GradientError: softmax: WRONG gradient of z" in done.stdout
    assert "missing-cross-terms" in done.stdout
    assert "pytest_plugin.py" not in done.stdout  # its own frames are hidden
    assert "internal error" not in done.stdout.lower()


def test_it_is_listed_among_the_fixtures(tmp_path):
    done = pytest_in(tmp_path, "--fixtures")
    assert "gradcheck" in done.stdout
    assert "Check a hand-written gradient" in done.stdout


def test_starting_pytest_imports_nothing_heavy(tmp_path):
    (tmp_path / "test_modules.py").write_text(MODULES)
    done = pytest_in(tmp_path, "-W", "error", "-q")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_entry_point_is_declared():
    tomllib = pytest.importorskip("tomllib")
    project = Path(__file__).parent.parent / "pyproject.toml"
    declared = tomllib.loads(project.read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"backproof": "backproof.pytest_plugin"}
