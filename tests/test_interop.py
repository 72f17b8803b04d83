"""Arrays of other libraries: read and written in their own memory, and results given to them by DLPack."""

import re

import numpy as np
import pytest
from helpers import informative, require

import fastbp as fb

N, IN, OUT = 40, 6, 3


def data():
    rng = np.random.default_rng(0)
    return (
        rng.standard_normal((N, IN)).astype("f4"),
        rng.standard_normal((N, OUT)).astype("f4"),
        rng.uniform(0.5, 2, N).astype("f4"),
    )


X, Y, C = data()


def make(**options):
    return fb.MLP((IN, 8, OUT), **{"loss": "squared_error", "activation": "tanh", "seed": 0, **options})


class Exporter:
    """Someone's array that speaks DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Unversioned(Exporter):
    """The same from before DLPack 1.0: it cannot say whether its memory may be written."""

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()


class OnGpu(Exporter):
    def __init__(self, kind):
        self.kind = kind

    def __dlpack_device__(self):
        return self.kind, 1

    def __dlpack__(self, **options):
        raise BufferError("not from here")


class Tensor(OnGpu):
    """As torch's: it refuses to be made an array, and knows how to get to the host."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("use .cpu()")

    def cpu(self):
        raise AssertionError("never called")


def torch_tensor(array):
    return require("torch").from_numpy(array)


def jax_array(array):
    return require("jax").numpy.asarray(array)


FOREIGN = {
    "DLPack only": Exporter,
    "unversioned": Unversioned,
    "torch": pytest.param(torch_tensor, marks=pytest.mark.frameworks),
    "jax": pytest.param(jax_array, marks=pytest.mark.frameworks),
}
foreign = pytest.mark.parametrize("of", FOREIGN.values(), ids=FOREIGN)
frameworks = pytest.mark.frameworks


def address(array):
    """Where the numbers of anyone's array lie, as its own library says."""
    if isinstance(array, Exporter):
        return address(array.array)
    for name in ("data_ptr", "unsafe_buffer_pointer"):
        if hasattr(array, name):
            return getattr(array, name)()
    return array.ctypes.data


@foreign
def test_every_argument_of_every_method(of, rng):
    """Bit for bit what NumPy arrays give."""
    net, x, y, c = make(), of(X), of(Y), of(C)
    v = rng.standard_normal(net.params.size).astype("f4")
    calls = {
        "forward": lambda x, y, c, v: net.forward(x),
        "value": lambda x, y, c, v: net.value(x, y, c),
        "value_and_grad": lambda x, y, c, v: net.value_and_grad(x, y, c)[1],
        "backward": lambda x, y, c, v: net.backward(x, y, c).input_grad,
        "vjp": lambda x, y, c, v: net.vjp(x)[1](y)[0],
        "jvp": lambda x, y, c, v: net.jvp(x, v, x),
        "hvp": lambda x, y, c, v: net.hvp(x, y, v, c),
        "example_grads": lambda x, y, c, v: net.example_grads(x, y),
        "jacobian": lambda x, y, c, v: net.jacobian(x),
        "fit": lambda x, y, c, v: make().fit(x, y, c, epochs=2, seed=1, validation_data=(x, y)).loss,
    }
    for name, call in calls.items():
        np.testing.assert_array_equal(call(x, y, c, of(v)), informative(call(X, Y, C, v)), err_msg=name)
    net.params = of(v)
    np.testing.assert_array_equal(net.params, v)
    state = fb.Adam(lr=0.1).init(of(v))
    assert (state.shape, state.dtype) == (v.shape, v.dtype)
    moved, other = v.copy(), v.copy()
    state.update(moved, of(v))
    fb.Adam(lr=0.1).init(v).update(other, v)
    np.testing.assert_array_equal(moved, other)


@foreign
def test_data_are_read_where_they_lie(of):
    """backward gives X back as x[0]: the very memory, not a copy."""
    theirs = of(X.copy())
    array = make().backward(theirs, Y).x[0]
    assert address(array) == address(theirs)


WRITABLE = {name: FOREIGN[name] for name in ("DLPack only", "torch")}


