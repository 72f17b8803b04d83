"""Arrays of other libraries that lie on the device, wherever a net on it takes arrays: read and written in place."""

import copy
import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
from exporters import Displaced, OfAnotherLibrary, OnAnotherGpu, Refusing, WithStrides

import fastbp as fb

there = pytest.mark.skipif(
    os.environ.get("FASTBP_TEST_DEVICE") is None, reason="runs on the emulated device, in a process of its own"
)
PLUGIN = Path(os.environ.get("FASTBP_CUDA", ""))
emulated = pytest.mark.skipif("emulated" not in PLUGIN.name, reason="runs on the emulated device: asks its runtime")
SIZES = (5, 8, 3)


def runtime():
    """The emulated CUDA runtime that this process has loaded."""
    return ctypes.CDLL(str(PLUGIN.parent / "libcuda_emulation.so"))


def lend(array):
    return OfAnotherLibrary(fb.to_device(array))


@pytest.fixture
def nets():
    """The same net on the CPU and on the device, and data."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 5)).astype(np.float32), rng.integers(0, 3, 30)
    cpu = fb.MLP(SIZES, loss="cross_entropy", activation="tanh", l2=0.01, seed=0, device="cpu")
    return cpu, cpu.to("cuda"), X, y


@there
@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, np.int64, np.bool_])
def test_data(nets, versioned, dtype):
    cpu, net, X, y = nets
    X = (X > 0).astype(dtype)
    other, classes = OfAnotherLibrary(fb.to_device(X), versioned), OfAnotherLibrary(fb.to_device(y), versioned)
    value = net.value(other, classes)
    assert value == pytest.approx(cpu.value(X, y), rel=1e-6)
    assert other.streams == [1]
    with fb.cuda.stream(0):
        assert net.value(other, y) == pytest.approx(value, rel=1e-12)
    out = OfAnotherLibrary(fb.to_device(np.zeros((30, 3), np.float32)), versioned)
    if versioned:
        assert net.forward(X, out=out) is out
        np.testing.assert_allclose(out.array.numpy(), cpu.forward(X), atol=1e-6)
    else:  # which cannot say that it may be written
        with pytest.raises(ValueError, match="out is read-only"):
            net.forward(X, out=out)


@there
def test_parameters_that_lie_each_by_itself(nets):
    cpu, _, X, _ = nets
    plain = fb.MLP(SIZES, activation="tanh", output_activation="softmax", device="cuda")  # penalties need one array
    plain.params = cpu.params
    parts = [OfAnotherLibrary(part) for pair in zip(plain.weights, plain.biases, strict=True) for part in pair]
    found = plain._core.forward(parts, fb.to_device(X), None)
    np.testing.assert_allclose(found.numpy(), cpu.forward(X), atol=1e-6)
    with pytest.raises(ValueError, match="a weight is not a row-major array of 40 float32 numbers"):
        plain._core.forward(parts[::-1], X, None)


@there
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_directions(nets, dtype):
    _, net, X, y = nets
    rng = np.random.default_rng(1)
    v, u = (4 * rng.standard_normal(net.params.size)).astype(dtype), (4 * rng.standard_normal(X.shape)).astype(dtype)
    spread = WithStrides(fb.to_device(np.repeat(v, 2)), v.shape, (2,))
    out = lend(np.zeros(net.params.size, np.float32))
    for given in (lend(v), fb.to_device(v), spread):
        np.testing.assert_array_equal(net.hvp(X, y, given).numpy(), net.hvp(X, y, v).numpy())
        assert net.gnvp(lend(X), lend(y), given, out=out) is out
        np.testing.assert_array_equal(out.array.numpy(), net.gnvp(X, y, v).numpy())
        np.testing.assert_array_equal(net.jvp(X, given, lend(u)).numpy(), net.jvp(X, v, u).numpy())
    assert net.input_grad_vjp(X, y, lend(u), out=out) is out
    np.testing.assert_array_equal(out.array.numpy(), net.input_grad_vjp(X, y, u).numpy())
    x, pullback = net.vjp(lend(X))
    for found, expected in zip(pullback(lend(x.numpy())), pullback(x.numpy()), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


@there
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8])
def test_parameters_are_set(nets, dtype):
    _, net, _, _ = nets
    numbers = np.arange(net.params.size) % 100
    net.params = lend(numbers.astype(dtype))
    np.testing.assert_array_equal(net.params.numpy(), numbers)
    net.weights[0] = WithStrides(fb.to_device(numbers[:40].astype(dtype).reshape(8, 5)), (5, 8), (1, 5))
    np.testing.assert_array_equal(net.weights[0].numpy(), numbers[:40].reshape(8, 5).T)
    net.biases[1] = lend(np.array([7, 8, 9], dtype))
    np.testing.assert_array_equal(net.params.numpy()[-3:], [7, 8, 9])
    net.biases[1] = net.params[5:8]
    np.testing.assert_array_equal(net.params.numpy()[-3:], net.params.numpy()[5:8])


@there
def test_a_part_is_copied_onto_another_that_it_overlaps():
    numbers = np.arange(5000, dtype=np.float32)
    array = fb.to_device(numbers)
    array[7:] = array[:-7]
    np.testing.assert_array_equal(array.numpy(), np.r_[numbers[:7], numbers[:-7]])
    array[...] = array
    other = array.copy()
    array[:] = 0
    np.testing.assert_array_equal(other.numpy(), np.r_[numbers[:7], numbers[:-7]])


@there
@emulated
def test_nothing_travels_through_the_host(nets):
    _, net, X, y = nets
    v, rows = lend(np.ones(net.params.size)), lend(X)
    out, state = lend(np.zeros(net.params.size, np.float32)), fb.Adam().init(net.params)
    copied = runtime().emulatedBytesToHost
    copied.restype = ctypes.c_size_t
    before = copied()
    net.params = v
    net.weights[0] = lend(np.ones((5, 8)))
    net.params = net.params.copy()
    net.hvp(rows, y, v, out=out)
    net.jvp(rows, v, lend(X))
    net.vjp(rows)[1](net.forward(rows))
    state.update(net.params, v)
    copy.deepcopy(net).params = copy.deepcopy(state).moments[0]
    assert copied() - before < 100  # numbers that a call waits for
    net.params.numpy()
    assert copied() - before >= 4 * net.params.size


@there
@pytest.mark.parametrize("optimizer", [fb.SGD(lr=0.1, momentum=0.9), fb.Rprop(lr=0.01)], ids=["sgd", "rprop"])
def test_steps_of_an_optimizer(optimizer):
    rng = np.random.default_rng(0)
    numbers, gradients = rng.standard_normal((4, 3)), rng.standard_normal((3, 4, 3))
    expected, mine = numbers.copy(), lend(numbers)
    here, state = optimizer.init(expected), optimizer.init(mine)
    assert state.device == "cuda:0"
    for gradient in gradients:
        here.update(expected, gradient)
        state.update(mine, lend(gradient.astype(np.float32).astype(np.float64)))
    np.testing.assert_allclose(mine.array.numpy(), expected, rtol=1e-6)


@there
def test_what_computes_on_the_host_brings_data_there(nets):
    cpu, net, X, y = nets
    weights = np.linspace(0.5, 2, 30)
    there = [lend(X), lend(y), lend(weights)]
    transposed = WithStrides(fb.to_device(np.ascontiguousarray(X.T)), X.shape, (1, 30))
    np.testing.assert_allclose(net.example_grads(*there[:2]).numpy(), cpu.example_grads(X, y), atol=1e-6)
    for wrt in ("inputs", "params"):
        np.testing.assert_allclose(net.jacobian(transposed, wrt=wrt).numpy(), cpu.jacobian(X, wrt=wrt), atol=1e-6)
    objective, expected = net.objective(*there), cpu.objective(X, y, weights)
    p = expected.x0 + 0.5
    assert objective.fun(p) == expected.fun(p)
    np.testing.assert_array_equal(objective.hessp(p, p), expected.hessp(p, p))
    assert str(fb.diagnose(net, *there)) == str(fb.diagnose(cpu, X, y, weights))
    line = fb.MLP((5, 4, 1), loss="squared_error", activation="tanh", seed=0, device="cuda")
    target = X[:, 0]
    found = fb.optimize.levenberg_marquardt(line, there[0], lend(target), sample_weight=there[2], maxiter=3)
    expected = fb.optimize.levenberg_marquardt(line.to("cpu"), X, target, sample_weight=weights, maxiter=3)
    np.testing.assert_array_equal(found.x, expected.x)


@there
def test_example_grads_in_an_array_of_the_caller(nets):
    cpu, net, X, y = nets
    for out in (lend(np.zeros((30, 75), np.float32)), fb.to_device(np.zeros((30, 75), np.float32))):
        assert net.example_grads(X, y, out=out) is out
        np.testing.assert_allclose(getattr(out, "array", out).numpy(), cpu.example_grads(X, y), atol=1e-6)
    square = fb.MLP((12, 1), loss="squared_error", device="cuda")
    memory = fb.to_device(np.ones((13, 13), np.float32))
    inside = WithStrides(memory, (13, 12), (13, 1))
    refused = {
        "out lies with the process": np.zeros((13, 13), np.float32),
        "out has dtype float64": lend(np.zeros((13, 13))),
        "out has shape": lend(np.zeros((13, 12), np.float32)),
        "out is not C-contiguous": WithStrides(memory, (13, 13), (1, 13)),
        "out overlaps X": memory,
    }
    for text, out in refused.items():
        with pytest.raises(ValueError, match=rf"\[example_grads\] {text}"):
            square.example_grads(inside, np.zeros(13), out=out)
    np.testing.assert_array_equal(memory.numpy(), 1)


@there
def test_numbers_that_are_not_aligned_are_refused(nets):
    """A GPU that reads one ends the process's use of it."""
    _, net, X, y = nets
    before = net.params.numpy()
    data, out, params = (Displaced(fb.to_device(a), 2) for a in (X, np.zeros((30, 3), np.float32), before))
    for name, call in {
        "X": lambda: net.forward(data),
        "y": lambda: net.value(X, Displaced(fb.to_device(y), 4)),
        "out": lambda: net.forward(X, out=out),
        "v": lambda: net.hvp(X, y, params),
        "params": lambda: setattr(net, "params", params),
    }.items():
        with pytest.raises(ValueError, match=rf"{name} is not aligned to its numbers"):
            call()
    np.testing.assert_array_equal(net.params.numpy(), before)
    halves = Displaced(fb.to_device(np.arange(300).reshape(30, 10).astype(np.float16)), 2)
    assert fb.MLP((10, 1), device="cuda").forward(halves).shape == (30, 1)


