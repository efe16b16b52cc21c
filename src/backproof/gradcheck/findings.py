"""What a check returns: findings, what was compared, and the report that holds them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from backproof.arrays import Array, Shape

if TYPE_CHECKING:
    from backproof.plots.figure import Figure

# cause -> what is wrong, in a line; the closed list. The pages of `backproof explain` have the same names.
CAUSES: dict[str, str] = {
    "missing-cross-terms": "the outputs are coupled, but the backward multiplies by the Jacobian's diagonal only",
    "missing-normalizer-term": "part of the path through a shared statistic (mean, variance, norm, sum) is missing or wrong",
    "transposed": "the Jacobian, or the gradient, is applied where its transpose is needed",
    "rows-summed": "the Jacobian is summed over its rows or columns instead of being multiplied by the upstream gradient",
    "upstream-ignored": "the result does not depend on the upstream gradient",
    "not-linear-in-upstream": "the result is not a linear function of the upstream gradient",
    "sign-flipped": "right but for its sign",
    "wrong-scale": "right but for a constant factor",
    "missing-factor": "an elementwise factor is missing, or too much",
    "derivative-at-wrong-point": "the right derivative formula, evaluated at another point",
    "wrong-axis": "couples along another axis than the forward",
    "missing-broadcast-sum": "the gradient of a broadcast input is not summed over the broadcast axes",
    "missing-batch-coupling": "the forward couples the samples, the backward treats each alone",
    "spurious-batch-coupling": "the backward mixes samples that the forward keeps apart",
    "missing-accumulation": "several paths or indices lead from an input to the output, and only one contribution is counted",
    "stale-state": "the backward uses values that another forward call left behind",
    "input-mutated": "forward or backward writes into its inputs or into the upstream gradient",
    "nondeterministic": "the same call gives another answer the next time",
    "wrong-at-some-entries": "right but at some entries",
    "wrong-shape": "a gradient's shape is not its input's",
    "wrong-dtype": "a gradient comes back in another precision or kind than its input",
    "non-finite": "nan or inf in the gradient where the function is finite and differentiable",
    "zero-gradient": "the gradient is zero where the function is not constant",
    "fused-twice": "softmax with cross-entropy is differentiated twice, or not at all, between loss and layer",
    "swapped-gradients": "the gradients of two inputs are exchanged",
    "kink": "not a bug: the function has no derivative here, and the gradient lies between the one-sided ones",
    "precision": "not a bug: the difference is what rounding in this dtype explains",
    "unknown": "none of the known causes explains the difference",
}
NOTES = frozenset({"kink", "precision"})
LARGEST = 1000  # entries of an array that `to_dict` writes out
KEPT = 2**18  # entries of a Jacobian that a report keeps, 512 x 512


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (or, for the causes in `NOTES`, worth knowing).

    cause: a key of `CAUSES`; confidence: 0 to 1; input: position of the input concerned, None if it is the whole call;
    name: that input's name; where: indices, axis, special point, in words; message: what you have, what it should be;
    fix: how to mend it; evidence: numbers (evidence["factor"] is yours / true).

    >>> import numpy as np, backproof
    >>> report = backproof.check(np.sin, np.ones(3), backward=lambda g, x: -2 * g * np.cos(x))
    >>> report.findings[0].cause, round(report.findings[0].evidence["factor"], 6), report.findings[0].is_note
    ('wrong-scale', -2.0, False)
    """

    cause: str
    confidence: float
    input: int | None
    where: str
    message: str
    fix: str
    evidence: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def is_note(self) -> bool:
        """Not a bug: it leaves the verdict as it is."""
        return self.cause in NOTES


@dataclass(frozen=True)
class Comparison:
    """The gradient of one input against its numerical derivative.

    status: "right", "wrong" or "cannot tell". entries: how many Jacobian entries (or directional products) were compared, and how
    many of them were `wrong` or `undecided`. worst: largest |yours - numerical|, and bar: the error bar there. numerical,
    analytical (outputs x inputs, flattened), wrong_cells (bool) and bars (the error bar of each numerical entry, infinite where it
    is not known) are None where the Jacobian was too large to be formed.
    """

    input: int
    name: str
    shape: Shape
    dtype: str
    status: str
    entries: int
    wrong: int
    undecided: int
    worst: float
    bar: float
    output_shapes: tuple[Shape, ...] = ()
    numerical: Array | None = None
    analytical: Array | None = None
    wrong_cells: Array | None = None
    bars: Array | None = None