@pytest.mark.parametrize("of", WRITABLE.values(), ids=WRITABLE)
def test_out_is_filled_in_place_and_returned(of, rng):
    net = make()
    v = rng.standard_normal(net.params.size).astype("f4")
    calls = {
        "forward": ((N, OUT), lambda out: net.forward(X, out=out)),
        "value_and_grad": ((net.params.size,), lambda out: net.value_and_grad(X, Y, out=out)[1]),
        "jvp": ((N, OUT), lambda out: net.jvp(X, v, out=out)),
        "hvp": ((net.params.size,), lambda out: net.hvp(X, Y, v, out=out)),
        "example_grads": ((N, net.params.size), lambda out: net.example_grads(X, Y, out=out)),
    }
    for name, (shape, call) in calls.items():
        memory = np.full(shape, np.nan, "f4")
        out = of(memory)
        assert call(out) is out, name
        np.testing.assert_array_equal(memory, informative(call(None)), err_msg=name)


@pytest.mark.parametrize("of", WRITABLE.values(), ids=WRITABLE)
def test_parameters_of_others_are_stepped_in_place(of, rng):
    memory, expected, grad = np.ones(7, "f4"), np.ones(7, "f4"), rng.standard_normal(7).astype("f4")
    theirs = of(memory)
    state, other = fb.Adam(lr=0.1).init(theirs), fb.Adam(lr=0.1).init(expected)
    for _ in range(3):
        state.update(theirs, of(grad))
        other.update(expected, grad)
    np.testing.assert_array_equal(memory, expected)


def frozen(array):
    array.flags.writeable = False
    return array


WRONG_OUT = {
    "list": ([0.0] * 5, TypeError, "out is a list, expected a NumPy array or what shares its memory by DLPack"),
    "float64": (Exporter(np.zeros((N, OUT))), ValueError, "out has dtype float64, expected float32"),
    "shape": (Exporter(np.zeros((OUT, N), "f4")), ValueError, r"out has shape \(3, 40\), expected \(40, 3\)"),
    "gaps": (Exporter(np.zeros((OUT, N), "f4").T), ValueError, "out is not C-contiguous"),
    "read-only": (Exporter(frozen(np.zeros((N, OUT), "f4"))), ValueError, "out is read-only"),
    "unversioned": (Unversioned(np.zeros((N, OUT), "f4")), ValueError, "out cannot be written through DLPack"),
    "GPU": (OnGpu(2), ValueError, "out is on cuda:1, expected memory of the host: copy it there first"),
}


@pytest.mark.parametrize("out, error, text", WRONG_OUT.values(), ids=WRONG_OUT)
def test_an_out_that_cannot_be_written_is_refused(out, error, text):
    with pytest.raises(error, match=r"^\[forward\] " + text):
        make().forward(X, out=out)


def test_an_out_over_the_data_is_refused():
    x = X.copy()
    with pytest.raises(ValueError, match=r"^\[value_and_grad\] out overlaps X in memory"):
        make().value_and_grad(x, Y, out=Exporter(x.ravel()[: make().params.size]))


@pytest.mark.parametrize(
    "device, text",
    [
        (Tensor(2), "is on cuda:1, expected memory of the host: pass {}.cpu()"),
        (Tensor(10), "is on rocm:1, expected memory of the host: pass {}.cpu()"),
        (OnGpu(8), "is on metal:1, expected memory of the host: copy it there first"),
        (OnGpu(14), "is on device 14:1, expected memory of the host: copy it there first"),
    ],
)
def test_memory_of_a_gpu_is_refused_by_name(device, text):
    net = make()
    calls = {
        "X": lambda: net.value(device, Y),
        "y": lambda: net.value(X, device),
        "sample_weight": lambda: net.value(X, Y, device),
        "v": lambda: net.hvp(X, Y, device),
        "params": lambda: setattr(net, "params", device),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=r"^\[\w+\] " + re.escape(name + " " + text.format(name))):
            call()


def test_results_are_exported_by_both_kinds_of_capsule():
    """Unversioned, and versioned as DLPack 1.0 has it, which can say that memory is read-only."""
    net = make()
    for array in (net.forward(X), net.value_and_grad(X, Y)[1], net.params, net.weights[0]):
        assert array.__dlpack_device__() == (1, 0)
        assert '"dltensor"' in repr(array.__dlpack__())
        assert '"dltensor_versioned"' in repr(array.__dlpack__(max_version=(1, 0)))
        for exporter in (Exporter(array), Unversioned(array)):
            assert address(np.from_dlpack(exporter)) == address(array)