@there
def test_losses_and_metrics_that_are_functions(nets):
    cpu, _, X, _ = nets

    def loss(y, x):
        r = x - y
        return 0.5 * (r * r).sum(axis=1), r

    def metric(y, x):
        return float(np.abs(y - x).mean())

    target = X[:, :2]
    cpu = fb.MLP((5, 4, 2), loss=loss, activation="tanh", seed=0, device="cpu")
    net = cpu.to("cuda")
    options = {"metrics": (metric,), "epochs": 2, "batch_size": 8, "seed": 0, "progress": False}
    expected, found = cpu.fit(X, target, **options), net.fit(lend(X), lend(target), **options)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["metric"], expected.metrics["metric"], rtol=1e-5)


@there
def test_what_does_not_fit_is_refused_and_changes_nothing(nets):
    _, net, X, y = nets
    state, before = fb.SGD(lr=1.0).init(net.params), net.params.numpy()
    P = len(before)

    def assign(name, value):
        setattr(net, name, value)

    complex_numbers = WithStrides(fb.to_device(np.zeros((2, 2, 2))), (2, 2, 2), (4, 2, 1))
    cases = {
        r"\[hvp\] v has shape \(3,\)": lambda: net.hvp(X, y, lend(np.zeros(3))),
        r"\[hvp\] v is on cuda:1": lambda: net.hvp(X, y, OnAnotherGpu(1)),
        r"\[jvp\] u has 3 dimensions": lambda: net.jvp(X, u=complex_numbers),
        r"\[params\] params is given shape \(74,\)": lambda: assign("params", lend(np.zeros(P - 1))),
        r"\[params\] params is on cuda:1": lambda: assign("params", OnAnotherGpu(1)),
        r"\[weights\] weights\[1\] is given shape \(3, 8\)": lambda: net.weights.__setitem__(1, lend(np.zeros((3, 8)))),
        r"\[biases\] biases\[0\] is given shape \(8, 1\)": lambda: net.biases.__setitem__(0, lend(np.zeros((8, 1)))),
        r"\[update\] grad has shape \(3,\)": lambda: state.update(net.params, lend(np.zeros(3))),
        r"\[update\] grad is on cuda:1": lambda: state.update(net.params, OnAnotherGpu(1)),
        r"\[update\] params has dtype float64": lambda: state.update(lend(np.zeros(P)), before),
        r"\[update\] params overlaps grad": lambda: state.update(net.params, net.params),
        r"\[init\] params is not C-contiguous": lambda: fb.SGD().init(WithStrides(fb.to_device(before), (30,), (2,))),
        r"\[diagnose\] y is on cuda:1": lambda: fb.diagnose(net, X, OnAnotherGpu(1)),
        r"\[jacobian\] X is on cuda:1": lambda: net.jacobian(OnAnotherGpu(1)),
    }
    for text, call in cases.items():
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match=r"\[init\] params is int64, expected an array of float32 or float64"):
        fb.SGD().init(lend(np.zeros(3, np.int64)))
    np.testing.assert_array_equal(net.params.numpy(), before)
    assert state.step == 0


