"""Processes: fork at any moment, exit and unloading while threads work, limits of memory and threads."""

import ctypes
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, SANITIZE, run
from preload import preloaded

import fastbp as fb

PACKAGE = Path(fb._core.__file__).parent
LIBRARY = PACKAGE / "lib" / "libfastbp.so"
without_sanitizer = pytest.mark.skipif(
    bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs"
)
needs_library = pytest.mark.skipif(not LIBRARY.exists(), reason="a development tree: libfastbp.so is not installed")


def python(program, *arguments, environment=None, timeout=60):
    """Run a Python program and return its stdout; it must succeed."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    program = tmp_path_factory.mktemp("host") / "host"
    source = ROOT / "tests" / "cpp" / "processes" / "host.c"
    run("cc", "-O1", f"-I{PACKAGE / 'include'}", source, "-o", program, "-ldl", "-lpthread")
    return program


@needs_library
@without_sanitizer
@pytest.mark.parametrize("what", ["fork", "fork beside products"])
def test_the_child_of_a_fork_computes_whatever_other_threads_did(host, what):
    done = subprocess.run([host, what, LIBRARY], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@needs_library
@without_sanitizer
@pytest.mark.parametrize("what", ["exit", "unload"])
def test_a_program_ends_with_its_own_status(host, what):
    for _ in range(5):
        assert subprocess.run([host, what, LIBRARY], timeout=60).returncode == 7


FORK_AT_THE_FIRST_CALL = """
import os, threading, numpy as np, fastbp as fb
fb.set_num_threads(2)
mine, other = (fb.MLP((20, 64, 6), loss="cross_entropy", seed=0) for _ in range(2))
X, y = np.ones((3000, 20), "f"), np.zeros(3000, int)
threading.Thread(target=lambda: [other.value_and_grad(X, y) for _ in range(3)]).start()
child = os.fork()
if child == 0:
    mine.value_and_grad(X, y)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_fork_while_another_thread_makes_the_first_call():
    for _ in range(6):
        python(FORK_AT_THE_FIRST_CALL)


FORK_AT_THE_FIRST_NET = """
import os, threading, time, numpy as np, fastbp as fb
X, y = np.ones((300, 300), "f"), np.zeros(300, int)
def work():  # loads the BLAS, numpy.random, ..
    fb.MLP((300, 500, 6), loss="cross_entropy", seed=0).value_and_grad(X, y)
threading.Thread(target=work).start()
time.sleep({delay})
child = os.fork()
if child == 0:
    work()
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("delay", [0, 0.002, 0.01, 0.02])
def test_fork_while_another_thread_makes_the_first_net(delay):
    python(FORK_AT_THE_FIRST_NET.replace("{delay}", str(delay)))


FORK_IN_A_CALLBACK = """
import os, numpy as np, fastbp as fb
fb.set_num_threads(2)
net, other = (fb.MLP((40, 300, 6), loss="cross_entropy", seed=0) for _ in range(2))
X, y = np.ones((4000, 40), "f"), np.zeros(4000, int)
expected = other.value_and_grad(X, y)[1]
child = None
def hook(k, g):
    global child
    if child is None:
        child = os.fork()
        if child == 0 and {leave}:
            assert np.array_equal(other.value_and_grad(X, y)[1], expected)
            os._exit(5)
try:
    net.fit(X, y, epochs=1, batch_size=2000, grad_hook=hook, progress=False)
except RuntimeError as error:
    assert child == 0 and "forked in a callback" in str(error), error
    os._exit(5)
assert child != 0 and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
"""


@pytest.mark.parametrize("leave", [True, False], ids=["the child leaves", "the child returns"])
def test_fork_in_a_callback_of_a_team(leave):
    python(FORK_IN_A_CALLBACK.replace("{leave}", str(leave)), environment={**os.environ, "FASTBP_TEAM": "2"})


def test_a_call_with_one_thread_leaves_the_pool_to_others():
    rng = np.random.default_rng(0)
    net, other = (fb.MLP((40, 300, 6), loss="cross_entropy", seed=0) for _ in range(2))
    X, y = rng.standard_normal((20000, 40)).astype("f"), rng.integers(0, 6, 20000)
    entered, leave = threading.Event(), threading.Event()

    def wait(k, g):
        entered.set()
        assert leave.wait(60)

    def train_alone():
        fb._core.set_thread_limit(1)
        other.fit(X, y, epochs=1, batch_size=20000, grad_hook=wait)

    thread = threading.Thread(target=train_alone)
    thread.start()
    try:
        assert entered.wait(60)
        with fb.set_num_threads(2):
            net.value_and_grad(X, y)
            before = fb._core.jobs_taken()
            for _ in range(1000):  # on a busy machine not every call uses two threads
                net.value_and_grad(X, y)
                taken = np.subtract(fb._core.jobs_taken(), before)[:2]
                if (taken >= 1).all():
                    break
            assert (taken >= 1).all()
    finally:
        leave.set()
        thread.join()


def test_jobs_are_counted_in_a_callback():
    net = fb.MLP((40, 300, 6), loss="cross_entropy", seed=0)
    X, y = np.ones((4000, 40), "f"), np.zeros(4000, int)
    counts = []
    with fb.set_num_threads(2):
        net.fit(X, y, epochs=1, batch_size=2000, grad_hook=lambda k, g: counts.append(fb._core.jobs_taken()))
    assert len(counts) == 4


NO_THREADS = """
#include <pthread.h>
static int allowed = 1000;
void allow_threads(int n) { allowed = n; }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
    if (allowed-- <= 0) return EAGAIN;
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    return real(t, a, f, x);
}
"""
TEAM_OF_FEWER = """
import ctypes, sys, numpy as np, fastbp as fb
net = fb.MLP((20, 200, 6), loss="cross_entropy", seed=0, deterministic=True)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((3000, 20)), rng.integers(0, 6, 3000)
ctypes.CDLL(None).allow_threads(0)
expected = net.value_and_grad(X, y)[1]
for allowed, members in ((0, 1), (1, 2), (0, 2), (1000, 4)):
    ctypes.CDLL(None).allow_threads(allowed)
    for _ in range(3):
        assert np.array_equal(net.value_and_grad(X, y)[1], expected)
    assert len(fb._core.jobs_taken()) == members, (allowed, fb._core.jobs_taken())
