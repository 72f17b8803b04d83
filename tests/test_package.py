"""The installed package as others meet it: the exported symbols, the C and C++ clients, BLAS and ISA by environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, SANITIZE, require, run

import fastbp as fb

PACKAGE = Path(fb._core.__file__).parent
LIBRARY = PACKAGE / "lib" / "libfastbp.so"
HEADER = ROOT / "cpp" / "include" / "fastbp" / "fastbp.h"

needs_install = pytest.mark.skipif(not LIBRARY.exists(), reason="a development tree: libfastbp.so is not installed")


@needs_install
def test_the_library_exports_the_c_api_and_nothing_else():
    exported = set(re.findall(r"^\S+ [A-Z] (\S+)$", run("nm", "-D", "--defined-only", LIBRARY), re.MULTILINE))
    declared = set(re.findall(r"^FASTBP_API .*?\b(fastbp_\w+)\(", HEADER.read_text(), re.MULTILINE))
    assert exported == declared
    assert 10 <= len(declared) <= 40


def soname(library):
    return re.search(r"SONAME.*\[(.+)\]", run("readelf", "-d", library)).group(1)


@needs_install
def test_the_package_holds_one_library_under_its_soname():
    """A wheel has no symbolic links, so the SONAME is the name of the only file."""
    assert soname(LIBRARY) == LIBRARY.name
    copies = [path for path in LIBRARY.parent.iterdir() if path.name.startswith("libfastbp.so")]
    assert copies == [LIBRARY]
    assert not LIBRARY.is_symlink()


@pytest.mark.skipif(bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs")
def test_the_soname_outside_of_a_wheel_has_the_version_of_the_interface(test_build):
    library = test_build.parent / "cpp" / "libfastbp.so"
    assert soname(library) == "libfastbp.so.0"
    assert library.resolve().name == f"libfastbp.so.{fb.__version__}"
    assert (library.parent / "libfastbp.so.0").resolve() == library.resolve()


@pytest.fixture
def units(test_build):
    """The object files of the loops, one for each instruction set."""
    found = list(test_build.parent.rglob("loops_v[234].cpp.o"))
    assert len(found) == 3
    return found


@pytest.mark.skipif(bool(SANITIZE), reason="unoptimised inline functions are expected with a sanitizer")
def test_units_for_newer_processors_share_no_symbol(units):
    """A weak function compiled for AVX-512 could be the copy that the linker keeps for everyone."""
    for path in units:
        weak = re.findall(r"^\S* +[WVu] (?!.*(?:__gxx_personality|DW\.ref))(\S+)$", run("nm", path), re.MULTILINE)
        assert weak == []


@needs_install
@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer must be the first library")
def test_no_fast_math_start_up_code():
    """gcc's -ffast-math links code that makes the whole process flush subnormal numbers to zero."""
    program = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(float(sys.argv[2]) / 4)"
    assert run(sys.executable, "-c", program, LIBRARY, repr(2.0**-1022)).strip() == repr(2.0**-1024)