@there
def test_errors_of_exporters_name_the_argument(nets):
    _, net, X, y = nets
    array = fb.to_device(X)
    calls = {
        r"\[value_and_grad\] X": lambda given: net.value_and_grad(given, y),
        r"\[value\] sample_weight": lambda given: net.value(X, y, given),
        r"\[hvp\] v": lambda given: net.hvp(X, y, given),
        r"\[forward\] out": lambda given: net.forward(X, out=given),
        r"\[params\] params": lambda given: setattr(net, "params", given),
        r"\[fit\] y": lambda given: net.fit(X, given, progress=False),
        r"\[example_grads\] X": lambda given: net.example_grads(given, y),
    }
    for name, call in calls.items():
        for error in (BufferError, RuntimeError, TypeError, ValueError):
            with pytest.raises(ValueError, match=rf"{name} cannot be read through DLPack: no memory is lent"):
                call(Refusing(array, error("no memory is lent")))
        with pytest.raises(ValueError, match=rf"{name} requires grad, .*: pass \w+.detach"):
            call(Refusing(array, BufferError("no"), requires_grad=True))
        with pytest.raises(TypeError, match=rf"{name} holds bfloat16, .*: convert it to float32"):
            call(Refusing(array, BufferError("no"), dtype="bfloat16"))
    with pytest.raises(KeyboardInterrupt):
        net.forward(Refusing(array, KeyboardInterrupt()))

    class OnManyGpus(OfAnotherLibrary):
        def __dlpack_device__(self):
            raise BufferError("it lies on several devices")

    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"{name} cannot be read through DLPack: it lies on several devices"):
            call(OnManyGpus(array))


