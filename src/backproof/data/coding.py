"""How the columns of a data set become a network's inputs: fitted on the training part, kept in the model file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from backproof.arrays import Array
from backproof.data.cells import date_of
from backproof.data.rows import Image, Kind, Reading


@dataclass(frozen=True)
class Coding:
    """Numbers and dates as they are, a categorical column as one input for each value that the training part has (one-hot).

    A value that it does not have, in new data, is none of them: all its inputs are 0. An empty cell (null) of a categorical column
    is a value like others. features : columns by name, in order. categories : the values of the categorical ones.

    >>> import numpy as np
    >>> coding = Coding(("size", "colour"), {"colour": ("blue", "red")})
    >>> coding.encode(np.array([[3.0, 0.0], [4.0, 1.0]]), {"colour": ("red", "green")}).tolist()
    [[3.0, 0.0, 1.0], [4.0, 0.0, 0.0]]
    """

    features: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dates: tuple[str, ...] = ()
    image: Image | None = None

    @classmethod
    def fit(
        cls, features: tuple[str, ...], kinds: Mapping[str, Kind], values: Mapping[str, Iterable[str]], image: Image | None
    ) -> Coding:
        """`values`: those of each categorical column that occur in the training part."""
        categories = {name: tuple(sorted(values[name])) for name in features if kinds.get(name) == "category"}
        return cls(features, categories, tuple(name for name in features if kinds.get(name) == "date"), image)

    @property
    def inputs(self) -> int:
        """How many inputs the network gets."""
        return len(self.features) + sum(len(values) - 1 for values in self.categories.values())

    @property
    def is_number(self) -> Array:
        """Which inputs are numbers, and not a category's."""
        return np.concatenate([np.full(len(self.categories.get(n, "1")), n not in self.categories) for n in self.features])

    def encode(self, x: Array, values: Mapping[str, tuple[str, ...]]) -> Array:
        """x (N, columns) as (N, inputs); in a categorical column, x holds places in its `values`."""
        if not self.categories:
            return x
        parts = []
        for k, name in enumerate(self.features):
            if name not in self.categories:
                parts.append(x[:, k : k + 1])
                continue
            places = {value: i for i, value in enumerate(self.categories[name])}
            known = np.array([places.get(value, -1) for value in values[name]], dtype=np.int64)
            parts.append(known[x[:, k].astype(np.int64)][:, None] == np.arange(len(places)))
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def decode(self, x: Array) -> list[str]:
        """One example (inputs,) as text, a word for each column: what `encode` made of it, for people."""
        words, start = [], 0
        for name in self.features:
            width = len(self.categories.get(name, "1"))
            part, start = x[start : start + width], start + width
            if name in self.categories:
                words.append(self.categories[name][int(part.argmax())] if part.any() else "(another)")
            else:
                words.append(date_of(float(part[0])) if name in self.dates else f"{part[0]:.6g}")
        return words

    def unseen(self, values: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
        """The values of each categorical column that count as none, where there are any."""
        found = {name: sorted(set(values[name]) - set(known)) for name, known in self.categories.items()}
        return {name: new for name, new in found.items() if new}

    def reading(self, target: str | None) -> Reading:
        """How a new file is read for a model of this coding."""
        kinds: dict[str, Kind] = dict.fromkeys(self.features, "number")
        kinds |= dict.fromkeys(self.categories, "category") | dict.fromkeys(self.dates, "date")  # type: ignore[arg-type]
        return Reading(target, target is not None, self.features, kinds, image=self.image)

    def as_json(self) -> dict[str, Any]:
        """For a model file."""
        spec: dict[str, Any] = {"features": list(self.features)}
        if self.categories:
            spec["categories"] = {name: list(values) for name, values in self.categories.items()}
        if self.dates:
            spec["dates"] = list(self.dates)
        if self.image:
            spec["image"] = [self.image.height, self.image.width, self.image.channels, self.image.resize]
        return spec

    @classmethod
    def from_json(cls, spec: Mapping[str, Any]) -> Coding:
        """Back from a model file, whose other entries do not matter. Raises ValueError for what `as_json` does not write."""
        features, categories = spec["features"], spec.get("categories", {})
        dates, image = spec.get("dates", []), spec.get("image")
        lists = [features, dates, *categories.values()]
        if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
            raise ValueError("expected names of columns and values")
        if len(set(features)) != len(features) or not {*categories, *dates} <= set(features) or set(categories) & set(dates):
            raise ValueError("expected each column once")
        if any(len(set(values)) != len(values) or not values for values in categories.values()):
            raise ValueError("expected each value of a categorical column once")
        if image is not None:
            height, width, channels, resize = image
            if not all(type(n) is int and n >= 1 for n in (height, width)) or channels not in (1, 3) or type(resize) is not bool:
                raise ValueError(f"expected height, width, channels and resize of images, received {image}")
            if height * width * channels != len(features):
                raise ValueError(f"expected {len(features)} pixels, received {image}")
        made = None if image is None else Image(*image)
        return cls(tuple(features), {name: tuple(values) for name, values in categories.items()}, tuple(dates), made)
