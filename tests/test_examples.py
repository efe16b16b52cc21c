"""The examples do what they say."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_a_torch_script_has_the_same_losses_with_our_cross_entropy():
    """To a rounding of the loss for each step that the weights have come from."""
    records = runpy.run_path(str(EXAMPLES / "train_torch.py"))["compare"](words=300, batch=64, steps=40)
    losses = {name: np.array([loss for loss, _ in record]) for name, record in records.items()}
    np.testing.assert_allclose(losses["backproof"][:3], losses["torch"][:3], rtol=2**-21)
    np.testing.assert_allclose(losses["backproof"], losses["torch"], rtol=40 * 2**-23)
    assert losses["backproof"][-1] < 0.9 * losses["backproof"][0]


def test_the_torch_script_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train_torch.py", "--words", "50", "--batch", "8", "--steps", "5"])
    runpy.run_path(str(EXAMPLES / "train_torch.py"), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 5 + 2
    assert [line.split(":")[0] for line in lines[-2:]] == ["torch", "backproof"]