class GradientError(AssertionError):
    """Raised by `Report.raise_if_failed`: its text is the report."""


@dataclass(frozen=True)
class Report:
    """The verdict of a check and what it rests on; see `backproof.check`.

    findings: most likely first; those with `is_note` are not bugs. comparisons: one an input that was differentiated.
    notes: sentences (what was skipped, what could not be told). method: how values were compared, with the chance of a miss.
    calls: how often forward, backward and jvp were called. seconds: how long it took. replay: Python lines that repeat the failure.

    >>> import numpy as np, backproof
    >>> report = backproof.check(np.sin, np.ones(3), backward=lambda g, x: -g * np.cos(x))
    >>> report.ok, report.findings[0].cause, [c.status for c in report.comparisons]
    (False, 'sign-flipped', ['wrong'])
    """

    target: str
    ok: bool
    findings: list[Finding]
    comparisons: list[Comparison]
    notes: list[str]
    method: str
    calls: dict[str, int]
    seconds: float
    seed: int
    replay: str = ""

    def raise_if_failed(self) -> Report:
        """Raise `GradientError`, an AssertionError with the report as its text, unless `ok`; else return the report."""
        if not self.ok:
            raise GradientError(str(self))
        return self

    def __str__(self) -> str:
        from backproof.gradcheck.rendering import text

        return text(self)

    def to_dict(self) -> dict[str, Any]:
        """The report in dictionaries, lists, strings, numbers and None alone.

        nan and infinities are the strings "nan", "inf" and "-inf"; an array is a list of lists, or its shape and dtype where it has
        more than a thousand entries.
        """
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("findings", "comparisons")}
        members = {
            name: [{f.name: getattr(part, f.name) for f in dataclasses.fields(part)} for part in getattr(self, name)]
            for name in ("findings", "comparisons")
        }
        plain: dict[str, Any] = _plain({**parts, **members})
        return plain

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def plot(self, name: str | None = None) -> Figure:
        """The Jacobian with respect to the input called `name`, as a matplotlib figure; by default of the first wrong one.

        Three maps on one scale, numerical, yours and their difference, the wrong entries outlined; then yours against numerical,
        entry by entry, with error bars. Raises `ArgumentError` where no Jacobian was formed, for an unknown name, and where
        matplotlib is not installed (`pip install backproof[plots]`).
        """
        from backproof.gradcheck.plotting import draw

        return draw(self, name)

    @overload
    def to_html(self, path: None = None, *, overwrite: bool = False) -> str: ...

    @overload
    def to_html(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None: ...

    def to_html(self, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> str | None:
        """The report as a page, one HTML file that needs nothing else: written to `path`, or returned where there is none.

        It shows the cause with its formula, the Jacobians as pictures, and what the verdict rests on. Raises `ArgumentError` if
        `path` is no file that can be written, `OutputExistsError` if it exists and `overwrite` is False.

        >>> import numpy as np, backproof
        >>> report = backproof.check(np.sin, np.arange(3.0), backward=lambda g, x: g * np.cos(x))
        >>> report.to_html().splitlines()[0]
        '<!DOCTYPE html>'
        """
        from backproof.report.check_page import check_page
        from backproof.report.writing import require_file, write

        if path is None:
            return check_page(self)
        require_file(path, overwrite)
        write(path, check_page(self))
        return None

    def _repr_html_(self) -> str:
        from backproof.report.fragment import fragment

        return fragment(self)


def _plain(value: Any) -> Any:
    """`value` in what JSON knows; what it does not know becomes its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, np.ndarray):
        if value.size > LARGEST:
            return {"shape": list(value.shape), "dtype": str(value.dtype)}
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        inner = value.item()
        return str(inner) if isinstance(inner, np.generic) else _plain(inner)
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    return str(value)
