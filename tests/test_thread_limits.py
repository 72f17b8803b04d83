"""A number of threads set for a `with` block or an estimator belongs to the thread that set it."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import require

import fastbp as fb

BEFORE = 3  # the number of the process in these tests


@pytest.fixture(autouse=True)
def number_of_the_process():
    before = fb.get_num_threads()
    fb.set_num_threads(BEFORE)
    yield
    assert fb._core.get_thread_limit() == 0
    fb.set_num_threads(before)


def in_threads(*functions):
    """Call functions at the same time, each in a thread, and return their results."""
    results, errors = [None] * len(functions), []

    def call(k):
        try:
            results[k] = functions[k]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(k,)) for k in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def seen_elsewhere():
    """Return the number of threads that another thread sees."""
    return in_threads(fb.get_num_threads)[0]


def test_a_statement_sets_the_number_for_all_threads():
    fb.set_num_threads(5)
    assert fb.get_num_threads() == seen_elsewhere() == 5
    in_threads(lambda: repr(fb.set_num_threads(2)))
    assert fb.get_num_threads() == seen_elsewhere() == 2


def test_a_block_limits_its_own_thread():
    with fb.set_num_threads(1):
        assert (fb.get_num_threads(), seen_elsewhere()) == (1, BEFORE)
        with fb.set_num_threads(7):
            assert (fb.get_num_threads(), seen_elsewhere()) == (7, BEFORE)
            in_threads(lambda: repr(fb.set_num_threads(4)))
        assert (fb.get_num_threads(), seen_elsewhere()) == (1, 4)
    assert fb.get_num_threads() == 4


def test_a_statement_in_a_block_sets_the_number_of_the_block():
    with fb.set_num_threads(1):
        fb.set_num_threads(2)
        assert (fb.get_num_threads(), seen_elsewhere()) == (2, BEFORE)
    assert fb.get_num_threads() == BEFORE


def test_a_block_ended_by_an_exception():
    for error in (RuntimeError, KeyboardInterrupt, SystemExit):
        with contextlib.suppress(error), fb.set_num_threads(1):
            raise error
        assert fb.get_num_threads() == BEFORE


def test_an_object_that_is_kept():
    kept = fb.set_num_threads(2)
    assert (fb.get_num_threads(), seen_elsewhere()) == (2, BEFORE)
    with kept:
        assert (fb.get_num_threads(), seen_elsewhere()) == (2, BEFORE)
    assert fb.get_num_threads() == seen_elsewhere() == BEFORE
    kept = fb.set_num_threads(2)
    fb.set_num_threads(4)  # the later statement counts, whenever the object of the earlier one goes
    assert fb.get_num_threads() == seen_elsewhere() == 4
    del kept
    assert fb.get_num_threads() == seen_elsewhere() == 4
    kept = fb.set_num_threads(2)
    assert repr(kept) == "set_num_threads(2)"  # as an interactive session does, which keeps the object
    assert fb.get_num_threads() == seen_elsewhere() == 2


def test_one_object_entered_several_times_and_by_several_threads():
    limit = fb.set_num_threads(1)
    go = threading.Barrier(4)

    def use():
        go.wait()
        for _ in range(200):
            with limit, fb.set_num_threads(2), limit:
                assert fb.get_num_threads() == 1
        return fb.get_num_threads()

    with limit:
        assert in_threads(*[use] * 4) == [BEFORE] * 4
        assert fb.get_num_threads() == 1


def test_generators_that_overlap_in_one_thread():
    def holds(n):
        with fb.set_num_threads(n):
            yield fb.get_num_threads()

    first, second = holds(1), holds(2)
    assert [next(first), next(second), fb.get_num_threads()] == [1, 2, 2]
    first.close()
    assert fb.get_num_threads() == 2
    second.close()
    assert fb.get_num_threads() == BEFORE
    third = holds(1)
    next(third)
    in_threads(third.close)  # left by another thread, whose own number stays
    assert fb.get_num_threads() == seen_elsewhere() == BEFORE


def test_the_process_number_never_changes_while_threads_enter_blocks():
    """It does not change between the creation of the object and the start of its block either."""
    stop, seen = threading.Event(), set()

    def watch():
        while not stop.is_set():
            seen.add(fb.get_num_threads())

    def enter():
        for k in range(3000):
            with fb.set_num_threads(4 + k % 3):
                assert fb.get_num_threads() == 4 + k % 3

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        in_threads(enter, enter)
        with contextlib.suppress(KeyError), fb.set_num_threads(9):
            made = fb.set_num_threads(8)
            time.sleep(0.01)
            with made:
                raise KeyError
    finally:
        stop.set()
        watcher.join()
        sys.setswitchinterval(interval)
    assert seen == {BEFORE}


def test_blocks_that_overlap_in_random_order():
    """Eight threads enter and leave blocks, nested to random depths; each sees its own numbers."""

    def work(seed):
        rng = np.random.default_rng(seed)
        stack, numbers = [], [BEFORE]
        for _ in range(400):
            if stack and rng.random() < 0.5:
                stack.pop().__exit__(None, None, None)
                numbers.pop()
            else:
                numbers.append(int(rng.integers(1, 9)))
                stack.append(fb.set_num_threads(numbers[-1]))
                stack[-1].__enter__()
            assert fb.get_num_threads() == numbers[-1]
        while stack:
            stack.pop().__exit__(None, None, None)
        return fb.get_num_threads()

    for round_ in range(5):
        assert in_threads(*[lambda seed=seed: work(seed) for seed in range(8 * round_, 8 * round_ + 8)]) == [BEFORE] * 8
    assert fb.get_num_threads() == BEFORE


def test_the_bits_are_those_of_the_limit_in_force():
    """Threads with different limits compute at the same time, each with the bits of a process with that number."""
    net = fb.MLP((20, 200, 150, 6), loss="cross_entropy", activation="tanh", seed=1)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1500, 20)).astype("f"), rng.integers(0, 6, 1500)
    expected = {}
    for n in (1, 2, 4):
        fb.set_num_threads(n)
        expected[n] = net.value_and_grad(X, y)[1].tobytes()
    assert len(set(expected.values())) > 1
    fb.set_num_threads(BEFORE)

    def work(n):
        with fb.set_num_threads(n):
            return all(net.value_and_grad(X, y)[1].tobytes() == expected[n] for _ in range(20))

    assert in_threads(*[lambda n=n: work(n) for n in (1, 2, 4, 1)]) == [True] * 4


FORK = """
import os, threading, fastbp as fb
fb.set_num_threads(3)
def elsewhere():
    seen = []
    thread = threading.Thread(target=lambda: seen.append(fb.get_num_threads()))
    thread.start()
    thread.join()
    return seen[0]
