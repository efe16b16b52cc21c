"""`backproof check` and `backproof explain` as their users meet them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from backproof.check_commands import random_input
from backproof.gradcheck.findings import CAUSES
from backproof.terminal import long_work

LEARNER = """
import numpy as np


class Softmax:
    def forward(self, z):
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        self.h = e / e.sum(axis=-1, keepdims=True)
        return self.h

    def backward(self, upstream):
        h = self.h
        return h * (1 - h) * upstream
"""
CURED = "h * (upstream - (h * upstream).sum(axis=-1, keepdims=True))"
FUNCTIONS = """
import numpy as np

print("hello from the file")


def square(x):
    return x**2


def square_backward(upstream, x):
    return 2 * upstream * x


def cube(x):
    return x**3


def wrong_cube(upstream, x):
    return upstream * x**2


def product(x, y):
    return x * y


def product_backward(upstream, x, y):
    return upstream * y


def fails(x):
    y = x + 1
    raise ValueError(f"expected another shape,\\nreceived {y.shape}")


fails_backward = square_backward


def take(x, labels):
    return x[np.arange(len(x)), labels]


def take_backward(upstream, x, labels):
    dx = np.zeros_like(x)
    dx[np.arange(len(x)), labels] = upstream
    return dx, None


class Needs:
    def __init__(self, size):
        self.size = size

    def forward(self, x):
        return x

    def backward(self, upstream):
        return upstream


layer = Needs(3)
NUMBER = 3
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("softmax.py").write_text(LEARNER)
    Path("functions.py").write_text(FUNCTIONS)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def alone(*arguments: str) -> tuple[int, str, str]:
    """The same in a process of its own, for what would leave settings behind."""
    done = subprocess.run([sys.executable, "-m", "backproof", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_the_learners_softmax(run):
    code, out, err = run("check", "softmax.py:Softmax", "--shape", "4,5")
    assert code == 1
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "Softmax: WRONG gradient of z"
    assert lines[1].startswith("missing-cross-terms (")
    said = " ".join(out.split())
    assert "fix: dx = h * (upstream - (h * upstream).sum(" in said
    assert "J_ij = h_i (delta_ij - h_j)" in said
    z = np.random.default_rng(0).normal(size=(4, 5))
    h = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))[0, :3]
    for value in (np.diag(h) - np.outer(h, h)).ravel():  # J for three classes
        assert f"{value:.4f}".rstrip("0") in said
    assert "oXXXX" in out
    assert max(map(len, lines)) <= 100


def test_the_cure_cures(run):
    Path("softmax.py").write_text(LEARNER.replace("h * (1 - h) * upstream", CURED))
    code, out, err = run("check", "softmax.py:Softmax", "--shape", "4,5")
    assert (code, err) == (0, "")
    assert out.startswith("Softmax: right gradient of z\n")
    assert len(out.splitlines()) == 2


def test_an_instance_and_a_function_with_its_backward_beside_it(run):
    for place in ("functions.py:layer", "functions.py:square"):
        code, out, err = run("check", place, "--shape", "3,2")
        assert code == 0
        assert "right gradient of x" in out
        assert "hello" not in out
    code, out, err = run("check", "functions.py:cube", "--backward", "wrong_cube", "--shape", "4")
    assert code == 1
    assert "wrong-scale" in out.splitlines()[1]
    assert "hello" in err


def test_a_sole_backward_belongs_to_the_function(run):
    Path("one.py").write_text("def f(x):\n    return x**2\n\n\ndef backward(upstream, x):\n    return 2 * x * upstream\n")
    assert run("check", "one.py:f", "--shape", "3")[0] == 0


def test_labels_and_wrt(run):
    assert run("check", "functions.py:take", "--shape", "4,10", "--shape", "4:int10")[0] == 0
    assert run("check", "functions.py:take", "--shape", "4,10", "--shape", "4:int10", "--wrt", "x")[0] == 0
    assert run("check", "functions.py:take", "--shape", "4,10", "--shape", "4:int10", "--wrt", "0")[0] == 0


def test_inputs_of_the_file_or_of_the_function(run):
    text = "import numpy as np\n\ninputs = (np.ones(3), np.ones(3))\n\n\ndef f(x, y):\n    return x * y\n\n\n"
    Path("own.py").write_text(text + "def backward(g, x, y):\n    return g * y, g * x\n")
    assert run("check", "own.py:f")[0] == 0
    Path("own.py").write_text(
        text + "def backward(g, x, y):\n    return g * y, g * x\n\n\nf.inputs = [np.ones((2, 2)), np.ones((2, 2))]\n"
    )
    code, out, _ = run("check", "own.py:f", "--json")
    assert code == 0
    assert json.loads(out)["comparisons"][0]["shape"] == [2, 2]


