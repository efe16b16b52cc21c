"""The code blocks of a page of the documentation, and what it takes to run them as its reader would."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# a fence, perhaps within a list or a tab; its language and the rest of its first line
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w-]*)(?P<options>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks)$", re.M | re.S
)
_TITLE = re.compile(r'title="([^"]*)"')
NOT_RUN = "not run by the tests: "
_NUMBER = r"-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+"
_DECIMAL = re.compile(_NUMBER)
_PARTS = re.compile(rf"(\.\.\.|{_NUMBER})")


@dataclass
class Block:
    """A fenced block: `file` is the name it is to be saved under, `not_run` the reason why the tests leave it alone."""

    language: str
    text: str
    line: int
    file: str = ""
    not_run: str = ""


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = []
    for match in _FENCE.finditer(page):
        title = _TITLE.search(match["options"])
        name = title[1] if title else ""
        text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        block = Block(match["language"], text, page.count("\n", 0, match.start()) + 1)
        if name.startswith(NOT_RUN):
            block.not_run = name.removeprefix(NOT_RUN)
        elif re.fullmatch(r"[\w./-]+\.\w+", name):
            block.file = name
        found.append(block)
    return found


def run_page(path: Path, folder: Path) -> None:
    """Run a page's blocks in `folder`, the current one: files are written, Python shares its names, outputs are compared."""
    names: dict[str, Any] = {"__name__": "__main__"}
    output: str | None = None
    for block in blocks(path.read_text(encoding="utf-8")):
        place = f"{path.name}, line {block.line}"
        before, output = output, None
        if block.not_run:
            continue
        if block.file:
            target = folder / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            output = run_python(block.text, place, names)
        elif block.language == "text" and before is not None:
            assert_shown(before, block.text, place)
        elif block.language == "console":
            for command, expected in commands(block.text):
                shown = run_command(command, folder)
                if expected:
                    assert_shown(shown, expected, f"{place}: {command}")
        else:
            raise AssertionError(f"{place}: a block of the kind {block.language!r} is neither run nor compared nor saved")


def run_python(code: str, place: str, names: dict[str, Any]) -> str:
    """What a block of Python prints."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(code, place, "exec"), names)
    return shown.getvalue()


def commands(text: str) -> list[tuple[str, str]]:
    """(command, what is shown below it) of a block of lines; a command begins with a dollar and ends with its line."""
    found = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE)
    assert found, f"no command in {text!r}"
    return found


def run_command(command: str, folder: Path) -> str:
    """What a command prints on both streams. One whose output shows no mistake of its reader's has to succeed."""
    tools = folder / ".tools"
    if not tools.exists():  # the commands of this very Python, installed or not
        tools.mkdir()
        for name, module in (("backproof", "backproof"), ("pytest", "pytest -p no:cacheprovider")):
            (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n', encoding="utf-8")
            (tools / name).chmod(0o755)
        (tools / "python").symlink_to(sys.executable)
    own = {"COLUMNS": "100", "NO_COLOR": "1", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "FORCE_COLOR"))} | own
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


_TRAINED = re.compile("epoch|trained in|held-out examples:|accuracy|calibration error")


def assert_shown(shown: str, expected: str, place: str) -> None:
    """Equal but for spaces at the ends of lines, what the page leaves out with `...`, and the last digit of decimal numbers.

    Where a training ends is less certain: hundreds of steps make more of how a processor rounds, and of how many lanes it adds in.
    """
    shown, expected = plain(shown), plain(expected)
    told = f"{place}\n--- the page shows\n{expected}\n--- it is\n{shown}"
    pattern = "".join(
        ".*?" if p == "..." else f"({_NUMBER})" if _DECIMAL.fullmatch(p) else re.escape(p) for p in _PARTS.split(expected)
    )
    found = re.fullmatch(pattern, shown, re.DOTALL)
    assert found, told
    written = [(p, _TRAINED.match(line)) for line in expected.splitlines() for p in _PARTS.split(line) if _DECIMAL.fullmatch(p)]
    for (page, trained), real in zip(written, found.groups(), strict=True):
        # what is as small as rounding differs between machines: that it is so small is what the page says
        tiny = max(abs(float(page)), abs(float(real))) < 1e-9
        alike = trained and abs(float(page) - float(real)) <= 0.02 + 0.2 * abs(float(page))
        assert close(page, real) or tiny or alike, f"{page} or {real}? {told}"


def close(a: str, b: str) -> bool:
    """Whether two decimal numbers differ by no more than one in the last digit that is shown of the first."""
    digits, _, exponent = a.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(a) - float(b)) <= 1.001 * unit


def plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
