"""The notebooks run, and show what they were saved with."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, assert_shown

FOLDER = ROOT / "docs" / "notebooks"
LARGEST = 256 * 1024  # bytes: pictures and all


def tools() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "tools" / "notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(cell: Any) -> tuple[str, list[list[str]]]:
    """What a cell prints, and the kinds of what it shows besides."""
    outputs = cell.get("outputs", [])
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    printed = re.sub(r"backproof: compiling .*\n", "", printed)  # the first time on a machine
    return printed, [sorted(o["data"]) for o in outputs if o["output_type"] != "stream"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_was_saved_with(path: Path, tmp_path: Path) -> None:
    saved = json.loads(path.read_text(encoding="utf-8"))["cells"]
    ran = tools().executed(path, tmp_path).cells
    assert len(ran) == len(saved)
    for before, now in zip(saved, ran, strict=True):
        (text, kinds), (expected, known) = shown(now), shown(before)
        assert kinds == known
        assert_shown(text, expected, f"{path.name}, the cell\n{''.join(before['source'])}")
    assert path.stat().st_size < LARGEST


def test_there_are_three_and_each_draws_something() -> None:
    drawn = {
        path.stem: sum("image/png" in str(cell.get("outputs")) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])
        for path in FOLDER.glob("*.ipynb")
    }
    assert sorted(drawn) == ["kernel", "question", "train"]
    assert all(drawn.values())


def test_a_page_has_text_code_outputs_and_pictures_in_order(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {
            "cell_type": "code",
            "source": ["f()"],
            "outputs": [
                {"output_type": "stream", "text": ["printed\n"]},
                {"output_type": "execute_result", "data": {"image/png": "AAAA", "text/plain": ["<Figure>"]}},
                {"output_type": "execute_result", "data": {"text/html": ["<b>x</b>"], "text/plain": ["x"]}},
            ],
        },
    ]
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    made = tools().page(tmp_path / "one.ipynb", "notebooks/one")
    text = made["notebooks/one.md"]
    order = [text.index(part) for part in ("# Title", "(one.ipynb)", "```python\nf()\n```", "printed", "(one-1.png)", "<b>x</b>")]
    assert order == sorted(order)
    assert made["notebooks/one-1.png"] == b"\0\0\0"
