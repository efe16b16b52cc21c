"""Where a page is written: refused at once if it cannot be, and never written by half."""

from __future__ import annotations

import os
from pathlib import Path

from backproof._errors import ArgumentError, ArgumentTypeError
from backproof.saving.files import require_free, write_atomically


def require_file(
    path: str | os.PathLike[str], overwrite: bool, name: str = "path", how: str = "pass overwrite=True, or another path"
) -> None:
    """Raise the error that names the argument `name` unless `path` is a file that can be made; `how` says how to overwrite."""
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"{name}: expected a path, received {type(path).__name__}")
    file = Path(path)
    if "\0" in str(file):
        raise ArgumentError(f"{name}: expected a file, received {str(file)!r}")
    if file.is_dir() or not file.name:
        raise ArgumentError(f"{name}: expected a file, received the folder {file}")
    above = next((folder for folder in file.parents if folder.exists()), None)
    if above is not None and not above.is_dir():
        raise ArgumentError(f"{name}: expected a file in a folder, received {file}, and {above} is no folder")
    require_free(file, overwrite, how)


def write(path: str | os.PathLike[str], page: str) -> None:
    """Write the page; what the system refuses is an `ArgumentError`."""
    try:
        write_atomically(Path(path), page.encode())
    except OSError as error:
        raise ArgumentError(f"path: expected a file that can be written, received {path} ({error.strerror})") from error
