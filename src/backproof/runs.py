"""What `backproof train` was asked for, kept in the folder of its results, so that `--resume FOLDER` needs nothing else."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backproof._errors import ArgumentError
from backproof.job import Settings
from backproof.saving.files import write_atomically

FILE = "run.json"


@dataclass(frozen=True)
class Run:
    """Where the data come from, the settings, how often a checkpoint is written, and how the data are read.

    every : (count, "epochs" or "steps"), None for no checkpoint but when interrupted. reading : options of `backproof.data.read`.
    """

    source: str
    target: str | None
    settings: Settings
    every: tuple[int, str] | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    finished: bool = False

    def write(self, folder: Path) -> None:
        """Keep it in `folder`. A file of data is named by its whole path: the run may go on from another folder."""
        source = str(Path(self.source).resolve()) if Path(self.source).exists() else self.source
        described = dataclasses.asdict(dataclasses.replace(self, source=source))
        write_atomically(folder / FILE, json.dumps(described, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in `folder`. Raises `ArgumentError` if there is none, or none that can be read."""
        try:
            given: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
            settings, reading = _with_tuples(given.pop("settings")), _with_tuples(given.pop("reading"))
            every = given.pop("every")
            every = None if every is None else (int(every[0]), str(every[1]))
            return cls(settings=Settings(**settings), every=every, reading=reading, **given)
        except OSError as error:
            raise ArgumentError(f"--resume: expected the folder of a run, received {folder} ({FILE}: {error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ArgumentError(f"--resume: expected the folder of a run, received {folder}, whose {FILE} is damaged") from error


def _with_tuples(options: dict[str, Any]) -> dict[str, Any]:
    """What JSON made lists of, as the tuples that they were."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
