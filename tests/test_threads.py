"""Threads: never a different answer, honoured when asked for, safe to fork, quiet when idle."""

import copy
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import informative

import fastbp as fb

SIZES = (20, 200, 150, 6)


def problem(rows, dtype="float32", sizes=SIZES, **options):
    rng = np.random.default_rng(rows)
    net = fb.MLP(sizes, loss="cross_entropy", activation="tanh", seed=1, dtype=dtype, **options)
    return net, rng.standard_normal((rows, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], rows)


@pytest.fixture(autouse=True)
def restore_threads():
    with fb.set_num_threads(fb.get_num_threads()):
        yield


def test_setting_and_undoing():
    before = fb.get_num_threads()
    with fb.set_num_threads(3):
        assert fb.get_num_threads() == 3
        fb.set_num_threads(5)
        assert fb.get_num_threads() == 5
    assert fb.get_num_threads() == before
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)):
        with pytest.raises(error, match=r"n is|integer"):
            fb.set_num_threads(wrong)
    assert fb.get_num_threads() == before


@pytest.mark.parametrize("name, value", [("FASTBP_NUM_THREADS", "3"), ("OMP_NUM_THREADS", "5")])
def test_default_by_environment(name, value):
    environment = {k: v for k, v in os.environ.items() if k not in ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS")}
    program = "import fastbp; print(fastbp.get_num_threads())"
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, env={**environment, name: value}, capture_output=True, text=True, check=True).stdout
    assert said.strip() == value
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert 1 <= int(said) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("rows", [1, 31, 300, 3000])
def test_gradients_agree_with_one_thread(threads, rows):
    net, X, y = problem(rows, "float64")
    c = np.random.default_rng(0).random(rows)
    fb.set_num_threads(1)
    value, grad = net.value_and_grad(X, y, c)
    r = net.backward(X, y, c)
    for part in (value, grad, r.input_grad, *r.s, *r.deltas):
        informative(part)
    fb.set_num_threads(threads)
    for _ in range(3):
        other_value, other = net.value_and_grad(X, y, c)
        assert other_value == pytest.approx(value, rel=1e-13)
        assert np.linalg.norm(other - grad) <= 1e-13 * np.linalg.norm(grad)
    q = net.backward(X, y, c)
    np.testing.assert_allclose(q.input_grad, r.input_grad, rtol=0, atol=1e-15)
    for a, b in zip([*q.s, *q.deltas], [*r.s, *r.deltas], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
    x, pullback = net.vjp(X)
    np.testing.assert_allclose(x, r.x[-1], rtol=0, atol=1e-13)
    cotangent = np.random.default_rng(1).standard_normal(x.shape)
    fb.set_num_threads(1)
    expected = net.vjp(X)[1](cotangent)
    for a, b in zip(pullback(cotangent), expected, strict=True):
        assert np.linalg.norm(a - b) <= 1e-12 * np.linalg.norm(b)


@pytest.mark.parametrize("rows", [40, 500, 2000])
def test_the_same_setting_gives_the_same_bits(rows):
    net, X, y = problem(rows)
    for threads in (2, 4):
        fb.set_num_threads(threads)
        first = net.value_and_grad(X, y)
        for _ in range(20):
            value, grad = net.value_and_grad(X, y)
            assert value == first[0]
            np.testing.assert_array_equal(grad, first[1])


OPTIMIZERS = [fb.SGD(lr=0.1), fb.SGD(lr=0.1, momentum=0.9), fb.Adam(lr=0.01)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("batch", [16, 200])
def test_training_agrees_with_one_thread(optimizer, batch):
    start, X, y = problem(900, "float64", l2=1e-3)
    trained = {}
    for threads in (1, 2, 3):
        fb.set_num_threads(threads)
        net = copy.copy(start)
        history = net.fit(X, y, optimizer=optimizer, batch_size=batch, epochs=2, seed=0)
        trained[threads] = [*history.loss, *net.params]
        assert (net.params != start.params).any()
    for threads in (2, 3):
        np.testing.assert_allclose(trained[threads], trained[1], rtol=1e-8, atol=1e-9)


DIGEST = """
import hashlib, numpy as np, threading, fastbp as fb
digest = hashlib.sha256()
rng = np.random.default_rng(0)
busy = fb.MLP((64, 256, 10), loss="cross_entropy", seed=0)
B, c = rng.standard_normal((4000, 64)).astype("f"), rng.integers(0, 10, 4000)
stop = False
def keep_the_pool_busy():
    while not stop:
        busy.value_and_grad(B, c)
other = threading.Thread(target=keep_the_pool_busy)
other.start()
try:
    for sizes in ((20, 200, 150, 6), (5, 8, 3), (300, 300, 4)):
        net = fb.MLP(sizes, loss="cross_entropy", activation="tanh", seed=1, deterministic=True)
        for rows in (7, 130, 1500):
            X, y = rng.standard_normal((rows, sizes[0])).astype("f"), rng.integers(0, sizes[-1], rows)
            value, grad = net.value_and_grad(X, y)
            digest.update(grad.tobytes() + str(value).encode())
            for optimizer in (fb.SGD(0.1), fb.Adam()):
                history = net.fit(X, y, optimizer=optimizer, batch_size=64, epochs=2, seed=0)
                digest.update(net.params.tobytes() + str(history.loss).encode())
finally:
    stop = True
    other.join()
print(digest.hexdigest())
"""


def test_deterministic_mode_gives_the_same_bits_for_any_number_of_threads():
    """With teams forced beyond the processors, and another thread taking the pool now and then."""
    digests = set()
    for threads in (1, 2, 3, 4, 8):
        environment = {**os.environ, "FASTBP_NUM_THREADS": str(threads), "FASTBP_TEAM": str(threads)}
        done = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


WORKERS = """
import numpy as np, fastbp as fb
rng = np.random.default_rng(0)
net = fb.MLP((20, 30, 3), loss="squared_error", seed=0)
X, y = rng.standard_normal((20000, 20)), rng.standard_normal((20000, 3))
net.value_and_grad(X, y)
before = fb._core.jobs_taken()
for _ in range(5):
    net.value_and_grad(X, y)
print(*np.subtract(fb._core.jobs_taken(), before))
"""


def test_as_many_workers_as_asked_for_take_work():
    """The team is forced: on a busy machine a call may use fewer threads than it is allowed."""
    environment = {**os.environ, "FASTBP_NUM_THREADS": "4", "FASTBP_TEAM": "4"}
    done = subprocess.run([sys.executable, "-c", WORKERS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5"] * 4


def test_callers_at_the_same_time_get_exact_results():
    """A soak of mixed shapes from 4 threads; small whole numbers, so that every sum is exact."""
    fb.set_num_threads(3)
    rng = np.random.default_rng(3)
    cases = []
    for sizes in ((30, 40, 5), (8, 8, 8, 8), (120, 64, 3), (3, 1)):
        for rows in (1, 33, 700):
            net = fb.MLP(sizes, loss="squared_error", activation="identity", init="zeros")
            net.params = rng.integers(-1, 2, net.params.size) * (rng.random(net.params.size) < 0.3)
            X, y = rng.integers(-1, 2, (rows, sizes[0])), rng.integers(-2, 3, (rows, sizes[-1]))
            w, b = fb.reference.views(net.params.astype(np.int64), sizes)
            s, x = fb.reference.forward(w, b, X, ["identity"] * len(w))
            grad_w, grad_b, _ = fb.reference.backpropagate(w, s, x, ["identity"] * len(w), x[-1] - y)
            expected = fb.reference.flatten(grad_w, grad_b)
            assert np.abs(expected).max() < 2**23
            cases.append((net, X, y, expected))
    mismatches, checked = [], []

    def caller(seed):
        order = np.random.default_rng(seed)
        for _ in range(150):
            net, X, y, expected = cases[order.integers(len(cases))]
            grad = net.value_and_grad(X, y, reduction="sum")[1]
            if not np.array_equal(grad, expected):
                mismatches.append(net)
            checked.append(1)

    callers = [threading.Thread(target=caller, args=(seed,)) for seed in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert len(checked) == 600
    assert mismatches == []


FORK = """
import os, numpy as np, fastbp as fb
fb.set_num_threads(2)
net = fb.MLP((20, 200, 6), loss="cross_entropy", seed=0)
rng = np.random.default_rng(0)
X, y = rng.standard_normal((3000, 20)), rng.integers(0, 6, 3000)
expected = net.value_and_grad(X, y)[1]
child = os.fork()
right = np.array_equal(net.value_and_grad(X, y)[1], expected)
if child == 0:
    os._exit(0 if right else 1)
assert right
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(net.value_and_grad(X, y)[1], expected)
"""


def test_the_pool_survives_fork():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


def states_of_threads():
    """Linux's letter for every other thread of this process: S sleeps, R runs or waits for a core."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != threading.get_native_id():
            found[task.name] = (task / "stat").read_text().rpartition(")")[2].split()[0]
    return found


def test_idle_threads_sleep():
    net, X, y = problem(3000)
    fb.set_num_threads(2)
    net.value_and_grad(X, y)
    for _ in range(6000):  # they spin for a moment, then sleep; a minute says that they do not
        if set(states_of_threads().values()) <= {"S"}:
            break
        time.sleep(0.01)
    looks = []
    for _ in range(50):
        looks.append(states_of_threads())
        time.sleep(0.001)
    assert looks[0]  # the team's second thread exists
    assert {state for look in looks for state in look.values()} == {"S"}


def test_no_thread_is_started_by_importing():
    program = "import threading, os, fastbp; print(len(os.listdir('/proc/self/task')))"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