"""


@without_sanitizer
def test_a_team_does_without_threads_that_cannot_be_started(tmp_path):
    environment = preloaded(tmp_path, NO_THREADS)
    python(TEAM_OF_FEWER, environment={**environment, "FASTBP_TEAM": "4"})


LITTLE_MEMORY = """
import resource, sys, numpy as np, numpy.random, fastbp as fb
what, mebibytes = sys.argv[1], int(sys.argv[2])
net = fb.MLP((300, 500, 10), loss="cross_entropy", seed=0, deterministic=True) if what != "load" else None
X, y = np.ones((20000, 300), "f"), np.zeros(20000, int)
if what == "fit":
    call = lambda: (net.fit(X, y, epochs=1, batch_size=4000, seed=0, progress=False), net.params)[1]
elif what == "load":
    call = lambda: fb.MLP((3, 2), init="zeros").forward([[1, 2, 3]])
else:
    call = lambda: net.value_and_grad(X, y)[1]
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20, resource.RLIM_INFINITY))
try:
    found = call()
except MemoryError:
    found = None
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
expected = call()
assert what == "fit" or found is None or np.array_equal(found, expected)
"""


@without_sanitizer
@pytest.mark.parametrize("mebibytes", [1, 10, 30, 60, 100, 200])
@pytest.mark.parametrize("what", ["load", "call", "fit"])
def test_too_little_memory_is_a_memory_error(what, mebibytes):
    python(LITTLE_MEMORY, what, mebibytes)


UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())


@pytest.mark.skipif(UPWARD is None, reason="the value of FE_UPWARD is not known here")
class TestRoundingMode:
    """The caller rounds upward: the results are those of the default mode, and its own code rounds upward still."""

    @pytest.fixture
    def upward(self):
        libm = ctypes.CDLL("libm.so.6")

        class Upward:
            def __enter__(self):
                libm.fesetround(UPWARD)

            def __exit__(self, *_):
                found = libm.fegetround()
                libm.fesetround(0)
                assert found == UPWARD

            @staticmethod
            def now():
                return libm.fegetround() == UPWARD

        return Upward()

    @pytest.mark.parametrize("threads", [1, 3])
    def test_results(self, upward, threads):
        rng = np.random.default_rng(0)
        net = fb.MLP((20, 64, 6), loss="squared_error", activation="tanh", seed=0, deterministic=True)
        X, y = rng.standard_normal((3000, 20)), rng.standard_normal((3000, 6))
        expected = net.value_and_grad(X, y)[1]
        with fb.set_num_threads(threads), upward:
            found = net.value_and_grad(X, y)[1]
        np.testing.assert_array_equal(found, expected)

    def test_long_double_inputs(self, upward):
        net = fb.MLP((1, 1), loss="squared_error", activation="identity", init="zeros", dtype="float64")
        net.params[:] = [1, 0]
        X = np.array([[1]], np.longdouble) + np.finfo(np.float64).eps / np.longdouble(4)
        with upward:
            found = net.forward(X)
        assert found[0, 0] == 1

    @pytest.mark.parametrize("threads", [1, 3])
    def test_callbacks(self, upward, threads):
        rng = np.random.default_rng(0)
        net = fb.MLP((20, 64, 6), loss="squared_error", seed=0)
        X, y = rng.standard_normal((3000, 20)), rng.standard_normal((3000, 6))
        seen = []
        with fb.set_num_threads(threads), upward:
            net.fit(X, y, epochs=1, batch_size=1000, grad_hook=lambda k, g: seen.append(upward.now()))
        assert seen == [True] * 6
