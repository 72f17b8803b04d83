"""The error of an import of fastbp without a compiled module that this Python can load."""

import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

_REINSTALL = f"reinstall fastbp with {sys.executable} -m pip"


def explained(error: ImportError, package: Path) -> ImportError:
    """Return the error with its cause and cure; unchanged if the compiled module itself raised it."""
    missing = isinstance(error, ModuleNotFoundError) and error.name == "fastbp._core"
    not_loaded = error.path is not None and str(error.path).endswith(".so")
    if not (missing or not_loaded):
        return error
    what = f"its compiled module is missing, expected {package / ('_core' + EXTENSION_SUFFIXES[0])}"
    cure = _cure_if_missing(package)
    if not_loaded:
        what, cure = f"its compiled module cannot be loaded: {error}", f"Check LD_LIBRARY_PATH, or {_REINSTALL}"
    this = f"Python {platform.python_version()} ({sys.platform}, {platform.machine()})"
    return ImportError(f"[import] fastbp cannot be imported by {this}: {what}. {cure}", name="fastbp._core")


def _cure_if_missing(package: Path) -> str:
    if not package.is_dir():
        return "The package is not in a folder: a compiled module cannot be imported from a zip file. Unpack it"
    others = sorted(path.name for path in package.glob("_core*") if path.suffix in (".so", ".pyd", ".dylib"))
    if others:
        return f"The folder has {', '.join(others)}, built for another Python or system: {_REINSTALL}"
    if (package.parents[1] / "pyproject.toml").exists():
        return (
            "This is fastbp's source folder, which is not to be imported from: leave it, or take it out of sys.path, "
            f"and {sys.executable} -m pip install {package.parents[1]}"
        )
    return f"To fix it, {_REINSTALL}"
