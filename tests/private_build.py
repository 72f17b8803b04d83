"""Build the private extension fastbp_seam and the C++ drivers from this checkout."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

from helpers import ROOT, SANITIZE, run

import fastbp as fb


def build_private_extension():
    """Return the folder of the private extension, the drivers and the emulated device."""
    if "FASTBP_TEST_BUILD" in os.environ:  # built already
        return Path(os.environ["FASTBP_TEST_BUILD"]) / "tests"
    import pybind11

    build = ROOT / "build" / f"tests-{sys.implementation.cache_tag}{'-' + SANITIZE if SANITIZE else ''}"
    blas = Path(fb._core.__file__).parent / "lib" / "libscipy_openblas-fastbp.so"
    cmake = shutil.which("cmake", path=os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    assert cmake, "cmake is missing: pip install '.[test]'"
    configure = (
        cmake, "-S", ROOT, "-B", build, "-G", "Ninja", "-DFASTBP_TESTS=ON", f"-DFASTBP_SANITIZE={SANITIZE}",
        f"-DFASTBP_WERROR={'ON' if 'CI' in os.environ else 'OFF'}",
        f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DFASTBP_BUNDLED_BLAS={blas}", f"-DCMAKE_MAKE_PROGRAM={shutil.which('ninja', path=os.path.dirname(cmake))}",
    )  # fmt: skip
    build.parent.mkdir(exist_ok=True)
    with open(f"{build}.lock", "w") as lock:  # pytest-xdist has several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        run(*configure)
        run(cmake, "--build", build)
    return build / "tests"
