"""Writing files so that nothing is lost: never over an existing one unasked, and never half."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from backproof._errors import ArgumentError, OutputExistsError


def require_free(path: Path, overwrite: bool, how: str) -> None:
    """Raise `OutputExistsError` if `path` is taken; `how` says what to do to overwrite it."""
    if not overwrite and path.exists():
        raise OutputExistsError(f"{path}: exists already and is not overwritten; {how}")


def require_writable(folder: Path, name: str) -> None:
    """Raise `ArgumentError` unless files can be made in `folder`, which exists."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ArgumentError(f"{name}: expected a folder that can be written to, received {folder} ({error.strerror})") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path` and rename: a reader sees the old file or the new one, whole. Makes the folder if need be.

    Raises `OSError`, naming `path`, where the disk refuses.
    """
    try:
        _replace(path, content)
    except OSError as error:  # says nothing, or the temporary file's name
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes it private; a result is an ordinary file
        os.replace(temporary, path)
        _settle(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _settle(folder: Path) -> None:
    """Have the folder's entries on the disk, so that a power cut after this call cannot undo the renaming."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