with fb.set_num_threads(1):
    child = os.fork()
    right = (fb.get_num_threads(), elsewhere()) == (1, 3)
right = right and fb.get_num_threads() == elsewhere() == 3
if child == 0:
    os._exit(0 if right else 1)
assert right
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_block_around_a_fork():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)


def test_a_statement_of_an_interactive_session():
    """An interactive session keeps the object of the last statement that it showed."""
    text = "import fastbp, threading\nfastbp.set_num_threads(5)\n"
    text += "t = threading.Thread(target=lambda: print('elsewhere', fastbp.get_num_threads()))\nt.start()\nt.join()\n"
    done = subprocess.run(
        [sys.executable, "-i", "-q"], input=text, capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHON_BASIC_REPL": "1"},
    )  # fmt: skip
    assert "elsewhere 5" in done.stdout, done


def half_squares(y, x):
    residual = x[:, 0] - y
    return 0.5 * residual**2, residual[:, None]


@pytest.mark.frameworks
@pytest.mark.filterwarnings("ignore:.*iterations")
@pytest.mark.parametrize("order", ["as begun", "reversed"])
def test_estimators_fitted_at_the_same_time(order):
    require("sklearn")
    import fastbp.sklearn as sk

    X = np.random.default_rng(0).standard_normal((20, 3))
    begun, may_end, numbers = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)], [1, 2, 4, 1]
    seen = [set() for _ in numbers]

    def fit(k):
        def loss(y, x):
            seen[k].add(fb.get_num_threads())
            begun[k].set()
            assert may_end[k].wait(20)
            return half_squares(y, x)

        model = sk.MLPRegressor(loss, (4,), max_iter=1, n_threads=numbers[k], random_state=0)
        model.fit(X, X[:, 0])
        return fb.get_num_threads()

    threads, after = [], {}
    for k in range(4):
        threads.append(threading.Thread(target=lambda k=k: after.__setitem__(k, fit(k)), daemon=True))
        threads[-1].start()
        assert begun[k].wait(20)
    for k in range(4) if order == "as begun" else reversed(range(4)):
        may_end[k].set()
        threads[k].join()
        assert fb.get_num_threads() == BEFORE
    assert seen == [{n} for n in numbers]
    assert after == dict.fromkeys(range(4), BEFORE)


@pytest.mark.frameworks
def test_prediction_and_search_in_threads_leave_the_number():
    require("sklearn")
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV

    import fastbp.sklearn as sk

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((90, 4)), np.arange(90) % 3
    models = [sk.MLPClassifier((5,), max_iter=300, tol=0.1, random_state=0, n_threads=n).fit(X, y) for n in (1, 2)]

    def predict(k):
        for _ in range(200):
            models[k % 2].predict(X)
            assert fb.get_num_threads() == BEFORE
        return models[k % 2].n_threads

    assert in_threads(*[lambda k=k: predict(k) for k in range(8)]) == [1, 2] * 4
    search = GridSearchCV(models[0], {"alpha": [1e-4, 1e-2, 1], "n_threads": [1, 2]}, cv=3, n_jobs=4)
    with parallel_config("threading"):
        search.fit(X, y)
    assert fb.get_num_threads() == seen_elsewhere() == BEFORE


def test_limits_of_the_core_are_checked():
    with pytest.raises(ValueError, match="n is -1, expected a number of threads >= 1, or 0 for no limit"):
        fb._core.set_thread_limit(-1)
    with pytest.raises(ValueError, match="n is -1, expected a number of threads >= 1, or 0 for the default"):
        fb._core.set_num_threads(-1)
    assert (fb._core.get_thread_limit(), fb.get_num_threads()) == (0, BEFORE)