@needs_install
def test_clients_build_against_the_package_and_run(tmp_path):
    cmake = shutil.which("cmake", path=os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"])
    run(cmake, "-S", ROOT / "tests" / "cpp" / "client", "-B", tmp_path, f"-Dfastbp_DIR={fb.get_cmake_dir()}")
    run(cmake, "--build", tmp_path)
    environment = dict(os.environ)
    said = subprocess.run([tmp_path / "client"], capture_output=True, text=True, env=environment, check=True).stdout
    assert "worst difference" in said
    assert "refused: X has 3 columns, layer 1 (weights[0]) expects 4" in said
    assert "refused: spec.type is 1, expected 0, the type of this Net's numbers" in said
    subprocess.run([tmp_path / "client_c"], env=environment, check=True)


PROGRAM = """
import numpy as np, fastbp as fb
facts = fb.show_config("dicts")
net = fb.MLP((5, 8, 3), loss="cross_entropy", activation="tanh", seed=0, dtype="float64")
rng = np.random.default_rng(0)
X, y = rng.standard_normal((9, 5)), rng.integers(0, 3, 9)
print(facts["blas"], facts["isa"], repr(net.value(X, y)), fb.testing.check_gradient(net, X, y) < 1e-7)
"""


def in_environment(**variables):
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def expected_value():
    net = fb.MLP((5, 8, 3), loss="cross_entropy", activation="tanh", seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    return net.value(rng.standard_normal((9, 5)), rng.integers(0, 3, 9))


@pytest.mark.parametrize("name", ["bundled", "none", "path"])
def test_blas_by_environment(name, expected_value):
    blas = str(PACKAGE / "lib" / "libscipy_openblas-fastbp.so") if name == "path" else name
    done = in_environment(FASTBP_BLAS=blas)
    assert done.returncode == 0, done.stderr
    used, _, value, right = done.stdout.split()
    assert used == blas
    assert right == "True"
    assert float(value) == pytest.approx(expected_value, rel=1e-14)


@pytest.mark.frameworks
def test_blas_of_scipy(expected_value):
    require("scipy")
    done = in_environment(FASTBP_BLAS="scipy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "scipy"
    assert float(done.stdout.split()[2]) == pytest.approx(expected_value, rel=1e-14)


@pytest.mark.parametrize(
    "value, error, said",
    [
        ("mkl2", "ValueError", "FASTBP_BLAS is 'mkl2', expected bundled, scipy, system, none, or the path"),
        ("/nowhere/libblas.so", "RuntimeError", "tried /nowhere/libblas.so"),
        (str(LIBRARY), "RuntimeError", "has no sgemm_ and dgemm_"),
    ],
)
def test_a_wrong_blas_is_an_error_that_names_what_was_tried(value, error, said):
    if value == str(LIBRARY) and not LIBRARY.exists():
        value = fb._core.__file__
    done = in_environment(FASTBP_BLAS=value)
    assert done.returncode == 1
    assert error in done.stderr
    assert said in done.stderr


def test_every_isa_of_this_machine_gives_the_value(expected_value):
    tested = 0
    for isa in ("x86-64-v2", "x86-64-v3", "x86-64-v4"):
        done = in_environment(FASTBP_ISA=isa)
        if "not on this machine" in done.stderr or "expected one of: plain" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        _, used, value, right = done.stdout.split()
        assert used == isa
        assert right == "True"
        assert float(value) == pytest.approx(expected_value, rel=1e-14)
        tested += 1
    assert tested >= 1 or fb.show_config("dicts")["isa"] == "plain"


def test_a_wrong_isa_is_an_error():
    done = in_environment(FASTBP_ISA="x86-64-v9")
    assert done.returncode == 1
    assert "FASTBP_ISA is 'x86-64-v9', expected one of" in done.stderr


def test_blas_is_told_to_use_one_thread():
    """Its own threads would only idle, and several callers at once have got wrong numbers from them."""
    import ctypes

    library = ctypes.CDLL(fb.show_config("dicts")["blas_library"])
    assert library.scipy_openblas_get_num_threads() == 1


def test_blas_stays_at_one_thread_whatever_others_set():
    """threadpoolctl finds every OpenBLAS of the process and sets them all."""
    import ctypes

    from threadpoolctl import threadpool_limits

    library = ctypes.CDLL(fb.show_config("dicts")["blas_library"])
    net = fb.MLP((600, 700, 5), loss="cross_entropy", seed=0)  # of a size that the loops leave to BLAS
    X, y = np.ones((300, 600)), np.zeros(300, int)
    with fb.set_num_threads(1):
        expected = net.value_and_grad(X, y)[1]
    with fb.set_num_threads(1), threadpool_limits(2):
        library.scipy_openblas_set_num_threads(2)
        np.testing.assert_array_equal(net.value_and_grad(X, y)[1], expected)
        assert library.scipy_openblas_get_num_threads() == 1


def test_the_environment_is_left_as_it_was():
    program = (
        "import ctypes, fastbp as fb; fb.MLP((2, 1)); "
        "getenv = ctypes.CDLL(None).getenv; getenv.restype = ctypes.c_char_p; print(getenv(b'OPENBLAS_NUM_THREADS'))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "None"


def test_import_loads_no_framework():
    """Nor what NumPy loads when it is used."""
    frameworks = "'torch', 'jax', 'sklearn', 'scipy', 'matplotlib', 'safetensors', 'tqdm', 'numpy.random'"
    program = f"import sys, fastbp; print([m for m in ({frameworks}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_that_are_imported_when_they_are_asked_for():
    program = (
        "import sys, fastbp as fb;"
        "later = ('fastbp.optimize', 'fastbp.testing', 'fastbp._diagnosis', 'fastbp._models');"
        "assert not any(name in sys.modules for name in later);"
        "assert set(fb.__all__) <= set(dir(fb)); all_names = [getattr(fb, name) for name in fb.__all__];"
        "assert all(name in sys.modules for name in later); assert fb.diagnose is fb._diagnosis.diagnose"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="module 'fastbp' has no attribute 'optimise'"):
        _ = fb.optimise
