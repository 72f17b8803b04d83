"""The emulated CUDA runtime catches what a GPU would not tell, and what is missing for device "cuda" is named."""

import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT, SANITIZE, plain_environment

WRONG_KERNELS = {
    "returns_before_the_barrier": "ended while others wait in __syncthreads",
    "two_barriers": "waits in another __syncthreads",
    "shuffles_without_a_lane": "ended while other lanes of its warp wait",
    "waits_for_two_things": "for ever",
    "shuffles_a_part": "names a part of its warp only",
    "writes_behind": "heap-buffer-overflow" if SANITIZE else "something was written behind",
}
MISSING = {
    "no plugin": ({"FASTBP_CUDA": "/nowhere.so"}, RuntimeError, "not compiled into this build"),
    "no driver": ({"FASTBP_EMULATED_GPUS": "driver"}, RuntimeError, "no CUDA driver"),
    "no GPU": ({"FASTBP_EMULATED_GPUS": "0"}, RuntimeError, "no GPU with number 0"),
    "no cuBLASLt": ({"FASTBP_CUBLASLT": "/nowhere.so"}, RuntimeError, r"fastbp[cuda13]"),
    "an old cuBLASLt": ({"FASTBP_EMULATED_CUBLASLT_VERSION": "120801"}, RuntimeError, "is version 12, expected 13"),
    "a cuBLASLt that does not start": ({"FASTBP_EMULATED_CUBLASLT_BROKEN": "1"}, RuntimeError, "NOT_INITIALIZED"),
    "no memory": ({"FASTBP_EMULATED_GPU_MEMORY": "100000"}, MemoryError, "out of memory"),
}
NET_ON_CUDA = """
import fastbp as fb
try:
    fb.MLP((2, 3, 1), loss="squared_error", device="cuda")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_kernels_memory_capture_and_errors(test_build):
    done = subprocess.run(
        [test_build / "cuda_emulation_check"], capture_output=True, text=True, env=plain_environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kernel", WRONG_KERNELS)
def test_a_wrong_kernel_ends_the_program(test_build, kernel):
    program = [test_build / "cuda_emulation_check", kernel]
    done = subprocess.run(program, capture_output=True, text=True, env=plain_environment())
    assert done.returncode != 0
    assert WRONG_KERNELS[kernel] in done.stderr


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing_is_named(test_build, case):
    changed, kind, text = MISSING[case]
    emulated = {
        "FASTBP_CUDA": str(test_build / "libfastbp_cuda_emulated.so"),
        "FASTBP_CUBLASLT": str(test_build / "libcublasLt_emulated.so"),
    }
    environment = {**os.environ, **emulated, **changed}
    done = subprocess.run([sys.executable, "-c", NET_ON_CUDA], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(kind.__name__)
    assert text in done.stdout


def test_the_emulated_functions_are_those_that_the_plugin_or_a_test_calls():
    folder = ROOT / "tests" / "cuda_emulation"
    declared = set()
    for header in ("cuda_runtime_api.h", "cublasLt.h", "cuda_runtime.h"):
        text = (folder / header).read_text()
        declared |= set(re.findall(r"\b((?:cuda|cublasLt)[A-Z]\w+|__(?!attribute|builtin)\w+)\(", text))
    assert {"cudaMalloc", "cublasLtMatmul", "__syncthreads", "__shfl_xor_sync"} <= declared
    callers = [path for path in (ROOT / "cpp" / "src" / "backend" / "cuda").rglob("*.*") if path.suffix != ".txt"]
    callers += [*(ROOT / "tests" / "cpp").glob("*.cpp"), *(ROOT / "tests").glob("*.py"), folder / "check.cpp"]
    called = set(re.findall(r"\w+", " ".join(path.read_text() for path in callers)))
    assert declared <= called
