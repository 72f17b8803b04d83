"""The products and the algorithm on every instruction set this machine has, without a BLAS that would do the work."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the levels are those of x86-64")
@pytest.mark.parametrize("isa", ["x86-64-v2", "x86-64-v3", "x86-64-v4"])
def test_products(isa, seam):
    environment = {**os.environ, "FASTBP_ISA": isa, "FASTBP_BLAS": "none"}
    probe = [sys.executable, "-c", "import fastbp; fastbp.MLP((1, 1))"]
    if "not on this machine" in subprocess.run(probe, env=environment, capture_output=True, text=True).stderr:
        pytest.skip(f"{isa} is not on this machine")
    files = [str(TESTS / f"test_{name}.py") for name in ("operations", "algorithm", "parameter_layouts")]
    chosen = ["-k", "gemm or algorithm or both_layouts"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files, *chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
