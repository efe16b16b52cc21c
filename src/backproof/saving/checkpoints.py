"""Checkpoints: the state of a training in a folder, so that it survives whatever ends the process.

A checkpoint is written beside the others and renamed when it is on the disk, so none is ever half; the last two are kept. A disk
that is full costs the new checkpoint and a warning, not the run and not the checkpoints before.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backproof._errors import ArgumentError, CheckpointWarning, ModelFileError, OutputExistsError
from backproof.layers.base import require_count
from backproof.saving import container, trees
from backproof.saving.files import require_writable
from backproof.saving.model import refusals

KEPT = 2
_NAME = re.compile(r"step-(\d{12})\.safetensors")


class Checkpoints:
    """Where `train` keeps its state, and how often.

    folder : made if need be; for one training alone. every, unit : a checkpoint after each `every` "epochs" or "steps"; None for
    none but when interrupted. resume : go on from the newest checkpoint in the folder if there is one; without it, a folder that
    holds checkpoints is an `OutputExistsError`. warn : what is told when a checkpoint could not be written; by default it is a
    `CheckpointWarning`.

    `interrupt()`, from another thread or a signal, has the training finish its step, write a checkpoint and raise
    `KeyboardInterrupt`; `with checkpoints.finishing():` does that for the first Ctrl-C.

    >>> import numpy as np, tempfile
    >>> from backproof import CrossEntropy, Linear, Network, train
    >>> x, t = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    >>> def run(folder, epochs, resume):
    ...     network = Network([Linear(2)], CrossEntropy())
    ...     for record in train(network, x, t, epochs=epochs, seed=0, checkpoint=Checkpoints(folder, resume=resume)):
    ...         pass
    ...     return network.parameters
    >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
    ...     whole = run(one, 6, False)
    ...     _ = run(two, 3, False)
    ...     bool((run(two, 6, True) == whole).all())
    True
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = 1,
        unit: str = "epochs",
        *,
        resume: bool = False,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        if every is not None:
            require_count("Checkpoints", "every", every)
        if unit not in ("epochs", "steps"):
            raise ArgumentError(f"Checkpoints: expected unit to be 'epochs' or 'steps', received {unit!r}")
        self.folder, self.every, self.unit, self.resume = Path(folder), every, unit, resume
        self.interrupted = False
        self._warn = warn or (lambda message: warnings.warn(message, CheckpointWarning, stacklevel=3))

    def held(self) -> list[Path]:
        """The checkpoints in the folder, the newest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted((path for path in found if _NAME.fullmatch(path.name)), reverse=True)

    def clear(self) -> None:
        """Remove the checkpoints in the folder."""
        for path in self.held():
            path.unlink()

    def open(self) -> tuple[Path, Any] | None:
        """Make the folder ready; the checkpoint to go on from and the state in it, None to begin.

        Raises `OutputExistsError` for checkpoints that nobody asked to resume, `ModelFileError` if none of them can be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        require_writable(self.folder, "checkpoint")
        held = self.held()
        if held and not self.resume:
            raise OutputExistsError(
                f"{self.folder}: holds checkpoints already; give resume=True to go on from them, or another folder"
            )
        for stray in self.folder.glob(".step-*.safetensors.*"):  # of a process that was killed while it wrote
            stray.unlink(missing_ok=True)
        for path in held:
            try:
                return path, read_state(path)
            except ModelFileError as error:
                if path == held[-1]:
                    raise
                self._warn(f"{error}; going on from the checkpoint before")
        return None

    def is_due(self, steps: int, epochs: int | None) -> bool:
        """Whether a checkpoint belongs after so many steps; `epochs` says how many these make, None in the midst of one."""
        count = steps if self.unit == "steps" else epochs
        return self.every is not None and count is not None and count % self.every == 0

    def write(self, step: int, state: dict[str, Any]) -> bool:
        """Keep `state`, of the training after `step` steps; False, and a warning, where the disk refuses."""
        tensors: container.Tensors = {}
        described = trees.to_json(state, "state", tensors)
        try:
            container.write(self.folder / f"step-{step:012d}.safetensors", "checkpoint", {"state": described}, tensors)
            for path in self.held()[KEPT:]:
                path.unlink(missing_ok=True)
        except OSError as error:
            last = self.held()
            self._warn(
                f"{self.folder}: the checkpoint of step {step} could not be written ({error.strerror or error}); "
                f"{f'the last one, {last[0].name}, is kept' if last else 'there is none before it'}"
            )
            return False
        return True

    def interrupt(self) -> None:
        """Have the training finish its step, write a checkpoint and raise `KeyboardInterrupt`."""
        self.interrupted = True

    @contextlib.contextmanager
    def finishing(self, tell: Callable[[], None] | None = None) -> Iterator[None]:
        """Within it, the first Ctrl-C is `interrupt()`, after calling `tell`; the second is what it was before."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals belong to the main thread
            return
        before = signal.getsignal(signal.SIGINT)

        def handle(number: int, frame: object) -> None:
            signal.signal(signal.SIGINT, before)
            self.interrupt()
            if tell is not None:
                tell()

        signal.signal(signal.SIGINT, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def read_state(path: Path) -> Any:
    """The state in the checkpoint `path`. Raises `ModelFileError`, naming the file, if it is damaged or of another kind."""
    with refusals(path):
        description, tensors = container.read(path, "checkpoint")
        return trees.from_json(description["state"], tensors)
