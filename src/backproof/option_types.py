"""What options of the command line may be: finite numbers, sizes, a number of epochs or steps."""

from __future__ import annotations

import math
import re
from typing import Any

import click


class Real(click.FloatRange):
    """A range of finite numbers."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, received {value}", param, ctx)
        return number


def sizes(ctx: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Sizes of layers: 64,64; none."""
    if text.strip().lower() in ("", "none", "0"):
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if not all(1 <= size <= 1_000_000 for size in sizes):
        raise click.BadParameter(f"expected sizes such as 64,64 (or none), received {text!r}")
    return sizes


def names(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names of columns: a,b."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def size(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Height and width: 28,28."""
    if text is None:
        return None
    given = sizes(ctx, parameter, text)
    if len(given) != 2:
        raise click.BadParameter(f"expected height and width such as 28,28, received {text!r}")
    return given


def every(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, str] | None:
    """A number of epochs or steps: 5; 200 steps."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d{1,12})\s*(epochs?|steps?)?\s*", text)
    if found is None or int(found[1]) < 1:
        raise click.BadParameter(f"expected a number of epochs or steps such as 5 or '200 steps', received {text!r}")
    return int(found[1]), "steps" if found[2] and found[2].startswith("step") else "epochs"
