"""`backproof train`, killed at random moments and resumed: the same files at the end, nothing unreadable in between."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from backproof.saving.checkpoints import read_state
from tests.counted_run import NOTHING, counted

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

ROOT = Path(__file__).parent.parent
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
    return step_of(found[-1]) if found else 0


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step-"))


def killed(arguments: list[object], counts: Path, step: int, seconds: float) -> str | None:
    """Run, its steps counted in `counts`, and kill some `seconds` after that step and a checkpoint; what it said if it was over."""
    counts.write_bytes(NOTHING)
    counting = [sys.executable, "-W", "error", "-m", "tests.counted_run", str(counts), "train", *map(str, arguments)]
    process = subprocess.Popen(counting, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT, text=True)
    while process.poll() is None:
        _, last, kept = counted(counts)
        if last >= step and kept:
            time.sleep(seconds)
            break
        time.sleep(0.0005)
    process.kill()
    _, said = process.communicate(timeout=60)
    return None if process.returncode == -signal.SIGKILL else said


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(i, marks=pytest.mark.slow) for i in range(2, 30))])
def test_a_run_that_is_killed_ends_as_one_that_was_not(seed, whole, tmp_path):
    data, model = whole
    rng, folder, counts = np.random.default_rng(seed), tmp_path / "run", tmp_path / "counts"
    every, steps = [("1 steps", 1), ("3 steps", 3), ("7steps", 7), ("1 epoch", 10)][seed % 4]
    arguments: list[object] = [data, *OPTIONS, "--out", folder, "--checkpoint-every", every]
    begun, lost, half = 1, [], 0
    for most in (STEPS // 2, STEPS - 30):  # killed, resumed, killed again
        said = killed(arguments, counts, int(rng.integers(begun, most)), rng.exponential(0.002))
        assert said is None
        first, last, kept = counted(counts)
        assert first == begun  # no step before the last checkpoint is made again
        assert newest(folder) >= kept > 0  # what was told to be kept is there
        lost.append(last - newest(folder))
        half += len(list((folder / "checkpoints").glob(".step-*")))
        begun, arguments = newest(folder) + 1, ["--resume", folder]
    finish("--resume", folder)
    print(f"every {every}: {lost} steps lost, killed {half} times while writing")
    assert all(0 <= number <= steps for number in lost)
    assert (folder / "model.safetensors").read_bytes() == model
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert newest(folder) == STEPS - STEPS % steps


def test_a_run_that_is_killed_before_it_has_kept_anything_begins_anew(whole, tmp_path):
    data, model = whole
    folder = tmp_path / "run"
    arguments = command(data, *OPTIONS, "--out", folder, "--checkpoint-every", "300 steps")
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (folder / "run.json").exists():
        time.sleep(0.002)
    process.kill()
    process.wait(timeout=60)
    assert newest(folder) == 0
    finish("--resume", folder)
    assert (folder / "model.safetensors").read_bytes() == model


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs the right to mount")
def test_a_full_disk_ends_a_run_with_a_clear_error_and_loses_nothing(whole, tmp_path):
    data, model = whole
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        out = folder / "run"
        arguments = command(data, *OPTIONS, "--out", out, "--checkpoint-every", "1 steps")
        with (tmp_path / "said").open("w") as said:
            process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None and not list(out.glob("checkpoints/step-*")):
            time.sleep(0.002)
        with (folder / "others").open("wb", buffering=0) as others:
            while process.poll() is None:  # takes what becomes free, too
                with contextlib.suppress(OSError):
                    others.write(bytes(1 << 16))
                time.sleep(0.001)
        assert process.returncode == 2
        lines = (tmp_path / "said").read_text().splitlines()
        assert "could not be written (No space left on device); the last one, step-" in lines[0]
        assert lines[-1] == f"backproof: error: {out / 'model.safetensors'}: No space left on device"
        assert 0 < newest(out) < STEPS
        (folder / "others").unlink()
        finish("--resume", out)
        assert (out / "model.safetensors").read_bytes() == model
    finally:
        subprocess.run(["umount", folder], check=True)


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
