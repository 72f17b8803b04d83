"""The Python interpreter: threads that compute while it ends, and interpreters other than the main one."""

import subprocess
import sys

import pytest
from helpers import SANITIZE

HEAD = """
import os, signal, sys, threading, time, numpy as np, fastbp as fb
signal.signal(signal.SIGINT, signal.default_int_handler)
net = fb.MLP((20, 64, 6), loss="cross_entropy", seed=0)
own = fb.MLP((20, 64, 6), loss=lambda y, x: (((x - 1) ** 2).sum(1), 2 * (x - 1)), seed=0)
X, y = np.ones((3000, 20), "f"), np.zeros(3000, int)
endless = dict(epochs=10**9, progress=False)
def repeat(call):
    while True: call()
WORK = {
    "forward": lambda: repeat(lambda: net.forward(X)),
    "pullback": lambda: repeat(lambda: net.vjp(X)[1](np.ones((3000, 6), "f"))),
    "gradient": lambda: repeat(lambda: net.value_and_grad(X, y)),
    "loss function": lambda: repeat(lambda: own.value_and_grad(X, np.ones((3000, 6)))),
    "fit": lambda: net.fit(X, y, **endless),
    "fit by a loss function": lambda: own.fit(X, np.ones((3000, 6)), **endless),
    "grad_hook": lambda: net.fit(X, y, grad_hook=lambda k, g: sum(range(1000)), **endless),
}
"""
DAEMONS = """
for _ in range(3):
    threading.Thread(target=WORK[sys.argv[1]], daemon=True).start()
time.sleep(0.3)
print("text")
"""
INTERRUPTED = """
def work():
    for _ in range(3000): net.value_and_grad(X, y)
worker = threading.Thread(target=work)
worker.start()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    worker.join()
except KeyboardInterrupt:
    print("text")
    sys.exit(3)
"""
NAMES = ["forward", "pullback", "gradient", "loss function", "fit", "fit by a loss function", "grad_hook"]


def run(program, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# A sanitizer ends while the threads still run, and then reports their accesses.
@pytest.mark.skipif(bool(SANITIZE), reason="the sanitizer of the whole suite is in the way of other programs")
@pytest.mark.parametrize("name", NAMES)
def test_daemon_threads_compute_while_the_interpreter_ends(name):
    for _ in range(2):
        done = run(HEAD + DAEMONS, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "text\n", "")


def test_a_join_is_interrupted_while_the_thread_computes():
    done = run(HEAD + INTERRUPTED)
    assert done.returncode == 3, done.stderr
    assert done.stdout == "text\n"


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
if sys.argv[1] == "later":
    import fastbp
code = '''
for _ in range(2):
    try:
        import fastbp
        print("imported")
    except ImportError as error:
        print(str(error))
'''
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(interpreters.create(), code)
import fastbp as fb
assert fb.MLP((2, 1), init="zeros").forward([[1, 2]]) == 0
"""


@pytest.mark.parametrize("first", ["later", "first"])
def test_a_subinterpreter_is_refused(first):
    done = run("import sys\n" + SUBINTERPRETER, first)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("subinterpreter" in line for line in lines), lines