@frameworks
def test_torch_and_jax_take_results_without_a_copy():
    torch, jax = require("torch"), require("jax")
    net = make()
    grad = net.value_and_grad(X, Y)[1]
    tensor = torch.from_dlpack(grad)
    assert address(tensor) == address(grad)
    tensor += 1  # the memory is one
    np.testing.assert_array_equal(grad, net.value_and_grad(X, Y)[1] + 1)
    torch.from_dlpack(net.params).mul_(0)
    assert not net.params.any()
    # JAX shares memory that begins at a multiple of 64 bytes, and copies other
    raw = np.zeros(64 + 4 * net.params.size, "u1")
    begin = -raw.ctypes.data % 64
    aligned = raw[begin : begin + 4 * net.params.size].view("f4")
    net.value_and_grad(X, Y, out=aligned)
    assert address(jax.dlpack.from_dlpack(aligned)) == address(aligned)


@frameworks
def test_arrays_of_jax_are_never_written():
    jax = require("jax")
    net, out = make(), jax.numpy.zeros((N, OUT))
    with pytest.raises(ValueError, match=r"^\[forward\] out is read-only"):
        net.forward(X, out=out)
    params = jax.numpy.ones(net.params.size)
    with pytest.raises(ValueError, match=r"^\[update\] params is read-only"):
        fb.SGD(lr=1.0).init(params).update(params, params)
    with pytest.raises(ValueError, match="read-only"):
        net.backward(jax_array(X), Y).x[0][...] = 0
    assert not out.any()
    assert (params == 1).all()


@frameworks
def test_what_torch_does_not_give_is_refused_with_the_cure():
    torch = require("torch")
    tensor, net = torch.zeros(N, IN), make()
    wrong = [
        (torch.zeros(N, IN, requires_grad=True), ValueError, "X requires grad, .*: pass X.detach()"),
        (tensor.bfloat16(), TypeError, "X holds torch.bfloat16, expected real numbers.*: convert it to float32"),
        (tensor.to(torch.float8_e4m3fn), TypeError, "X holds torch.float8_e4m3fn, .*: convert it to float32"),
        (tensor.to(torch.complex64), TypeError, "X holds complex64, expected real numbers, .*: pass X.real"),
        (tensor.to_sparse(), ValueError, r"X cannot be made an array of numbers: .*to_dense\(\)"),
        (tensor.to("meta"), ValueError, "X cannot be made an array of numbers: .*meta"),
    ]
    for x, error, text in wrong:
        with pytest.raises(error, match=r"^\[forward\] " + text):
            net.forward(x)
        with pytest.raises(error, match=r"^\[fit\] " + text):
            net.fit(x, Y)
    out = torch.zeros(N, OUT, requires_grad=True)
    with pytest.raises(ValueError, match=r"^\[forward\] out requires grad, .*: pass out.detach\(\)"):
        net.forward(X, out=out)
    assert net.forward(X, out=out.detach()).data_ptr() == out.data_ptr()


@frameworks
def test_what_jax_does_not_give_is_refused():
    jax = require("jax")
    net = make()
    with pytest.raises(TypeError, match=r"^\[forward\] X holds bfloat16, .*: convert it to float32"):
        net.forward(jax_array(X).astype("bfloat16"))
    with pytest.raises(ValueError, match=r"^\[forward\] X cannot be made an array of numbers: .*traced array"):
        jax.jit(net.forward)(X)


@frameworks
def test_a_loss_of_torch():
    """A loss function may be written in torch: it is given NumPy's memory, and its answers are read where they lie."""
    torch = require("torch")

    def loss(y, x):
        x = torch.from_dlpack(x).requires_grad_()
        e = 0.5 * ((x - torch.from_dlpack(y)) ** 2).sum(dim=1)
        (dx,) = torch.autograd.grad(e.sum(), x)
        return e.detach(), dx

    value, grad = make(loss=loss, dtype="float64").value_and_grad(X, Y.astype("f8"))
    expected = make(dtype="float64").value_and_grad(X, Y)
    assert value == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(grad, expected[1], rtol=0, atol=1e-15)
