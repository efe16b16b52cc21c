"""One pass over the training part: what its columns are coded and standardised by."""

from __future__ import annotations

import numpy as np

from backproof._errors import DataError
from backproof.data.coding import Coding
from backproof.data.dataset import Dataset
from backproof.data.moments import Moments
from backproof.data.streamed import Streamed


def fit(data: Dataset | Streamed) -> tuple[Coding, Moments]:
    """The coding of `data`, and the moments of its inputs.

    Raises `DataError` if a class has no example in it: a network could not learn it.

    >>> from backproof.data import read
    >>> coding, moments = fit(read("iris"))
    >>> coding.inputs, moments.mean.round(2).tolist()
    (4, [5.84, 3.06, 3.76, 1.2])
    """
    places = {k: name for k, name in enumerate(data.features) if data.kinds.get(name) == "category"}
    occur: dict[str, set[int]] = {name: set() for name in places.values()}
    counts = np.zeros(len(data.classes), dtype=np.int64)
    moments = Moments()
    for x, t in data.pieces():
        moments.add(x)
        counts += np.bincount(t, minlength=len(counts))
        for k, name in places.items():
            occur[name].update(np.unique(x[:, k]).astype(np.int64).tolist())
    if not counts.all():
        missing = data.classes[int(counts.argmin())]
        raise DataError(f"{data.name}: expected examples of each class to train on, received none of class {missing!r}")
    values = {name: [data.categories[name][i] for i in sorted(found)] for name, found in occur.items()}
    return Coding.fit(data.features, data.kinds, values, data.image), moments
