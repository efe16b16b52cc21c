"""Every test here runs with the reference, and once more with each faster row of the table of kernels."""

from __future__ import annotations

import importlib.util

import pytest

from backproof.kernels import dispatch

ROWS = [row.name for row in reversed(dispatch.TABLE) if importlib.util.find_spec(row.module)]


@pytest.fixture(params=ROWS, autouse=True)
def kernels(request):
    with dispatch.only(request.param):
        yield request.param
