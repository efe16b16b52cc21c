"""Every public name is on a page of the API, and its docstring has what its reader needs.

That is: an example that runs with the names of `backproof` and its own, the shapes where it takes or gives arrays, the errors where
it raises any, the source of its formula where it has one.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest

import backproof
from tests.pages import ROOT

MODULES = ["functional", "layers", "losses", "torch", "jax", "data", "estimators", "export", "saving", "doctor", "gradcheck"]
TABLES = {"data.BUNDLED", "doctor.RULES"}  # a comment in the source describes them
# what computes a formula that somebody has published
FORMULAS = re.compile(r"^(functional|torch|jax|metrics|calibration)\.|^(sgd|adam|adamw|rmsprop|lbfgs|cosine|clip_by_norm|warm_up)$")
NO_FORMULA = {"Layer", "Chain", "Concatenate", "Flatten", "Identity", "Loss", "metrics.default_metrics", "metrics.label_accuracy"}
# the errors by name, or those of another name
RAISES = re.compile(r"(?i)\braises\s|is an? `\w+Error`|\barguments and errors\b")
# (N, C), (..., C), (features,), (), the word, or a reference to another function's
SHAPES = re.compile(r"\bshapes?\b|\(\)|\((?:[A-Z]|\.\.\.)(?:,[^()]*)?\)|\(\w+(?: \+ 1)?,\)|\bdescribes arguments\b")
ARRAYS = re.compile(r"\b(Array|ArrayLike|Tensor)\b|^Any\b")
IN_WORDS = {"torch.logsumexp"}  # "the dimensions are gone from the result, or have length 1 with `keepdim`"
SOURCE = re.compile(r"\b(18|19|20)\d\d\b|arXiv")


def pages() -> list[str]:
    """The names on the pages of the API, without the package's own."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.md")))
    return re.findall(r"^::: backproof\.(\S+)$", text, re.MULTILINE)


def exported() -> Iterator[tuple[str, Any]]:
    """(name, value) of all that a user may import, each once."""
    for name, value in vars(backproof).items():
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("backproof"):
            yield name, value
    for module in MODULES:
        for name in importlib.import_module(f"backproof.{module}").__all__:
            yield f"{module}.{name}", getattr(importlib.import_module(f"backproof.{module}"), name)


def found(name: str) -> Any:
    """What a page's name stands for."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"backproof.{module}" if module else "backproof"), attribute)


NAMES = [name for name in pages() if name not in TABLES]


def documentation(name: str) -> str:
    value = found(name)
    return inspect.cleandoc(vars(value).get("__doc__") or "") if inspect.isclass(value) else inspect.getdoc(value) or ""


def test_every_public_name_is_on_a_page_once():
    listed = [id(found(name)) for name in pages()]
    assert len(set(listed)) == len(listed)
    assert [name for name, value in exported() if id(value) not in listed] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_docstring_of_its_own(name):
    assert re.match(r"\S.*[.:]", documentation(name), re.DOTALL)


def members(value: type) -> Iterator[str]:
    """What a user sees of a class that the class itself defines."""
    for attribute, member in vars(value).items():
        if attribute[0] != "_" and (callable(member) or isinstance(member, property | classmethod | staticmethod)):
            yield attribute


@pytest.mark.parametrize("name", [n for n in NAMES if inspect.isclass(found(n))])
def test_its_members_say_what_they_are(name):
    assert [m for m in members(found(name)) if not inspect.getdoc(getattr(found(name), m))] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_has_an_example_that_runs_where_a_user_would_write_it(name):
    module = importlib.import_module(found(name).__module__)
    public = dict(value for value in exported() if "." not in value[0]) | {name.rpartition(".")[2]: found(name)}
    example = doctest.DocTestParser().get_doctest(documentation(name), public, name, module.__file__, 0)
    assert example.examples, "no example"
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=printed.append)
    assert not runner.failures, "".join(printed)


def has_arrays(value: Any) -> bool:
    """Whether its annotations name arrays: those of a function, of a class's fields and of what makes and calls an object."""
    parts = [value, *(vars(value)[n] for n in ("__init__", "__call__") if n in vars(value))] if inspect.isclass(value) else [value]
    annotations = [text for part in parts for text in getattr(part, "__annotations__", {}).values()]
    return any(ARRAYS.search(getattr(text, "__forward_arg__", str(text))) for text in annotations)


@pytest.mark.parametrize("name", [n for n in NAMES if has_arrays(found(n)) and n not in IN_WORDS])
def test_it_tells_its_shapes(name):
    assert SHAPES.search(documentation(name).partition(">>> ")[0])


def raises(value: Any) -> bool:
    """Whether a call refuses its arguments in its own body: raises an error of ours, or asks a `require_...` to."""
    functions = (
        [vars(value)[n] for n in ("__init__", "__post_init__", "__call__") if n in vars(value)]
        if inspect.isclass(value)
        else [value]
    )
    for function in functions:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError):  # of a dataclass: nobody wrote it
            continue
        calls = [n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
        if any(call.startswith("require_") or (call.endswith("Error") and hasattr(backproof, call)) for call in calls):
            return True
    return False


@pytest.mark.parametrize("name", [n for n in NAMES if raises(found(n))])
def test_it_says_what_it_raises(name):
    assert RAISES.search(documentation(name))


def has_formula(name: str) -> bool:
    value = found(name)
    family = inspect.isclass(value) and issubclass(value, backproof.Layer | backproof.Loss)
    return name not in NO_FORMULA and bool(family or FORMULAS.match(name))


@pytest.mark.parametrize("name", [n for n in NAMES if has_formula(n)])
def test_it_says_where_its_formula_is_from(name):
    assert SOURCE.search(documentation(name))