def test_the_same_seed_gives_the_same_inputs(run):
    reports = [json.loads(run("check", "softmax.py:Softmax", "--shape", "2,3", "--json", "--seed", s)[1]) for s in ("1", "1", "2")]
    first, again, other = [report["comparisons"][0]["analytical"] for report in reports]
    assert first == again != other
    assert reports[0]["findings"][0]["cause"] == "missing-cross-terms"


@pytest.mark.parametrize(
    ("place", "shape"),
    [("softmax.py:Softmax", "4,5"), ("cubed.py:cubed", "3"), ("dense.py:dense", "4,3"), ("dense.py:Parts.inner", "4,3")],
)
def test_the_replay_can_be_pasted(run, place, shape):
    """As it is printed, into a Python that has imported nothing."""
    Path("cubed.py").write_text(
        "def cubed(x):\n    return x**3\n\n\ndef cubed_backward(upstream, x):\n    return 2 * x * upstream\n"
    )
    Path("dense.py").write_text(
        "import numpy as np\n\n\nclass Dense:\n    def __init__(self, n):\n        self.W = np.eye(3)[:, :n]\n"
        "    def forward(self, x):\n        return x @ self.W\n    def backward(self, upstream):\n"
        "        return 2 * upstream @ self.W.T\n\n\ndense = Dense(2)\n\n\nclass Parts:\n    inner = Dense(1)\n"
    )
    out = run("check", place, "--shape", shape)[1]
    pasted = out.partition("replay:\n")[2].replace("backproof.check", "report = backproof.check")
    code = f"{pasted}\nprint(report.findings[0].cause)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in out


