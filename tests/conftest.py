"""`--run-slow` runs the long studies too."""

import sys

import pytest

from tests.browser import browser as browser
from tests.browser import visit as visit


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the long studies too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--run-slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="a long study; --run-slow runs it"))


@pytest.fixture
def run(monkeypatch, capsys):
    """run(*arguments) is `backproof ARGUMENTS`: its exit code, and what it prints on both streams."""
    from backproof import cli

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["backproof", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call
