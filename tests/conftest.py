"""The private extension and the C++ drivers, built once per session."""

import importlib.util
import os
import sys

import numpy as np
import pytest
import skips
from operations import TYPES
from private_build import build_private_extension

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
    return build_private_extension()


@pytest.fixture(scope="session")
def seam(test_build):
    """The private extension fastbp_seam. Its device "cuda" is the plugin over an emulated runtime, whose device memory
    is the process's; work there waits until something synchronises."""
    (path,) = test_build.glob("fastbp_seam*.so")
    spec = importlib.util.spec_from_file_location("fastbp_seam", path)
    os.environ.setdefault("FASTBP_EMULATED_DELAY", "1")
    with pytest.MonkeyPatch.context() as environment:  # the package's own device "cuda" is another
        environment.setenv("FASTBP_CUDA", str(test_build / "libfastbp_cuda_emulated.so"))
        environment.setenv("FASTBP_CUBLASLT", str(test_build / "libcublasLt_emulated.so"))
        module = importlib.util.module_from_spec(spec)  # loads the file, which reads FASTBP_CUDA
        spec.loader.exec_module(module)
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


@pytest.fixture(params=[(d, t) for d in ("plain", "cpu", "cuda") for t in TYPES], ids="-".join)
def ops(request, seam):
    """The operations of a backend in a type, that type, the tolerance of a rounding, and the backend's name."""
    device, bits = request.param
    dtype, tolerance = TYPES[bits]
    return getattr(seam, f"Operations{bits}")(device), dtype, tolerance, device


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
