"""What the CUDA backend does on the host's side: streams, devices, threads and processes, on the emulated runtime.

There work waits until something waits for its own stream, so that an order that is not asked for is not kept.
"""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

BEGIN = """
import ctypes
import os
import threading

import numpy as np
import fastbp as fb

rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 5)).astype(np.float32), rng.integers(0, 3, 40)
cpu = fb.MLP((5, 8, 3), loss="cross_entropy", seed=0)
RESUME = dict(epochs=2, batch_size=10, progress=False)
FIT = RESUME | dict(seed=1)

def complaint(call):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error)

def close(there, here):
    np.testing.assert_allclose(there.numpy(), here, rtol=1e-4, atol=1e-5)
"""


def run(test_build, script, **changed):
    environment = {
        **os.environ,  # a sanitizer stays the first library
        "FASTBP_CUDA": str(test_build / "libfastbp_cuda_emulated.so"),
        "FASTBP_CUBLASLT": str(test_build / "libcublasLt_emulated.so"),
        "FASTBP_EMULATED_DELAY": "1",
        "CUDA_EMULATION": str(test_build / "libcuda_emulation.so"),
        **changed,
    }
    environment.pop("FASTBP_TEST_DEVICE", None)
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, env=environment, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(autouse=True)
def not_on_a_gpu():
    if os.environ.get("FASTBP_TEST_DEVICE"):
        pytest.skip("is about the emulated device")


def test_what_a_hook_enqueues_comes_before_the_step(test_build):
    """A device copy waits for nothing; the step must follow it all the same."""
    run(
        test_build,
        """
net = cpu.to("cuda")
before = net.params.numpy()
nothing_of = {n: fb.to_device(np.zeros(n, np.float32)) for n in (48, 27)}  # kept: letting go of memory waits

def nothing(k, g):
    g[...] = nothing_of[g.size]

net.fit(X, y, optimizer=fb.SGD(lr=1.0), grad_hook=nothing, **FIT)
np.testing.assert_array_equal(net.params.numpy(), before)
""",
    )


def test_a_net_is_asked_within_its_own_call(test_build):
    run(
        test_build,
        """
def hooked(net, seen):
    def hook(k, g):
        x = net.forward(X)
        seen.append(x if isinstance(x, np.ndarray) else x.numpy())
    net.fit(X, y, optimizer=fb.SGD(lr=0.1), grad_hook=hook, **FIT)
    return np.array(seen)

there = hooked(cpu.to("cuda"), [])
np.testing.assert_allclose(there, hooked(cpu, []), rtol=1e-4, atol=1e-5)
""",
    )


def test_two_gpus_and_threads(test_build):
    """Each thread may use either; the device that is current on a thread stays what it was."""
    found = run(
        test_build,
        """
emulation = ctypes.CDLL(os.environ["CUDA_EMULATION"])
first, second = cpu.to("cuda:0"), cpu.to("cuda:1")
expected = cpu.forward(X)
wrong = []

def work(current):
    emulation.cudaSetDevice(current)
    for net in (first, second) * 3:
        try:
            close(net.forward(X), expected)
            close(net.value_and_grad(X, y)[1], cpu.value_and_grad(X, y)[1])
        except Exception as error:
            wrong.append(error)
    now = ctypes.c_int()
    emulation.cudaGetDevice(ctypes.byref(now))
    if now.value != current:
        wrong.append(now.value)

threads = [threading.Thread(target=work, args=(k % 2,)) for k in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not wrong, wrong
trained = [net.fit(X, y, optimizer=fb.Adam(lr=0.01), **FIT).loss for net in (first, second, cpu)]
np.testing.assert_allclose(trained[:2], [trained[2]] * 2, rtol=1e-4)
complaint(lambda: first.forward(fb.to_device(X, "cuda:1")))
complaint(lambda: first.value_and_grad(X, y, out=second.params))
complaint(lambda: first.fit(X, y, state=fb.Adam().init(second.params), **RESUME))
complaint(lambda: fb.MLP((5, 3), device="cuda:2"))
del second
emulation.cudaSetDevice(0)
close(first.forward(X), cpu.forward(X))
""",
        FASTBP_EMULATED_GPUS="2",
    )
    texts = ["X is on cuda:1", "out is on cuda:1", "state was made on cuda:1", "no GPU with number 2"]
    assert len(found) == len(texts)
    for line, text in zip(found, texts, strict=True):
        assert text in line


