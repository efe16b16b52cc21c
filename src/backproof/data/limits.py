"""Files from anyone: what other libraries raise on damaged bytes becomes a `DataError`, and declared sizes must be plausible."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backproof._errors import DataError

_ANY_FILE = 16 << 20
_LONGEST = 300  # characters of a foreign library's message


@contextlib.contextmanager
def foreign(path: Path, what: str) -> Iterator[None]:
    """Around calls that hand bytes of `path` to a parser, and nothing else: whatever it raises says that it is not `what`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # parsers of damaged bytes raise nearly everything: struct.error, KeyError, SyntaxError, ...
        said = " ".join(str(error).split()) or type(error).__name__
        said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."
        raise DataError(f"{path}: expected {what}, received one that cannot be read ({said})") from error


def require_plausible(where: object, declared: int, stored: int, ratio: int = 100) -> None:
    """Raise `DataError` before memory is asked for, if `stored` bytes of a file declare themselves to become `declared`.

    Data compress, but seldom to a hundredth: what claims more, and is not small, is a damaged header or a decompression bomb.
    """
    if declared > max(_ANY_FILE, ratio * stored):
        raise DataError(
            f"{where}: expected contents of at most {ratio} times the size of the file, received {stored:,} bytes that declare "
            f"{declared:,}; such data must be stored uncompressed"
        )


def optional(module: str, extra: str, path: Path) -> Any:
    """A library that comes with an extra of this package; `DataError` says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        library = module.split(".")[0]
        raise DataError(
            f"{path}: expected {library} to be installed, which reads this kind of file; pip install 'backproof[{extra}]'"
        ) from error
