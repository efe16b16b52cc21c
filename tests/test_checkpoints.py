"""Trainings that end early and go on: the very weights and records of one that was never interrupted, whatever ended it."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import signal
import subprocess
import warnings

import numpy as np
import pytest

import backproof as bp
from backproof.saving import files

RNG = np.random.default_rng(0)
X, T = RNG.normal(size=(50, 6)), np.arange(50) % 3
V = RNG.normal(size=(20, 6)), np.arange(20) % 3


class Killed(BaseException):
    """Ends a training on the spot, as nothing in it expects."""


class Mortal(bp.Checkpoints):
    """Checkpoints of a process that is killed after so many of them."""

    left = 10**9

    def write(self, step, state):
        done = super().write(step, state)
        self.left -= 1
        if self.left < 0:
            raise Killed
        return done


def plain() -> bp.Network:
    return bp.Network(
        [bp.Standardize.fit(X), bp.Linear(5), bp.Tanh(), bp.Dropout(0.3), bp.Linear(3), bp.Softmax()], bp.CrossEntropy(), l2=1e-3
    )


def winding() -> bp.Network:
    stack = [
        bp.Linear(6),
        bp.Residual(bp.Linear(6), bp.Softmax()),
        bp.Dropout(0.2),
        bp.Concatenate(bp.Linear(3), bp.Tanh()),
        bp.Linear(3),
    ]
    return bp.Network(stack, bp.CrossEntropy(label_smoothing=0.1), dtype="float32")


CASES = {
    "adam": (plain, {"optimizer": bp.adam(bp.cosine(0.02, 40))}),
    "compiled": (plain, {"optimizer": bp.adam(0.02), "compiled": True, "validation": V}),
    "adamw, clipped": (winding, {"optimizer": bp.chain(bp.clip_by_norm(0.5), bp.adamw(0.01))}),
    "sgd, weights": (winding, {"optimizer": bp.sgd(0.05, momentum=0.9, nesterov=True), "sample_weight": np.linspace(0.5, 2, 50)}),
    "rmsprop, early": (
        winding,
        {"optimizer": bp.rmsprop(0.01), "validation": V, "early_stopping": bp.EarlyStopping("validation_accuracy", patience=3)},
    ),
    "all at once": (plain, {"batch_size": 64, "optimizer": bp.adam(0.01)}),
}


def outcome(network: bp.Network, records: list[bp.Record]) -> tuple[bytes, list[bp.Record]]:
    return network.parameters.tobytes(), [dataclasses.replace(record, seconds=0.0) for record in records]


def trained(case: str, checkpoint: bp.Checkpoints | None = None, epochs: int = 6) -> tuple[bytes, list[bp.Record]]:
    make, options = CASES[case]
    network = make()
    options = {"batch_size": 8, "seed": 3, "epochs": epochs, "checkpoint": checkpoint} | options
    return outcome(network, list(bp.train(network, X, T, **options)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("every", "unit"), [(1, "epochs"), (2, "epochs"), (1, "steps"), (5, "steps")])
def test_a_killed_training_ends_as_one_that_was_not(case, every, unit, tmp_path):
    whole = trained(case)
    steps = len(whole[1]) * (-(-50 // CASES[case][1].get("batch_size", 8)))
    lives = 0
    for lives in range(1000):  # killed again and again, after 1, 2, 1, 2, ... checkpoints
        checkpoints = Mortal(tmp_path, every, unit, resume=True)
        checkpoints.left = lives % 2
        try:
            assert trained(case, checkpoints) == whole
            break
        except Killed:
            assert len(list(tmp_path.iterdir())) <= 2
    assert lives >= (len(whole[1]) if unit == "epochs" else steps) // every / 2 - 1


@pytest.mark.parametrize("case", ["adam", "rmsprop, early"])
def test_more_epochs_than_at_first(case, tmp_path):
    trained(case, bp.Checkpoints(tmp_path), epochs=3)
    assert trained(case, bp.Checkpoints(tmp_path, resume=True)) == trained(case)
    with pytest.raises(bp.ModelFileError, match=r"expected at most \(2, 50\) epochs and examples of the next, received \("):
        trained(case, bp.Checkpoints(tmp_path, resume=True), epochs=2)


def test_checkpoints_change_nothing(tmp_path):
    assert trained("adam", bp.Checkpoints(tmp_path, 2, "steps")) == trained("adam")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000040.safetensors", "step-000000000042.safetensors"]


def test_a_folder_alone_is_enough(tmp_path):
    network = plain()
    list(bp.train(network, X, T, epochs=2, seed=0, checkpoint=tmp_path / "new" / "folder"))
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 2


def test_checkpoints_are_not_taken_for_another_trainings(tmp_path):
    trained("adam", bp.Checkpoints(tmp_path), epochs=2)
    with pytest.raises(bp.OutputExistsError, match="resume=True"):
        trained("adam", bp.Checkpoints(tmp_path))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"batch_size": 9}, "batch_size"),
        ({"seed": 4}, "seed"),
        ({"optimizer": bp.adam(bp.cosine(0.02, 41))}, "optimizer"),
        ({"optimizer": bp.sgd(0.1)}, "optimizer"),
        ({"validation": V}, "data"),
        ({"sample_weight": np.ones(50)}, "data"),
        ({"compiled": True}, "compiled"),
        ({"early_stopping": bp.EarlyStopping("train_loss")}, "early_stopping"),
    ],
)
def test_what_differs_is_named(changes, name, tmp_path):
    trained("adam", bp.Checkpoints(tmp_path), epochs=2)
    options = {"batch_size": 8, "seed": 3, "epochs": 6, "checkpoint": bp.Checkpoints(tmp_path, resume=True)} | CASES["adam"][1]
    with pytest.raises(bp.ModelFileError, match=f"expected the {name} of the training that goes on"):
        bp.train(plain(), X, T, **(options | changes))


def test_other_data_and_another_network_are_named(tmp_path):
    trained("adam", bp.Checkpoints(tmp_path), epochs=2)
    options = {"batch_size": 8, "seed": 3, "epochs": 6, "checkpoint": bp.Checkpoints(tmp_path, resume=True)} | CASES["adam"][1]
    with pytest.raises(bp.ModelFileError, match="expected the data of"):
        bp.train(plain(), X + 1e-9, T, **options)
    with pytest.raises(bp.ModelFileError, match="expected the network of"):
        bp.train(bp.Network(plain().chain, bp.CrossEntropy(), l2=2e-3), X, T, **options)


def test_the_last_good_weights_survive_as_well(tmp_path):
    """Killed after the step that led astray, before the one that finds out: the weights gone back to are the same."""
    options = {
        "optimizer": bp.sgd(lambda step: 0.1 if step < 20 else 1e200),
        "batch_size": 8,
        "seed": 0,
        "epochs": 9,
        "metrics": {},
    }
    ends = []
    for folder in (None, tmp_path, tmp_path):
        network = bp.Network([bp.Linear(3)], bp.SquaredError())
        checkpoint = None
        if folder is not None:
            checkpoint = Mortal(folder, 1, "steps", resume=True)
            checkpoint.left = 20 if not any(folder.iterdir()) else 10**9
        with pytest.raises((bp.DivergenceError, Killed)):
            list(bp.train(network, X, np.eye(3)[T], checkpoint=checkpoint, **options))
        ends.append(network.parameters.tobytes())
    assert ends[0] == ends[2]
    assert ends[0] != ends[1]


# --- disks -----------------------------------------------------------------------------------------------------------------
def full_disk_at(monkeypatch, writes: range) -> None:
    """The n-th checkpoint writes half and then finds the disk full, for n in `writes`."""
    real, count = os.fdopen, iter(range(10**9))

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.file.close()

        def write(self, content):
            self.file.write(content[: len(content) // 2])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fdopen(handle, mode):
        file = real(handle, mode)
        return Full(file) if next(count) in writes else file

    monkeypatch.setattr(files.os, "fdopen", fdopen)


def test_a_full_disk_costs_the_checkpoint_and_a_warning(monkeypatch, tmp_path):
    whole = trained("adam")
    with monkeypatch.context() as patch:
        full_disk_at(patch, range(3, 10**6))
        with pytest.warns(bp.CheckpointWarning) as warned:
            assert trained("adam", bp.Checkpoints(tmp_path)) == whole  # it went on
    message = r"step 28 could not be written \(No space left on device\); the last one, step-000000000021\.safetensors, is kept"
    assert re.search(message, str(warned[0].message))
    assert len(warned) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000014.safetensors", "step-000000000021.safetensors"]
    assert trained("adam", bp.Checkpoints(tmp_path, resume=True)) == whole


def test_a_real_file_system_that_fills_up(tmp_path):
    """A limit on the size of files, as the kernel enforces it, in the midst of a write."""
    resource = pytest.importorskip("resource")
    whole = trained("adam")
    trained("adam", bp.Checkpoints(tmp_path), epochs=3)
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    before, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, limits[1]))
    try:
        with pytest.warns(bp.CheckpointWarning, match="File too large"):
            assert trained("adam", bp.Checkpoints(tmp_path, resume=True)) == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000000014.safetensors", "step-000000000021.safetensors"]
    assert trained("adam", bp.Checkpoints(tmp_path, resume=True)) == whole


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs the right to mount")
def test_a_small_file_system_that_fills_up(tmp_path):
    whole = trained("adam", bp.Checkpoints(tmp_path / "elsewhere"))
    room = 3 * max(path.stat().st_size for path in (tmp_path / "elsewhere").iterdir()) // 1024 + 8
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting is not permitted")
    try:
        trained("adam", bp.Checkpoints(folder / "c", 1, "steps"), epochs=2)
        (folder / "others").write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - 4096))
        with pytest.warns(bp.CheckpointWarning, match="No space left on device"):
            assert trained("adam", bp.Checkpoints(folder / "c", 1, "steps", resume=True)) == whole
        assert sorted(path.name for path in (folder / "c").iterdir()) == [
            "step-000000000013.safetensors",
            "step-000000000014.safetensors",
        ]
        (folder / "others").unlink()
        assert trained("adam", bp.Checkpoints(folder / "c", resume=True)) == whole
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path):
    whole = trained("adam")
    trained("adam", bp.Checkpoints(tmp_path), epochs=4)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(bp.CheckpointWarning, match="going on from the checkpoint before"):
        assert trained("adam", bp.Checkpoints(tmp_path, resume=True)) == whole
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.warns(bp.CheckpointWarning), pytest.raises(bp.ModelFileError, match=r"step-\d+\.safetensors: expected a whole"):
        trained("adam", bp.Checkpoints(tmp_path, resume=True))


def test_leftovers_of_a_killed_write_are_cleared(tmp_path):
    (tmp_path / ".step-000000000007.safetensors.abc").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    trained("adam", bp.Checkpoints(tmp_path, 100, resume=True))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_to_is_found_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((OSError, bp.ArgumentError)):
        bp.train(plain(), X, T, checkpoint=tmp_path / "file")


# --- interruption ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("every", [None, 5])
def test_interrupting_finishes_the_step_and_saves(every, tmp_path):
    whole = trained("adam")
    checkpoints = bp.Checkpoints(tmp_path, every)
    seen = []

    def follow() -> None:
        for record in bp.train(plain(), X, T, batch_size=8, seed=3, epochs=6, checkpoint=checkpoints, **CASES["adam"][1]):
            seen.append(record)
            if record.epoch == 2:
                checkpoints.interrupt()

    with pytest.raises(KeyboardInterrupt):
        follow()
    assert len(seen) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000000015.safetensors"]  # one step into the third epoch
    assert trained("adam", bp.Checkpoints(tmp_path, resume=True)) == whole


@pytest.fixture
def ctrl_c():
    """Python's own handler, which a process in the background of a shell lacks."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_caught_once(tmp_path):
    checkpoints, told = bp.Checkpoints(tmp_path), []
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        with checkpoints.finishing(lambda: told.append(1)):
            os.kill(os.getpid(), signal.SIGINT)
            assert checkpoints.interrupted
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert told == [1]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every to be a positive whole number"),
        ({"unit": "minutes"}, "unit to be 'epochs' or 'steps'"),
    ],
)
def test_bad_arguments(arguments, message, tmp_path):
    with pytest.raises(bp.ArgumentError, match=message):
        bp.Checkpoints(tmp_path, **arguments)


