"""The pages of `backproof explain`: one a cause, and their code has the mistake that they describe."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from backproof._errors import ArgumentError
from backproof.gradcheck.explain import blocks, explain
from backproof.gradcheck.findings import CAUSES, NOTES

SECTIONS = ["## The mathematics", "## Code", "## How the check recognises it", "## A real case"]


def defined(cause: str, kind: str) -> dict[str, Any]:
    there: dict[str, Any] = {}
    exec(compile(blocks(cause)[kind], f"{cause}.md, {kind}", "exec"), there)
    return there


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_has_a_page(cause):
    page = explain(cause)
    assert page.startswith(f"# {cause}\n\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == SECTIONS
    assert sorted(re.findall(r"^```python (\w+)$", page, re.MULTILINE)) == ["right", "wrong"]
    assert re.search(r"[\w-]+/[\w.-]+#\d+", page.split("## A real case")[1]), "no thread"


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("kind", ["wrong", "right"])
def test_the_code_is_self_contained(cause, kind):
    there = defined(cause, kind)
    assert isinstance(there["inputs"], tuple)
    assert all(isinstance(x, np.ndarray) for x in there["inputs"])
    y = np.asarray(there["forward"](*there["inputs"]))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("cause", CAUSES)
def test_the_wrong_code_fails_with_this_cause(cause):
    from backproof.checking import check

    there = defined(cause, "wrong")
    report = check(there["forward"], *there["inputs"], backward=there["backward"])
    assert report.findings, str(report)
    assert report.findings[0].cause == cause, str(report)
    assert report.ok == (cause in NOTES)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_right_code_is_right(cause):
    from backproof.checking import check

    there = defined(cause, "right")
    report = check(there["forward"], *there["inputs"], backward=there["backward"])
    assert report.ok, str(report)
    assert report.findings == []
    assert all(c.status == "right" for c in report.comparisons)


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("missing-cross-term", "missing-cross-terms"),
        ("Sign Flipped", "sign-flipped"),
        ("wrong_scale", "wrong-scale"),
        ("qqq", "one of missing"),
    ],
)
def test_an_unknown_cause_is_answered_with_the_nearest(asked, near):
    with pytest.raises(ArgumentError, match=near):
        explain(asked)
