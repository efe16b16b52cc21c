"""`backproof train`, killed at random moments and resumed: the same files at the end, nothing unreadable in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backproof.saving.checkpoints import read_state

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

OPTIONS = ["--target", "y", "--hidden", "16", "--epochs", "30", "--batch-size", "16", "--seed", "5"]
STEPS = 30 * 10  # 160 of 213 examples to train on


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "backproof", "train", *map(str, arguments)]


def finish(*arguments: object) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, bytes]:
    """The data, and the model of a run that was never interrupted and kept no checkpoints."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    np.savez(folder / "d.npz", x=rng.normal(size=(213, 5)), y=rng.integers(0, 3, 213))
    finish(folder / "d.npz", *OPTIONS, "--out", folder / "run")
    return folder / "d.npz", (folder / "run" / "model.safetensors").read_bytes()


def newest(folder: Path) -> int:
    """The step of the newest checkpoint, 0 if there is none; every one can be read."""
    found = sorted(folder.glob("checkpoints/step-*.safetensors"))
    for path in found:
        read_state(path)
    return int(found[-1].stem.removeprefix("step-")) if found else 0


def killed(arguments: list[object], folder: Path, seconds: float, number: int) -> int | None:
    """Run until `seconds` after the first sign of training, then kill; the exit code, None if it was over before."""
    process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    begun = time.monotonic()
    before = newest(folder)
    while process.poll() is None and newest_name(folder) <= before and time.monotonic() - begun < 60:
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    if process.returncode == 130:
        assert b"to go on: backproof train --resume" in said
    return None if process.returncode == 0 else process.returncode


def newest_name(folder: Path) -> int:
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob("checkpoints/step-*.safetensors")), default=0)


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(i, marks=pytest.mark.slow) for i in range(2, 30))])
def test_a_run_that_is_killed_ends_as_one_that_was_not(seed, whole, tmp_path):
    data, model = whole
    rng, folder, done, kills = np.random.default_rng(seed), tmp_path / "run", 0, 0
    every = ["1 steps", "3 steps", "7steps", "1 epoch"][seed % 4]
    arguments: list[object] = [data, *OPTIONS, "--out", folder, "--checkpoint-every", every]
    for _ in range(2):  # killed, resumed, killed again
        code = killed(arguments, folder, rng.exponential(0.15), signal.SIGKILL)
        if code is None:
            break
        kills += 1
        assert code == -signal.SIGKILL
        assert newest(folder) >= max(done, 1)  # what had been kept is never lost
        done = newest(folder)
        arguments = ["--resume", folder]
    else:
        finish("--resume", folder)
    assert kills > 0
    assert (folder / "model.safetensors").read_bytes() == model
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert newest(folder) == STEPS - (STEPS % 7 if every == "7steps" else 0)


@pytest.mark.parametrize("every", [[], ["--checkpoint-every", "50 steps"]])
def test_ctrl_c_finishes_the_step_saves_and_exits_with_130(every, whole, tmp_path):
    data, _ = whole
    folder = tmp_path / "run"
    process = subprocess.Popen(
        command(data, *OPTIONS, "--epochs", "3000", "--out", folder, *every),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "epoch" not in process.stdout.readline():  # the first record: it is training
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"to go on: backproof train --resume {folder}" in said
    assert newest(folder) > 0
    assert not (folder / "model.safetensors").exists()