def test_what_has_no_state_of_its_own_is_refused(tmp_path):
    with pytest.raises(bp.ArgumentError, match="L-BFGS keeps its state to itself"):
        bp.train(bp.Network([bp.Linear(3)], bp.CrossEntropy()), X, T, optimizer=bp.lbfgs(), checkpoint=tmp_path)
    with pytest.raises(bp.ArgumentError, match=r"as numpy\.random\.default_rng makes it"):
        bp.train(plain(), X, T, seed=np.random.Generator(np.random.MT19937(0)), checkpoint=tmp_path)


def test_without_a_seed(tmp_path):
    network = plain()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(bp.train(network, X, T, epochs=3, checkpoint=tmp_path))
        assert len(list(bp.train(plain(), X, T, epochs=5, checkpoint=bp.Checkpoints(tmp_path, resume=True)))) == 5


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_training_on_a_source_goes_on_as_well(unit, tmp_path):
    """Batches that are drawn as the pass goes on, with dropout's numbers drawn in between; a buffer of 16 of the 50 examples."""
    from backproof.data import ArraySource

    def run(checkpoint: bp.Checkpoints | None) -> tuple[bytes, list[bp.Record]]:
        network = plain()
        source, held = ArraySource(X, T, buffer_bytes=16 * (X[0].nbytes + 8)), ArraySource(*V)
        return outcome(
            network, list(bp.train(network, source, validation=held, batch_size=8, seed=3, epochs=4, checkpoint=checkpoint))
        )

    whole = run(None)
    for lives in range(100):
        checkpoints = Mortal(tmp_path, 1, unit, resume=True)
        checkpoints.left = lives % 2
        try:
            assert run(checkpoints) == whole
            break
        except Killed:
            continue
    assert lives >= 2
    other = ArraySource(X + 1e-9, T)
    with pytest.raises(bp.ModelFileError, match="expected the data of"):
        bp.train(
            plain(),
            other,
            validation=ArraySource(*V),
            batch_size=8,
            seed=3,
            epochs=4,
            checkpoint=bp.Checkpoints(tmp_path, resume=True),
        )
