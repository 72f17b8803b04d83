"""Nets on a device: arrays in and out, errors, and the CPU's own tests there.

Without a GPU the device is the plugin over the emulated runtime of tests/cuda_emulation, in a process of its own, whose
environment names it before fastbp is imported.
"""

import copy
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exporters import OfAnotherLibrary, OnAnotherGpu
from helpers import LONG, SANITIZE, plain_environment
from on_device import LEFT_OUT, OWN_TESTS

import fastbp as fb

DEVICE = os.environ.get("FASTBP_TEST_DEVICE")
there = pytest.mark.skipif(DEVICE is None, reason="runs on the emulated device, in a process of its own")
not_there = pytest.mark.skipif(DEVICE is not None, reason="is about this very process")


def own_tests(environment, timeout=500):
    files = [os.path.join(os.path.dirname(__file__), f"{name}.py") for name in OWN_TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not frameworks"]
    done = subprocess.run(
        [*command, *files], capture_output=True, text=True, timeout=timeout,
        env={**plain_environment(), "FASTBP_TEST_DEVICE": "cuda", "FASTBP_REQUIRE": "unmarked", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_what_is_left_out_there_exists():
    """Names of tests, each in one of the files that run on the device."""
    folder = Path(__file__).parent
    texts = [(folder / f"{name}.py").read_text() for name in OWN_TESTS]
    found = {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}
    assert found >= LEFT_OUT


@there
def test_the_package_has_device_arrays_as_users_have_them(nets):
    """Code of the package can neither convert nor compute with them; its own file name is all that decides."""
    text = os.path.join(os.path.dirname(fb.__file__), "a_file_of_the_package.py")
    names = {"np": np, "a": fb.to_device([[3.0]])}
    for code in ("np.asarray(a)", "np.sum(a)", "a + 1", "1 - a", "-a", "a @ [1]", "abs(a)", "a.T", "a.reshape(1)"):
        assert eval(code, names) is not None
        with pytest.raises((TypeError, AttributeError)):
            eval(compile(code, text, "eval"), names)


@not_there
@pytest.mark.skipif(bool(SANITIZE), reason="the C++ drivers run on the emulated device under the sanitizers")
@pytest.mark.parametrize("kind", ["DELAY", "DISTANT"] if LONG else ["DELAY"])
def test_the_cpus_own_tests_on_the_emulated_device(kind, test_build):
    """With work that is done late, and with memory that the process cannot touch, which takes far longer."""
    emulated = {
        "FASTBP_CUDA": str(test_build / "libfastbp_cuda_emulated.so"),
        "FASTBP_CUBLASLT": str(test_build / "libcublasLt_emulated.so"),
        "FASTBP_TEST_BUILD": str(test_build.parent),
        **{f"FASTBP_EMULATED_{name}": str(int(name == kind)) for name in ("DELAY", "DISTANT")},
    }
    own_tests(emulated, timeout=500 if kind == "DELAY" else 7200)


@not_there
@pytest.mark.gpu
def test_the_cpus_own_tests_on_a_gpu():
    if not fb.cuda.is_available():
        pytest.skip(f"no GPU: {fb.cuda.why_not()}")
    own_tests({})


@not_there
def test_a_device_that_is_not_there_is_told():
    if fb.cuda.is_available():
        pytest.skip("there is a GPU")
    assert fb.cuda.why_not()
    assert fb.show_config("dicts")["cuda"] == fb.cuda.why_not()
    for call in (lambda: fb.MLP((2, 1), device="cuda"), lambda: fb.to_device([1.0]), lambda: fb.MLP((2, 1)).to("cuda")):
        with pytest.raises(RuntimeError, match=r"FASTBP_CUDA=1|nvidia|CUDA"):
            call()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "cuda:1000"])
def test_names_that_are_no_device(name):
    with pytest.raises(ValueError, match=r"device is .*, expected 'cpu', 'cuda' or 'cuda:' and a number"):
        fb.MLP((2, 1), device=name)


def test_precision_is_for_the_device():
    with pytest.raises(ValueError, match="precision is for device 'cuda' only, this net is on 'cpu'"):
        fb.MLP((2, 1), device="cpu", precision="tf32")
    with pytest.raises(ValueError, match=r"precision is 'tf16'"):
        fb.MLP((2, 1), device="cpu", precision="tf16")


def test_arrays_of_a_gpu_are_refused_on_the_cpu():
    with pytest.raises(ValueError, match="X is on cuda:0, expected memory of the host"):
        fb.MLP((2, 1), device="cpu").forward(OnAnotherGpu(0))


def test_streams_are_numbers_or_have_one():
    class Torch:
        cuda_stream = 12345

    before = fb._core.get_stream()
    with fb.cuda.stream(Torch()):
        assert fb._core.get_stream() == 12345
        with fb.cuda.stream(7):
            assert fb._core.get_stream() == 7
        assert fb._core.get_stream() == 12345
    assert fb._core.get_stream() == before
    for wrong in (-1, True, "default"):
        with pytest.raises(TypeError, match=r"\[stream\] of is"), fb.cuda.stream(wrong):
            pass


@pytest.fixture
def nets():
    """The same net on the CPU and on the device, and data."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 5)).astype(np.float32), rng.integers(0, 3, 30)
    cpu = fb.MLP((5, 8, 3), loss="cross_entropy", l2=0.01, seed=0, device="cpu")
    return cpu, cpu.to("cuda"), X, y


@there
def test_results_lie_where_the_net_lies(nets):
    cpu, net, X, y = nets
    assert net.device == "cuda"
    assert net.params.device == "cuda:0"
    assert [w.shape for w in net.weights] == [(5, 8), (8, 3)]
    grad = net.value_and_grad(X, y)[1]
    assert isinstance(grad, fb.DeviceArray)
    np.testing.assert_allclose(grad.numpy(), cpu.value_and_grad(X, y)[1], atol=1e-6)
    out = fb.to_device(np.zeros((30, 3), np.float32))
    assert net.forward(X, out=out) is out
    np.testing.assert_allclose(out.numpy(), cpu.forward(X), atol=1e-6)
    assert isinstance(net.to("cpu").params, np.ndarray)


COPIES = """
import numpy as np
import fastbp as fb

host = np.arange(24, dtype=np.float32).reshape(8, 3)
array = fb.to_device(host)
copied = array.copy()
array[...] = 0.0
np.testing.assert_array_equal(copied.numpy(), host)
array[...] = copied
np.testing.assert_array_equal(array.numpy(), host)
for to, from_ in ((slice(1, 6), slice(0, 5)), (slice(0, 5), slice(1, 6)), (slice(2, 4), slice(4, 6)),
                  (slice(3, 3), slice(0, 0)), (slice(0, 8), slice(0, 8))):
    array[to] = array[from_]
    host[to] = host[from_].copy()
    np.testing.assert_array_equal(array.numpy(), host)
array[...] = fb.to_device(host[:1] * 2)
np.testing.assert_array_equal(array.numpy(), np.broadcast_to(host[:1] * 2, (8, 3)))
array[...] = fb.to_device(np.arange(24).reshape(8, 3))
np.testing.assert_array_equal(array.numpy(), np.arange(24).reshape(8, 3))
try:
    array[...] = fb.to_device(np.zeros((3, 8), np.float32))
except ValueError:
    print("as in NumPy")
"""


@there
def test_copies_within_the_device():
    """In a process where device arrays are as users have them."""
    environment = {k: v for k, v in os.environ.items() if k != "FASTBP_TEST_DEVICE"}
    done = subprocess.run([sys.executable, "-c", COPIES], capture_output=True, text=True, env=environment, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "as in NumPy\n"


@there
def test_what_does_not_fit_is_refused_and_changes_nothing(nets):
    _, net, X, y = nets
    before = net.params.numpy()
    cases = [
        ("X is on cuda:1", lambda: net.forward(OnAnotherGpu(1))),
        ("out lies with the process", lambda: net.forward(X, out=np.zeros((30, 3), np.float32))),
        ("out has shape", lambda: net.forward(X, out=fb.to_device(np.zeros((30, 4), np.float32)))),
        ("out has dtype float64, expected float32", lambda: net.forward(X, out=fb.to_device(np.zeros((30, 3))))),
        ("out overlaps X", lambda: _forward_into_itself(net)),
        (r"X has 5 columns|X has 3 columns", lambda: net.forward(fb.to_device(X[:, :3].copy()))),
        ("state was made on cpu", lambda: net.train_step(X, y, fb.SGD(lr=1.0).init(before))),
        ("a class number", lambda: net.value(X, fb.to_device(np.full(30, 7)))),
    ]
    for text, call in cases:
        with pytest.raises(ValueError, match=text):
            call()
    np.testing.assert_array_equal(net.params.numpy(), before)


def _forward_into_itself(net):
    memory = fb.to_device(np.zeros((30, 8), np.float32))
    square = fb.MLP((8, 8), device="cuda")
    return square.forward(memory, out=memory)


@there
@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1, momentum=0.9), fb.Adam(lr=0.01)], ids=["sgd", "adam"])
def test_training_goes_on_and_travels(nets, optimizer):
    cpu, net, X, y = nets
    options = {"batch_size": 8, "seed": 3, "validation_data": (X, y), "metrics": ("accuracy",), "progress": False}
    expected = cpu.fit(X, y, optimizer=optimizer, epochs=4, **options)
    whole, halves = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    found = whole.fit(X, y, optimizer=optimizer, epochs=4, **options)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.val_loss, expected.val_loss, rtol=1e-5)
    np.testing.assert_allclose(whole.params.numpy(), cpu.params, atol=1e-5)
    first = halves.fit(fb.to_device(X).numpy(), y, optimizer=optimizer, epochs=2, **options)
    state = pickle.loads(pickle.dumps(first.state))
    halves.fit(X, y, state=state, epochs=2, **{**options, "seed": None})
    np.testing.assert_array_equal(halves.params.numpy(), whole.params.numpy())


@there
def test_training_on_arrays_that_lie_there(nets):
    cpu, net, X, y = nets
    there, classes = OfAnotherLibrary(fb.to_device(X)), fb.to_device(y)
    weights = np.linspace(0.5, 2, 30)
    options = {"optimizer": fb.Adam(lr=0.01), "batch_size": 8, "seed": 3, "epochs": 3, "progress": False}
    expected = cpu.fit(X, y, weights, metrics=("accuracy",), **options)
    found = net.fit(there, classes, fb.to_device(weights), metrics=("accuracy",), **options)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    assert found.metrics == expected.metrics
    x, pullback = net.vjp(there)
    np.testing.assert_allclose(x.numpy(), cpu.forward(X), atol=1e-5)
    assert pullback(x)[1].shape == (30, 5)
    assert np.isfinite(net.train_step(there, classes, found.state))
    with pytest.raises(ValueError, match=r"y.* is 5, expected a class number"):
        net.fit(there, fb.to_device(y + 5 * (y == 0)), **options)


@there
def test_early_stopping_files_and_hooks(nets, tmp_path):
    _, net, X, y = nets
    seen = []

    def hook(k, g):
        seen.append((k, g.shape, g.device))

    history = net.fit(
        X, y, optimizer=fb.Adam(lr=0.05), epochs=3, batch_size=10, early_stopping=1, validation_data=(X, y),
        grad_hook=hook, max_grad_norm=0.5, progress=False,
    )  # fmt: skip
    assert seen[:2] == [(1, (27,), "cuda:0"), (0, (48,), "cuda:0")]
    fb.save(net, tmp_path / "net", state=history.state)
    again, state = fb.load(tmp_path / "net", with_state=True, device="cuda")
    np.testing.assert_array_equal(again.params.numpy(), net.params.numpy())
    more = {"epochs": 2, "batch_size": 10, "progress": False}
    assert again.fit(X, y, state=state, **more).loss == net.fit(X, y, state=history.state, **more).loss
    with pytest.raises(ValueError, match=r"state was made on cuda:0, the net is on cpu: take state.to"):
        again.to("cpu").fit(X, y, state=state, **more)
    assert np.isfinite(again.to("cpu").fit(X, y, state=state.to("cpu"), **more).loss).all()


@there
def test_what_computes_on_the_host(nets):
    _, net, X, y = nets
    assert fb.testing.check_gradient(net, X, y) < 1e-3
    line = fb.MLP((5, 4, 1), loss="squared_error", activation="tanh", seed=0, device="cuda")
    found = fb.optimize.levenberg_marquardt(line, X, X[:, 0])
    assert found.fun < line.value(X, X[:, 0]) / 10
    state = fb.Adam(lr=0.1).init(line.params)
    state.update(line.params, line.value_and_grad(X, X[:, 0])[1])
    assert state.step == 1


@there
def test_a_loss_that_is_not_finite(nets):
    _, net, X, y = nets
    broken = X.copy()
    broken[20] = np.nan
    for given in (broken, fb.to_device(broken)):
        with pytest.raises(FloatingPointError, match=r"^\[fit\] X\[20, 0\] is nan: the loss is not finite"):
            net.fit(given, y, batch_size=10, epochs=1, shuffle=False, optimizer=fb.SGD(lr=0.1), progress=False)
        assert np.isfinite(net.params.numpy()).all()