@there
@emulated
def test_calls_follow_the_stream_that_is_named(nets):
    cpu, net, X, _ = nets
    cuda, stream = runtime(), ctypes.c_void_p()
    assert cuda.cudaStreamCreate(ctypes.byref(stream)) == 0
    lent = lend(X)
    with fb.cuda.stream(stream.value):
        np.testing.assert_allclose(net.forward(lent).numpy(), cpu.forward(X), atol=1e-6)
        assert lent.streams == [stream.value]
        assert cuda.cudaStreamDestroy(stream) == 0
        with pytest.raises(RuntimeError, match="marking a place in a stream"):  # which is no more
            net.forward(X)
    np.testing.assert_allclose(net.forward(X).numpy(), cpu.forward(X), atol=1e-6)


@there
@emulated
def test_out_of_memory(nets, monkeypatch):
    _, net, X, y = nets
    options = {"batch_size": 8, "epochs": 2, "progress": False}
    state = fb.Adam(lr=0.01).init(net.params, seed=0)
    other, state_of_other, before = copy.copy(net), copy.deepcopy(state), net.params.numpy()
    rows, classes = fb.to_device(X), fb.to_device(y)
    with monkeypatch.context() as limited:
        limited.setenv("FASTBP_EMULATED_GPU_MEMORY", "1000")
        calls = {
            "out of memory: 4000 bytes": lambda: fb.to_device(np.zeros(1000, np.float32)),
            r"\[forward\] out of memory: 360 bytes": lambda: net.forward(X),
            r"\[backward\] out of memory: \d+ bytes": lambda: net.backward(X, y),
            "out of memory: 600 bytes": lambda: net.fit(X, y, state=state, **options),
            r"\[train_step\] out of memory: \d+ bytes": lambda: net.train_step(rows, classes, state),
            r"\[MLP\] out of memory": lambda: net.to("cuda"),
        }
        for text, call in calls.items():
            with pytest.raises(MemoryError, match=text):
                call()
    np.testing.assert_array_equal(net.params.numpy(), before)
    assert (state.step, state.epoch) == (0, 0)
    assert net.fit(X, y, state=state, **options).loss == other.fit(X, y, state=state_of_other, **options).loss
    np.testing.assert_array_equal(net.params.numpy(), other.params.numpy())
