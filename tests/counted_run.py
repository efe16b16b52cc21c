"""`backproof`, which leaves its steps counted when it is killed: python -m tests.counted_run FILE train DATA ...

FILE holds three whole numbers (`NOTHING` to begin with), mapped into memory, so that a kill cannot lose them: the first step that
was made, the last one, and the step of the last checkpoint that was written.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from backproof.cli import main
from backproof.saving.checkpoints import Checkpoints
from backproof.step import TrainingStep

FIRST, LAST, KEPT = range(3)
NOTHING = bytes(24)


def counting(path: Path) -> None:
    """Have every step and checkpoint of this process counted in `path`."""
    counts = np.memmap(path, np.int64, "r+", shape=(3,))
    step, write = TrainingStep.__call__, Checkpoints.write

    def counted_step(self: TrainingStep, *arguments: Any, **options: Any) -> float:
        loss = step(self, *arguments, **options)
        counts[FIRST] = counts[FIRST] or self.count
        counts[LAST] = self.count
        return loss

    def counted_write(self: Checkpoints, number: int, state: dict[str, Any]) -> bool:
        written = write(self, number, state)
        if written:
            counts[KEPT] = number
        return written

    TrainingStep.__call__, Checkpoints.write = counted_step, counted_write  # type: ignore[method-assign]


def counted(path: Path) -> tuple[int, int, int]:
    """(first step, last step, last checkpoint) of the process that counted in `path`; 0 for none."""
    first, last, kept = np.fromfile(path, np.int64).tolist()
    return first, last, kept


if __name__ == "__main__":
    target = Path(sys.argv.pop(1))
    counting(target)
    main()
