"""The layout holds: imports run one way, importing is light, what is public is what is listed, and the prose is in order."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backproof

SOURCE = Path(backproof.__file__).parent

# From the bottom up: a module may import from its own level's package and from lines above it, never from below.
LEVELS = [
    ["_errors"],
    ["arrays"],
    ["source", "plots"],
    ["kernels"],
    ["functional"],
    ["torch", "jax"],
    ["layers"],
    ["losses"],
    ["canonical", "parameters", "schedules"],
    ["objective"],
    ["summary", "curvature"],
    ["network", "optimisers", "metrics", "calibration", "mistakes"],
    ["gradcheck", "diagnosis", "data", "plan", "choices", "sparse"],
    ["adapters"],
    ["checking"],
    ["pytest_plugin"],
    ["saving"],
    ["step", "fullbatch", "export", "doctor"],
    ["examples"],
    ["progress"],
    ["history"],
    ["resuming"],
    ["training"],
    ["report"],
    ["job"],
    ["runs"],
    ["terminal"],
    ["estimators"],
    ["commands", "check_commands", "option_types"],
    ["cli"],
    ["__main__"],
]
# Methods that hand an object to what shows it: they import it when they are called, and nothing of the check leans on it.
SHOWN_BY = {"gradcheck/findings.py": {"report"}}
RANK = {name: rank for rank, names in enumerate(LEVELS) for name in names}


def imports(path: Path) -> set[str]:
    """First component below `backproof` of everything that the file imports from it (type-checking imports excepted)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "backproof" else {node.module}
    names = {name.split(".")[1] for name in found if name.startswith("backproof.")}
    return {name for name in names if name in RANK}


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_downwards_only(path):
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    assert own in RANK, f"{own} has no level yet"
    upward = {name for name in imports(path) if name != own and RANK[name] >= RANK[own]}
    assert upward == SHOWN_BY.get(path.relative_to(SOURCE).as_posix(), set())


def test_one_module_knows_array_api_compat():
    users = [path.name for path in FILES if "array_api_compat" in path.read_text(encoding="utf-8")]
    assert users == ["arrays.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_are_short_and_say_what_they_are_for(path):
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no header"
    assert len(text.splitlines()) <= 300


def test_importing_is_light():
    """Nothing but the standard library on top of NumPy, and less than twice the processor time of NumPy's own import beside it.

    (It is about as much; the two are measured in the same process, so that a busy machine slows both. The median of five.)
    """
    code = (
        "import sys, time; start = time.process_time(); import numpy; between = time.process_time(); before = set(sys.modules);"
        "import backproof; took = time.process_time() - between;"
        "new = {m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names;"
        "print(took / (between - start), *sorted(new))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() for _ in range(5)
    ]
    assert {tuple(new) for _, *new in runs} == {("backproof", "numpy")}  # more of NumPy
    assert sorted(float(run[0]) for run in runs)[2] < 2


def test_what_is_public_is_what_is_listed():
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    exported = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert all(alias.asname == alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names)
    assert len(set(exported)) == len(exported)
    for name in exported:
        value = getattr(backproof, name)
        assert value.__doc__, name
        assert value.__module__.startswith("backproof"), name


def test_public_layers_and_losses_are_exported_at_the_top():
    for package in (backproof.layers, backproof.losses):
        assert list(package.__all__) == sorted(package.__all__, key=lambda n: (not n.isupper(), n))
        assert set(package.__all__) <= set(dir(backproof))
