"""A compilation is announced, once: what comes from the disk is not."""

from __future__ import annotations

import importlib.util
import logging
import sys

import pytest
from numba import types

from backproof.kernels.compiled import entry


@pytest.fixture
def compile_it(tmp_path):
    """Compile a function of a file that no cache knows yet, as a new process does: `twice(x)`, which calls a part."""
    file = tmp_path / "fresh.py"
    file.write_text("from numba import njit\n\n@njit\ndef part(x):\n    return 2 * x\n\ndef twice(x):\n    return part(x)\n")

    def call():
        spec = importlib.util.spec_from_file_location("fresh", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return entry(types.int64(types.int64), "twice for int64")(module.twice)

    return call


def test_in_the_log(compile_it, caplog, capsys, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with caplog.at_level(logging.INFO, "backproof"):
        assert compile_it()(21) == 42
        begun, ended = caplog.messages
        assert begun.startswith("compiling twice for int64, once on this machine")
        assert ended.startswith("compiled twice for int64 in ")
        assert compile_it()(21) == 42
    assert len(caplog.messages) == 2
    assert capsys.readouterr().err == ""


def test_on_standard_error_where_a_person_is_watching(compile_it, capsys, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    compile_it()
    assert capsys.readouterr().err.startswith("backproof: compiling twice for int64, once on this machine ... ")
    compile_it()
    assert capsys.readouterr().err == ""


def test_silent_otherwise(compile_it, capsys, monkeypatch):
    monkeypatch.delattr(sys, "ps1", raising=False)
    compile_it()
    assert capsys.readouterr() == ("", "")
