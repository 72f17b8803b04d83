"""Ctrl-C ends a call, with everything in order."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import signal, sys, numpy as np, fastbp as fb
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a program in the background starts without
rng = np.random.default_rng(0)
net = fb.MLP((300, 500, 500, 10), loss="cross_entropy", seed=0)
X, y = rng.standard_normal((20000, 300)).astype("f"), rng.integers(0, 10, 20000)
state = fb.Adam(lr=1e-4).init(net.params, seed=0)
print("started", flush=True)
try:
    if sys.argv[1] == "fit":
        net.fit(X, y, state=state, batch_size=int(sys.argv[2]), epochs=1000)
    else:
        while True:
            net.value_and_grad(X, y)
except KeyboardInterrupt as error:
    if sys.argv[1] == "fit":
        assert error.history.state is state
        assert error.history.stop_reason == "KeyboardInterrupt"
        assert state.step > 0 or sys.argv[2] == "20000"
        # The parameters are those after so many whole steps: the same training, stopped there, gives the same bits
        # (all mini-batches are of one size: a last short one would have its own plan in train_step).
        twin = fb.MLP((300, 500, 500, 10), loss="cross_entropy", seed=0)
        other = fb.Adam(lr=1e-4).init(twin.params, seed=0)
        size = int(sys.argv[2])
        for step in range(state.step):
            epoch, k = divmod(step, -(-20000 // size))
            order = np.random.default_rng([0, epoch]).permutation(20000)[k * size : (k + 1) * size]
            twin.train_step(X[order], y[order], other)
        np.testing.assert_array_equal(net.params, twin.params)
        assert all(np.isfinite(m).all() for m in state.moments)
    assert np.isfinite(net.value_and_grad(X[:100], y[:100])[1]).all()
    print("in order", flush=True)
"""


@pytest.mark.parametrize("arguments", [("fit", "250"), ("fit", "20000"), ("gradient",)])
def test_ctrl_c(arguments):
    child = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "started\n"
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    try:
        said, _ = child.communicate(timeout=60)  # the training itself would take far longer
    finally:
        child.kill()
    assert child.returncode == 0
    assert said == "in order\n"