def test_streams_that_cannot_be_followed(test_build):
    """Nothing is done then, and a capture of the caller's stays whole."""
    captured, closed, again = run(
        test_build,
        """
emulation = ctypes.CDLL(os.environ["CUDA_EMULATION"])
net = cpu.to("cuda")
before = net.params.numpy()
stream, graph = ctypes.c_void_p(), ctypes.c_void_p()
assert emulation.cudaStreamCreateWithFlags(ctypes.byref(stream), 1) == 0
with fb.cuda.stream(stream.value):
    close(net.forward(X), cpu.forward(X))
    assert emulation.cudaStreamBeginCapture(stream, 0) == 0
    complaint(lambda: net.fit(X, y, optimizer=fb.SGD(lr=1.0), **FIT))
    assert emulation.cudaStreamEndCapture(stream, ctypes.byref(graph)) == 0
    assert emulation.cudaStreamDestroy(stream) == 0
    complaint(lambda: net.fit(X, y, optimizer=fb.SGD(lr=1.0), **FIT))
    complaint(lambda: net.forward(X))
np.testing.assert_array_equal(net.params.numpy(), before)
close(net.forward(X), cpu.forward(X))
""",
    )
    assert captured.startswith("RuntimeError")
    assert "is captured, and calls cannot be part of a graph" in captured
    for line in (closed, again):
        assert line.startswith("RuntimeError")
        assert "invalid resource handle" in line


def test_a_forked_process_is_told(test_build):
    lines = run(
        test_build,
        """
net = cpu.to("cuda")
close(net.forward(X), cpu.forward(X))
child = os.fork()
if child == 0:
    complaint(lambda: net.forward(X))
    complaint(lambda: net.fit(X, y, **FIT))
    complaint(lambda: fb.MLP((2, 1), device="cuda"))
    del net
    os._exit(0 if fb.cuda.why_not() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
close(net.forward(X), cpu.forward(X))
""",
        PYTHONUNBUFFERED="1",
    )
    assert len(lines) == 3
    for line in lines:
        assert line.startswith("RuntimeError")
        assert "forked after its parent had used CUDA" in line


def test_a_process_that_is_forked_during_a_call_is_told(test_build):
    lines = run(
        test_build,
        """
net = cpu.to("cuda")
child = None
def hook(k, g):
    global child
    if child is None:
        child = os.fork()
        if child == 0:
            threading.Thread(target=lambda: complaint(lambda: net.forward(X))).start()  # the lock is another thread's
            complaint(lambda: fb.MLP((2, 1), device="cuda"))
            raise SystemExit(0)
net.fit(X, y, grad_hook=hook, **FIT)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""",
        PYTHONUNBUFFERED="1",
    )
    assert len(lines) == 2
    assert all("forked after its parent had used CUDA" in line for line in lines)


def test_too_much_data_changes_nothing(test_build):
    lines = run(
        test_build,
        """
net = cpu.to("cuda")
state = fb.Adam(lr=0.1).init(net.params)
before = net.params.numpy()
many, classes = np.zeros((2_000_000, 5), np.float32), np.zeros(2_000_000, int)
complaint(lambda: net.fit(many, classes, state=state, **RESUME))
complaint(lambda: net.forward(many))
np.testing.assert_array_equal(net.params.numpy(), before)
assert state.step == 0
net.fit(X, y, state=state, **RESUME)
""",
        FASTBP_EMULATED_GPU_MEMORY=str(120 << 20),
    )
    assert len(lines) >= 1
    for line in lines:
        assert line.startswith("MemoryError")
        assert "bytes on cuda" in line


def test_the_benchmark_of_steps_checks_answers_and_notes_the_card(test_build, tmp_path):
    """Small problems, whose times mean nothing here."""
    run(
        test_build,
        f"""
import json, os, sys
os.chdir({str(tmp_path)!r})
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import cuda_steps
cuda_steps.CASES = {{"small": ((20, 12, 4), 16, 6)}}
for precision in cuda_steps.TOLERANCE:
    sys.argv = ["", *"--alone --cases 0 --rounds 1 --precision".split(), precision, "--json", "found"]
    assert cuda_steps.main() == 0
    found = json.load(open("found"))
    assert found["steps"][0]["right"] and found["steps"][0]["seconds"]["fastbp"] > 0
    assert found["environment"]["gpu"]["name"]
cuda_steps.TOLERANCE[precision] = 0
assert cuda_steps.main() == 1
""",
    )
