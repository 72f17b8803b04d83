"""The private extension and the C++ drivers, built once per session."""

import fcntl
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import skips
from helpers import ROOT, SANITIZE, run

import fastbp as fb

if DEVICE := os.environ.get("FASTBP_TEST_DEVICE"):
    import on_device

    on_device.make_nets_there(DEVICE)
    on_device.mix_with_numpy()


def pytest_collection_modifyitems(config, items):
    if DEVICE:
        left_out = [item for item in items if on_device.is_left_out(item)]
        items[:] = [item for item in items if not on_device.is_left_out(item)]
        config.hook.pytest_deselected(items=left_out)
    if os.environ.get("FASTBP_TEST_ORDER") == "reverse":
        items.reverse()


def pytest_report_header():
    facts = fb.show_config("dicts")
    return f"fastbp {facts['fastbp']}: isa {facts['isa']}, blas {facts['blas']} ({facts['blas_core']})"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    report = yield
    skips.fail_if_required(report, {mark.name for mark in item.iter_markers()})
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    report = yield
    skips.fail_if_required(report, skips.markers_of_file(collector.path))
    return report


def pytest_configure():
    skips.required()  # a misspelt name is refused before the first test


@pytest.fixture(scope="session")
def test_build():
    """The folder with the private extension and the drivers, built from this checkout."""
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


@pytest.fixture(scope="session")
def seam(test_build):
    """The private extension fastbp_seam. Its device "cuda" is the plugin over an emulated runtime, whose device memory
    is the process's; work there waits until something synchronises."""
    (path,) = test_build.glob("fastbp_seam*.so")
    spec = importlib.util.spec_from_file_location("fastbp_seam", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    os.environ.setdefault("FASTBP_EMULATED_DELAY", "1")
    with pytest.MonkeyPatch.context() as environment:  # the package's own device "cuda" is another
        environment.setenv("FASTBP_CUDA", str(test_build / "libfastbp_cuda_emulated.so"))
        environment.setenv("FASTBP_CUBLASLT", str(test_build / "libcublasLt_emulated.so"))
        module.Operations32("cuda")
    return module


@pytest.fixture
def rng(request):
    """A generator whose seed is the test's name with its parameters: its numbers depend on no other test."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture(autouse=True)
def seed_of_torch():
    """Seed PyTorch's generator, which belongs to the process, before each test if PyTorch is loaded."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(params=["ffi", "callback"])
def way(request):
    """The ways of fastbp.jax to the core."""
    from jax_nets import require_handlers

    if request.param == "ffi":
        require_handlers()
    return request.param


@pytest.fixture
def x64():
    """JAX in double precision, for one test."""
    import jax

    with jax.enable_x64(True):
        yield
