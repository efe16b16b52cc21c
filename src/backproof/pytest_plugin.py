"""The pytest plugin: a `gradcheck` fixture that fails with the report where a gradient is wrong.

    def test_my_layer(gradcheck):
        gradcheck(MySoftmax(), np.random.default_rng(0).normal(size=(4, 5)))

Nothing is imported here that is not needed to start pytest; the check is, when the fixture is first called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from backproof.gradcheck.findings import Report


class GradientCheck:
    """What the fixture is: `backproof.check` that raises an AssertionError with the report as its text."""

    def __call__(self, target: Any, *inputs: Any, **options: Any) -> Report:
        """The report of `backproof.check(target, *inputs, **options)` (seed 0 unless given), if the gradient is right."""
        __tracebackhide__ = True
        from backproof.checking import check
        from backproof.gradcheck.findings import GradientError

        report = check(target, *inputs, **options)
        if not report.ok:
            raise GradientError(str(report))
        return report


@pytest.fixture
def gradcheck() -> GradientCheck:
    """Check a hand-written gradient: `gradcheck(target, *inputs, backward=..., ...)`, with the arguments of `backproof.check`.

    Raises an AssertionError with the report as its text where the gradient is wrong, and what `backproof.check` raises.

    >>> import numpy as np
    >>> def test_tanh(gradcheck):                       # in a file of tests: pytest fills the argument in
    ...     gradcheck(np.tanh, np.ones(3), backward=lambda g, x: g * (1 - np.tanh(x) ** 2))
    """
    return GradientCheck()
