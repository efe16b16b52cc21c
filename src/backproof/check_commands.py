"""`backproof check` and `backproof explain`: somebody's file in, a verdict out."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.markdown import Markdown

from backproof._errors import ArgumentError, BackproofError
from backproof.arrays import Array
from backproof.report.writing import require_file
from backproof.terminal import long_work

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Report

_SHAPE = re.compile(r"(?P<sizes>\d+(?:[,x]\d+)*,?|scalar|)(?::(?P<kind>[a-z]+)(?P<classes>\d*))?")
KINDS = ("normal", "positive", "unit", "probabilities", "bool", "int10")


def check_command(
    place: str,
    shapes: tuple[str, ...],
    backward: str | None,
    dtype: str,
    out: Path | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """`backproof check`: returns the exit code. What the user's code prints goes to standard error."""
    if out is not None:
        require_file(out, force, "--html", "give --force to overwrite it, or another --html")
    path, name = _place(place)
    console = Console(stderr=True, highlight=False)
    with contextlib.redirect_stdout(sys.stderr), _told(path):
        module = load(path)
        if name is None:
            raise ArgumentError(f"{path}: expected {path}:NAME, received no name; there are {_there(module)}")
        target = find(module, name, path)
        claimed = find(module, backward, path) if backward else _beside(module, name, target)
        inputs = _inputs(module, target, path, shapes, dtype, options["seed"])
        if claimed is None:
            inputs = _of_framework(module, target, inputs, dtype)
            if inspect.isfunction(target) and all(type(x).__module__ == "numpy" for x in inputs):
                raise ArgumentError(
                    f"{place}: expected a backward for it, received none: "
                    f"define {name.split('.')[-1]}_backward(upstream, ...) in {path.name}, or give --backward NAME"
                )
        from backproof.checking import check

        with long_work(console) as progress:
            report = check(target, *inputs, backward=claimed, progress=progress, **options)
    report = _with_imports(report, path, name, getattr(claimed, "__name__", None))
    if out is not None:  # first: whoever reads what is printed may stop early
        report.to_html(out, overwrite=force)
    print(report.to_json() if as_json else str(report))
    if out is not None:
        print(f"wrote {out}", file=sys.stderr if as_json else sys.stdout)
    return 0 if report.ok else 1


def _with_imports(report: Report, path: Path, name: str, backward: str | None) -> Report:
    """The report with replay lines that can be pasted as they are: what they need is imported, objects have their names."""
    if not report.replay or not path.stem.isidentifier():
        return report
    replay = report.replay
    for made in (f"{report.target}(...)", report.target):
        replay = replay.replace(f"backproof.check({made}, ", f"backproof.check({name}, ")
    libraries = ["numpy as np"]
    if "torch.tensor(" in replay:
        libraries.append("torch")
    if "jnp.array(" in replay:
        libraries += ["jax", "jax.numpy as jnp"]
    own = ", ".join(dict.fromkeys(n.split(".")[0] for n in (name, backward) if n))
    lines = [f"import {', '.join([*libraries, 'backproof'])}", f"from {path.stem} import {own}", replay]
    if "dtype=jnp.float64" in replay:
        lines.insert(2, 'jax.config.update("jax_enable_x64", True)')
    return dataclasses.replace(report, replay="\n".join(lines))


def explain_command(cause: str | None) -> int:
    """`backproof explain`: a page, or the list of causes."""
    from backproof.gradcheck.explain import explain, markdown
    from backproof.gradcheck.findings import CAUSES

    if cause is None:
        width = max(map(len, CAUSES))
        print("\n".join(f"{name:<{width}}  {line}" for name, line in CAUSES.items()))
        return 0
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Markdown(markdown(cause)))
    else:
        print(explain(cause), end="")
    return 0


def load(path: Path) -> ModuleType:
    """The file as a module; its folder comes first on the search path, as if it were run."""
    if not path.exists():
        raise ArgumentError(f"{path}: expected a Python file, received no such file")
    if path.is_dir() or path.suffix != ".py":
        raise ArgumentError(
            f"{path}: expected a Python file (.py), received {'a folder' if path.is_dir() else 'another kind of file'}"
        )
    sys.path.insert(0, str(path.resolve().parent))
    name = path.stem if path.stem not in sys.modules else f"_checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{path}: expected a Python file that can be imported, received another")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find(module: ModuleType, name: str, path: Path) -> Any:
    """What the file calls `name` (with dots: an attribute of it)."""
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(name, _names(module), n=1)
            hint = f" (perhaps {near[0]})" if near else ""
            raise ArgumentError(f"{path}: expected a name that it defines, received {name!r}{hint}; there are {_there(module)}")
        found = getattr(found, part)
    if not callable(found) and not hasattr(found, "forward"):
        raise ArgumentError(f"{path}:{name}: expected a function, a class or a layer, received {type(found).__name__}")
    return found


