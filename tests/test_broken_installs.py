"""The error of an import without a compiled module that this Python can load: it names the cause and the cure."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import SANITIZE

import fastbp as fb

SOURCES = Path(fb.__file__).parent
COMPILED = Path(fb._core.__file__)
SEARCHED = [entry for entry in sys.path if entry and not Path(entry, "fastbp").exists()]  # NumPy's folder is there


@pytest.fixture
def package(tmp_path):
    """A copy of the Python files alone."""
    folder = tmp_path / "python" / "fastbp"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("*.so", "lib", "include", "cmake", "__pycache__"))
    return folder


def error_of_import(entry):
    # -S: an editable install of fastbp would find its compiled module
    program = f"import sys; sys.path[:0] = [{str(entry)!r}]; sys.path += {SEARCHED!r}; import fastbp"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("ImportError: [import] fastbp cannot be imported by Python 3.")
    assert "circular" not in said
    return said


def test_a_checkout_that_was_not_built(package):
    (package.parents[1] / "pyproject.toml").touch()
    said = error_of_import(package.parent)
    assert f"expected {package / COMPILED.name}" in said
    assert (
        f"source folder, which is not to be imported from: leave it, or take it out of sys.path, and {sys.exec_prefix}"
        in said
    )


def test_an_install_for_another_python(package):
    (package / "_core.cpython-27-x86_64-linux-gnu.so").touch()
    assert "The folder has _core.cpython-27-x86_64-linux-gnu.so, built for another Python" in error_of_import(
        package.parent
    )


def test_an_install_without_its_compiled_module(package):
    assert "To fix it, reinstall fastbp with" in error_of_import(package.parent)


def test_a_zip_file(package):
    archive = package.parent / "packages.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in package.rglob("*.py"):
            file.write(path, path.relative_to(package.parent))
    assert "cannot be imported from a zip file" in error_of_import(archive)


@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer must be the first library")
def test_a_compiled_module_without_its_library(package):
    shutil.copy(COMPILED, package)
    assert "cannot be loaded: libfastbp.so: cannot open shared object file" in error_of_import(package.parent)


def test_a_compiled_module_that_is_damaged(package):
    (package / COMPILED.name).write_bytes(b"\0" * 5000)
    assert "cannot be loaded" in error_of_import(package.parent)
