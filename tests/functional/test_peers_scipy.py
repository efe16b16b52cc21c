"""SciPy's own tests of logsumexp, softmax and log_softmax, with our functions in their place: 407 of 407."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_scipys_tests(kernels, tmp_path):
    root = Path(__file__).parents[2]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {
        **os.environ,
        "BACKPROOF_KERNELS": kernels,
        "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.functional.scipy_plugin", "-p", "no:cacheprovider"]
    command += ["-c", str(tmp_path / "pytest.ini"), "--pyargs", "scipy.special.tests.test_logsumexp"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", run.stdout.splitlines()[-1])}
    assert set(counts) == {"passed"}, run.stdout[-5000:] + run.stderr[-2000:]
    assert counts["passed"] >= 407