def random_input(text: str, dtype: str, rng: np.random.Generator) -> Array:
    """An input from a text such as 4,5 or 4:int10 (labels 0 to 9) or 4,5:positive or 4,5:probabilities."""
    parts = _SHAPE.fullmatch(re.sub(r"[\s()]", "", text.lower()))
    sizes = re.findall(r"\d+", parts["sizes"]) if parts else []
    shape = tuple(map(int, sizes))
    kind = (parts["kind"] or "normal") if parts else ""
    if kind not in ("normal", "positive", "unit", "probabilities", "bool", "int") or (kind == "int") != bool(
        parts and parts["classes"]
    ):
        raise ArgumentError(f"--shape: expected sizes such as 4,5, perhaps with a kind ({', '.join(KINDS)}), received {text!r}")
    if any(s > 10**8 for s in shape) or int(np.prod(shape, dtype=object)) > 10**8:
        raise ArgumentError(f"--shape: expected an input that fits into memory, received {text!r}")
    if kind == "int" and parts:
        classes = int(parts["classes"])
        if not 1 <= classes <= 10**9:
            raise ArgumentError(f"--shape: expected at least one class, as in 4:int10, received {text!r}")
        return rng.integers(0, classes, shape)
    if kind == "bool":
        return np.asarray(rng.random(shape) < 0.5)
    values = np.asarray(rng.normal(size=shape))
    if kind == "positive":
        values = np.exp(values)
    elif kind == "unit":
        values = 1 / (1 + np.exp(-values))
    elif kind == "probabilities":
        values = np.exp(values) / np.exp(values).sum(axis=-1 if shape else None, keepdims=True)
    return values.astype(dtype)


def _place(place: str) -> tuple[Path, str | None]:
    path, colon, name = place.rpartition(":")
    if not colon or "/" in name or "\\" in name:
        return Path(place), None
    return Path(path), name or None


def _names(module: ModuleType) -> list[str]:
    """What the file itself defines and what could be checked."""
    names = []
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if not name.startswith("_") and own and (callable(value) or hasattr(value, "forward")):
            names.append(name)
    return names


def _there(module: ModuleType) -> str:
    names = _names(module)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _beside(module: ModuleType, name: str, target: Any) -> Any:
    """The backward that stands beside a function in its file."""
    if not inspect.isfunction(target):
        return None
    for candidate in (f"{name}_backward", f"{name}_vjp", name.replace("forward", "backward"), "backward"):
        found = getattr(module, candidate, None)
        if candidate != name and inspect.isfunction(found):
            return found
    return None


def _inputs(module: ModuleType, target: Any, path: Path, shapes: tuple[str, ...], dtype: str | None, seed: int) -> tuple[Any, ...]:
    if shapes:
        rng = np.random.default_rng(seed)
        return tuple(random_input(text, dtype or "float64", rng) for text in shapes)
    for holder in (target, module):
        inputs = getattr(holder, "inputs", None)
        if isinstance(inputs, tuple | list) and inputs:
            return tuple(inputs)
        if hasattr(inputs, "shape"):
            return (inputs,)
    raise ArgumentError(f"--shape: expected the shape of each input (or `inputs = (...)` in {path.name}), received none")


def _of_framework(module: ModuleType, target: Any, inputs: tuple[Any, ...], dtype: str | None) -> tuple[Any, ...]:
    """Inputs as torch tensors or JAX arrays, for a target that is made for them: by its type, or by what it uses."""
    kinds = {kind.__module__.split(".")[0] for kind in (target if isinstance(target, type) else type(target)).__mro__}
    if inspect.isroutine(target):
        used = _uses(target, set())
        # a function of methods alone, x.tanh(), does not tell: its file does
        kinds |= used - {"numpy"} or used or {_library(value) for value in vars(module).values()}
    if "torch" in kinds and "numpy" not in kinds:
        import torch

        own = [p.dtype for p in target.parameters() if p.is_floating_point()] if isinstance(target, torch.nn.Module) else []
        tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in inputs]
        if own and dtype is None:
            tensors = [x.to(own[0]) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in tensors]
        return tuple(tensors)
    if kinds & {"jax", "jaxlib"} and "numpy" not in kinds:
        jax = importlib.import_module("jax")

        if dtype in (None, "float64"):
            jax.config.update("jax_enable_x64", True)
        return tuple(jax.numpy.asarray(x) if isinstance(x, np.ndarray) else x for x in inputs)
    return inputs


def _library(value: Any) -> str:
    """The array library that a value of a module belongs to, or ""."""
    of = value if isinstance(value, type | ModuleType) else type(value)
    names = [value.__name__] if isinstance(value, ModuleType) else [str(getattr(value, "__module__", ""))]
    names += [kind.__module__ for kind in getattr(of, "__mro__", ())]
    return next((top for top in (name.split(".")[0] for name in names) if top in ("torch", "jax", "jaxlib", "numpy")), "")


def _uses(function: Any, seen: set[int]) -> set[str]:
    """The array libraries that a function refers to, itself or through functions of its file."""
    code = getattr(function, "__code__", None)
    if code is None or id(code) in seen:
        return {found} if (found := _library(function)) else set()
    seen.add(id(code))
    libraries: set[str] = set()
    for name in code.co_names:
        value = function.__globals__.get(name)
        if value is not None:
            libraries |= _uses(value, seen) if inspect.isfunction(value) else {_library(value)} - {""}
    return libraries


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the user's file raises becomes one line with its place."""
    try:
        yield
    except BackproofError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, BackproofError):
            raise
        place = _line(cause, path)
        raise type(error)(f"{error} ({place})" if place else str(error)) from error
    except SyntaxError as error:
        where = f"{Path(error.filename or path).name}, line {error.lineno}"
        raise ArgumentError(f"{where}: {type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise ArgumentError(f"{_line(error, path) or path}: {type(error).__name__}: {error}") from error


def _line(error: BaseException, path: Path) -> str:
    """The last line of the user's folder that an error came through."""
    folder, mine = path.resolve().parent, ""
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file == path.resolve() or (folder in file.parents and "site-packages" not in file.parts):
            mine = f"{file.name}, line {frame.lineno}" + (f", in {frame.name}" if frame.name != "<module>" else "")
    return mine
