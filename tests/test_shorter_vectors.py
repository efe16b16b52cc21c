"""The products with the Jacobians as processors with shorter vectors compile them: large results, which go past the caches."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

PROGRAM = """
import sys
import numpy as np
import backproof.kernels.rows as rows
rows.vector_bytes = lambda: int(sys.argv[1])
from backproof.kernels.cpu import jacobian
jacobian.LARGE = jacobian.PAST = 1
rng = np.random.default_rng(0)
for classes in (64, 65, 81, 100, 119, 1000):
    for shift in (0, 1, 5, 16):
        z, u = (rng.standard_normal((7, classes)).astype(np.float32) for _ in range(2))
        wide, s = z.astype(np.float64), u.astype(np.float64)
        h = np.exp(wide) / np.exp(wide).sum(1, keepdims=True)
        logs = np.log(h).astype(np.float32)
        memory = np.full(z.size + 40, 7.0, np.float32)
        out = memory[shift : shift + z.size].reshape(z.shape)
        jacobian.softmax_vjp(h.astype(np.float32), u, 1, out)
        np.testing.assert_allclose(out, h * (s - (h * s).sum(1, keepdims=True)), rtol=1e-5, atol=1e-7)
        jacobian.log_softmax_vjp(logs, u, 1, out)
        np.testing.assert_allclose(out, s - np.exp(logs.astype(np.float64)) * s.sum(1, keepdims=True), rtol=2e-7, atol=0)
        assert (memory[:shift] == 7).all() and (memory[shift + z.size :] == 7).all()
"""


@pytest.mark.parametrize("bytes_of_a_vector", [16, 32])
def test_products_past_the_caches(bytes_of_a_vector, tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}  # what has been compiled for this processor is something else
    command = [sys.executable, "-c", PROGRAM, str(bytes_of_a_vector)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