def test_a_page_is_written_and_not_overwritten_unasked(run):
    options = ["check", "softmax.py:Softmax", "--shape", "2,3", "--html", "report.html"]
    code, out, _ = run(*options)
    assert (code, out.splitlines()[-1]) == (1, "wrote report.html")
    assert "missing-cross-terms" in Path("report.html").read_text()
    code, _, err = run(*options)
    assert code == 2
    assert "--force" in err
    _, out, err = run(*options, "--force", "--json")
    assert json.loads(out)["ok"] is False
    assert err == "wrote report.html\n"
    assert run("check", "softmax.py:Softmax", "--shape", "2,3", "--html", ".")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.py:f"], "none.py: expected a Python file, received no such file"),
        ([".:f"], "received a folder"),
        (["notes.txt:f"], "notes.txt: expected a Python file (.py)"),
        (["functions.py"], "expected functions.py:NAME, received no name; there are square, square_backward"),
        (["functions.py:squar"], "received 'squar' (perhaps square); there are square,"),
        (["functions.py:NUMBER"], "functions.py:NUMBER: expected a function, a class or a layer, received int"),
        (["functions.py:square", "--backward", "gone"], "received 'gone'"),
        (["functions.py:square"], "--shape: expected the shape of each input"),
        (["functions.py:square", "--shape", "3,x"], "--shape: expected sizes such as 4,5"),
        (["functions.py:square", "--shape", "-3"], "--shape: expected sizes such as 4,5"),
        (["functions.py:square", "--shape", "999999999999"], "that fits into memory"),
        (["functions.py:square", "--shape", "3:int0"], "at least one class"),
        (["functions.py:cube", "--shape", "3"], "expected a backward for it, received none: define cube_backward(upstream, ...)"),
        (
            ["functions.py:fails", "--shape", "3"],
            "ValueError: expected another shape, received (3,) (functions.py, line 33, in fails)",
        ),
        (["functions.py:product", "--shape", "3", "--shape", "3"], "backward: expected"),
        (
            ["functions.py:square", "--shape", "3", "--shape", "3"],
            "TypeError: square() takes 1 positional argument but 2 were given",
        ),
        (["functions.py:take", "--shape", "4,9", "--shape", "4:int9", "--wrt", "labels"], "wrt"),
        (["functions.py:square", "--shape", "4:int10"], "float"),
        (["functions.py:Needs", "--shape", "3"], "Needs"),
        (["import.py:f"], "import.py, line 2: ModuleNotFoundError: No module named 'nothing_such'"),
        (["syntax.py:f"], "syntax.py, line 1: SyntaxError"),
        (["exits.py:f"], "exits.py, line 2: SystemExit: bye"),
        ([], "Missing argument 'FILE.py:NAME'"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(run, arguments, message):
    Path("import.py").write_text("x = 1\nimport nothing_such\n")
    Path("syntax.py").write_text("def f(:\n")
    Path("exits.py").write_text("import sys\nsys.exit('bye')\n")
    Path("notes.txt").write_text("def f(x): return x\n")
    code, out, err = run("check", *arguments)
    err = err.replace("hello from the file\n", "")
    assert (code, out) == (2, "")
    assert err.startswith("backproof: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert message in err


def test_modules_next_to_the_file_are_found(run):
    Path("helpers_of_mine.py").write_text("def twice(x):\n    return 2 * x\n")
    Path("main_of_mine.py").write_text(
        "from helpers_of_mine import twice\n\n\ndef f(x):\n    return twice(x)\n\n\ndef backward(g, x):\n    return 2 * g\n"
    )
    assert run("check", "main_of_mine.py:f", "--shape", "3")[0] == 0


def test_torch_functions_and_modules():
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    Path("with_torch.py").write_text(
        "import torch\n\n\nclass Cube(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        ctx.save_for_backward(x)\n        return x**3\n\n    @staticmethod\n    def backward(ctx, g):\n"
        "        (x,) = ctx.saved_tensors\n        return g * x**2\n\n\ndef f(x):\n    return Cube.apply(x)\n\n\n"
        "layer = torch.nn.Linear(3, 2)\n"
    )
    for name in ("Cube", "f"):
        code, out, _ = alone("check", f"with_torch.py:{name}", "--shape", "4")
        assert code == 1
        assert "wrong-scale" in out.splitlines()[1]
    code, out, _ = alone("check", "with_torch.py:layer", "--shape", "4,3")
    assert code == 0
    assert "weight" in out


def test_jax_functions():
    if find_spec("jax") is None:
        pytest.skip("jax is not installed")
    Path("with_jax.py").write_text(
        "import jax\nimport jax.numpy as jnp\n\n\n@jax.custom_vjp\ndef f(x):\n    return jnp.sin(x)\n\n\n"
        "f.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (-g * jnp.cos(x),))\n\n\ndef g(x):\n    return jnp.tanh(x)\n"
    )
    code, out, _ = alone("check", "with_jax.py:f", "--shape", "4")
    assert code == 1
    assert "sign-flipped" in out.splitlines()[1]
    assert alone("check", "with_jax.py:g", "--shape", "4")[0] == 0


@pytest.mark.parametrize("cause", CAUSES)
def test_explain_prints_the_page(run, cause):
    code, out, err = run("explain", cause)
    assert (code, err) == (0, "")
    assert out.startswith(f"# {cause}\n")


def test_explain_lists_the_causes_and_suggests(run):
    code, out, _ = run("explain")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(CAUSES)
    code, out, err = run("explain", "missing-cross-term")
    assert (code, out) == (2, "")
    assert "perhaps missing-cross-terms" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "explain"])
def test_help_has_an_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"backproof {command} " in out.split("Example")[-1]


@pytest.mark.parametrize(
    ("text", "shape", "holds"),
    [
        ("4,5", (4, 5), lambda x: x.min() < 0),
        ("(2, 3)", (2, 3), lambda x: x.dtype == np.float32),
        ("2x3", (2, 3), lambda x: x.dtype == np.float32),
        ("scalar", (), lambda x: x.dtype == np.float32),
        ("50:positive", (50,), lambda x: x.min() > 0),
        ("50:unit", (50,), lambda x: x.min() > 0 and x.max() < 1),
        ("5,3:probabilities", (5, 3), lambda x: np.allclose(x.sum(axis=1), 1, atol=1e-6)),
        ("50:int3", (50,), lambda x: set(x.tolist()) == {0, 1, 2}),
        ("50:bool", (50,), lambda x: x.dtype == bool and x.any() and not x.all()),
    ],
)
def test_random_inputs(text, shape, holds):
    x = random_input(text, "float32", np.random.default_rng(0))
    assert x.shape == shape
    assert holds(x)


@pytest.mark.parametrize(("terminal", "after", "shown"), [(True, 0.0, True), (True, 1e3, False), (False, 0.0, False)])
def test_progress_is_shown_on_a_terminal_when_it_takes_long(terminal, after, shown):
    text = io.StringIO()
    with long_work(Console(file=text, force_terminal=terminal), after) as progress:
        for done in range(3):
            progress(done, 3, "columns [of x]")
    assert ("columns [of x]" in text.getvalue()) == shown
