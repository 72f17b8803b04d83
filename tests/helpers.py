"""What test files import: required packages, and programs run without a preloaded sanitizer."""

import importlib.util
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SANITIZE = os.environ.get("FASTBP_SANITIZE", "")
LONG = os.environ.get("FASTBP_LONG") == "1"  # the long parts of nox -s full


def require(package):
    """Import a package; skip the test or file if the package is missing. FASTBP_REQUIRE makes the skip a failure."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = getattr(error.__cause__ or error, "name", None)  # what the package itself fails to import
        if name is None or importlib.util.find_spec(name.partition(".")[0]):  # installed and broken
            raise
        pytest.skip(f"{package} is not installed", allow_module_level=True)


def informative(expected):
    """Return an expected result, as an array; fail if zeros, or a NaN on both sides, would equal it."""
    expected = np.asarray(expected)
    assert np.isfinite(expected).all(), "the expected result is not finite"
    assert expected.any(), "the expected result is all zeros"
    return expected


def plain_environment():
    """The environment without a preloaded sanitizer, for compilers and other programs that know nothing of it."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def run(*command, **options):
    """Run a program; a failure shows what it said."""
    done = subprocess.run(command, text=True, capture_output=True, env=plain_environment(), **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
