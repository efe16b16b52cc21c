"""Arguments within lists, tuples and dictionaries: taken apart into leaves, and put together again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hole:
    """The place of leaf number `index`."""

    index: int


def take_apart(value: Any, is_leaf: Callable[[Any], bool], names: Sequence[str] | None = None) -> tuple[list[tuple[str, Any]], Any]:
    """([(path, leaf), ...], the same structure with a Hole for each leaf). `names` are those of the entries at the top."""
    leaves: list[tuple[str, Any]] = []

    def walk(part: Any, path: str) -> Any:
        if is_leaf(part):
            leaves.append((path, part))
            return Hole(len(leaves) - 1)
        if isinstance(part, Mapping):
            return {key: walk(v, f"{path}[{key!r}]") for key, v in part.items()}
        if isinstance(part, list | tuple):
            inner = [walk(v, f"{path}[{i}]" if path or names is None else names[i]) for i, v in enumerate(part)]
            return inner if isinstance(part, list) else type(part)(*inner) if hasattr(part, "_fields") else tuple(inner)
        return part

    return leaves, walk(value, "")


def fill(skeleton: Any, leaves: Sequence[Any]) -> Any:
    """The inverse: `skeleton` with leaves in its holes; containers are new ones."""
    if isinstance(skeleton, Hole):
        return leaves[skeleton.index]
    if isinstance(skeleton, dict):
        return {key: fill(v, leaves) for key, v in skeleton.items()}
    if isinstance(skeleton, list | tuple):
        inner = [fill(v, leaves) for v in skeleton]
        return inner if isinstance(skeleton, list) else type(skeleton)(*inner) if hasattr(skeleton, "_fields") else tuple(inner)
    return skeleton
