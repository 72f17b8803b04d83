"""Every memory layout and number type of the data gives what the plain array gives, and is only read."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import informative

import fastbp as fb

N, IN, OUT = 70, 5, 3
WHOLE = np.random.default_rng(0).integers(0, 50, size=(N, IN))  # exact in every number type
Y = np.random.default_rng(1).integers(0, 20, size=(N, OUT))
C = np.random.default_rng(2).integers(1, 5, size=N)
DTYPES = ["f2", "f4", "f8", "g", "?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "q", "Q"]
BIG_ENDIAN = [">f2", ">f4", ">f8", ">i2", ">i4", ">i8", ">u2", ">u4", ">u8", np.dtype("g").newbyteorder()]


class Wrapped:
    """No array, but it gives one."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def packed(a):
    """The field of a structured array without padding: neither aligned nor without gaps."""
    record = np.zeros(len(a), [("flag", "u1"), ("data", a.dtype, a.shape[1:]), ("more", "u1")])
    record["data"] = a
    return record["data"]


def offset_buffer(a):
    raw = np.zeros(a.nbytes + 1, "u1")
    moved = raw[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def gaps(a):
    wide = np.zeros(tuple(3 * d for d in a.shape), a.dtype)
    inner = wide[tuple(slice(1, None, 3) for _ in a.shape)]
    inner[...] = a
    return inner


def padded_rows(a):
    wide = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    wide[..., : a.shape[-1]] = a
    return wide[..., : a.shape[-1]]


def reverse(a):
    backwards = tuple(slice(None, None, -1) for _ in a.shape)
    return a[backwards].copy()[backwards]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


FORMS = {
    "C order": np.array,
    "Fortran order": np.asfortranarray,
    "gaps": gaps,
    "padded rows": padded_rows,
    "reverse": reverse,
    "read-only": read_only,
    "packed": packed,
    "offset buffer": offset_buffer,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": np.ndarray.tolist,
    "tuples": lambda a: tuple(tuple(v) if np.ndim(v) else v for v in a.tolist()),
    "list of rows": list,
    "__array__": Wrapped,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


def answers(net, X, Y, C):
    """The bits of everything a net says of some data."""
    net = net.to("cpu")
    found = [net.forward(X)]
    value, grad = net.value_and_grad(X, Y, C)
    found += [np.float64(value), np.float64(net.value(X, Y, C)), grad]
    r = net.backward(X, Y, C)
    found += [*r.s, *r.deltas, *r.weight_grads, r.input_grad]
    x, pullback = net.vjp(X)
    cotangent = np.cos(np.arange(x.size, dtype=x.dtype)).reshape(x.shape)  # equal ones would give 0 behind softmax
    found += [x, *pullback(cotangent)]
    for shuffle in (False, True):
        history = net.fit(X, Y, C, epochs=2, batch_size=16, seed=3, shuffle=shuffle)
        found += [np.array(history.loss), net.params.copy()]
    state = fb.SGD(lr=0.1).init(net.params)
    net.train_step(X, Y, state, sample_weight=C)
    return [*found, net.params]


def assert_same(found, expected, exact=True):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        informative(b)
        if exact:
            np.testing.assert_array_equal(a, b)
        else:  # BLAS may sum a transposed product in another order
            scale = np.abs(b).max(initial=1e-30)
            np.testing.assert_allclose(a, b, rtol=0, atol=scale * (1e-12 if b.dtype == np.float64 else 2e-5))


def net_of(dtype, sizes=(IN, 8, OUT), loss="squared_error"):
    return fb.MLP(sizes, loss=loss, activation="tanh", dtype=dtype, seed=0, l2=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_forms(form, dtype, rng):
    net = net_of(dtype)
    reals = [rng.normal(size=WHOLE.shape), rng.normal(size=Y.shape), rng.uniform(0.5, 2.0, size=N)]
    reals = [a.astype(dtype) for a in reals]
    given = [FORMS[form](a) for a in reals]
    before = [np.array(a) for a in given]
    assert_same(answers(net, *given), answers(net, *reals), exact=form != "Fortran order")
    for a, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(np.array(a), b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", [*DTYPES, *BIG_ENDIAN], ids=str)
def test_number_types(given, dtype):
    X, y, c = (np.minimum(a, 1) if given == "?" else a for a in (WHOLE, Y, C))
    net = net_of(dtype)
    expected = answers(net, *(a.astype(dtype) for a in (X, y, c)))
    assert_same(answers(net, *(a.astype(given) for a in (X, y, c))), expected)
    assert_same(answers(net, *(gaps(a.astype(given)) for a in (X, y, c))), expected)
    assert_same(answers(net, *(packed(a.astype(given)) for a in (X, y, c))), expected)


@pytest.mark.parametrize("given", ["f4", "f8", "i1", "u2", "i8", ">i4", "g"])
def test_class_numbers(given, rng):
    net = net_of("float32", (IN, 8, 4), "cross_entropy")
    y = rng.integers(0, 4, size=N)
    expected = answers(net, WHOLE, y, C)
    for form in (gaps, reverse, packed, offset_buffer, list, Wrapped):
        assert_same(answers(net, WHOLE, form(y.astype(given)), C), expected)


def test_halves_are_converted_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        for dtype in ("float32", "float64"):
            net = fb.MLP((1, 1), init="zeros", dtype=dtype)
            net.weights[0] = [[1.0]]
            np.testing.assert_array_equal(net.forward(halves), halves.astype(dtype))


def test_values_are_rounded_once():
    X = np.array([[1 / 3, 1e300, -(2**53) - 1, 2**24 + 1]])
    net = fb.MLP((4, 4), init="zeros")
    net.weights[0] = np.eye(4)
    with np.errstate(over="ignore"):
        for x in (X[:, [0, 2, 3]], X[:, [0, 2, 3]].astype("g"), X[:, [2, 3, 2]].astype("i8")):
            wide = np.c_[x, x[:, :1]]
            np.testing.assert_array_equal(net.forward(wide), wide.astype("f4"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", [True, False])
def test_zero_strides(row, dtype, rng):
    line = rng.normal(size=(1, IN) if row else (N, 1)).astype(dtype)
    flat = np.broadcast_to(line, (N, IN))
    y, c = np.broadcast_to(np.array(0.5, dtype), (N, OUT)), np.broadcast_to(np.float16(2), (N,))
    assert 0 in flat.strides
    expected = answers(net_of(dtype), *(np.ascontiguousarray(a, dtype) for a in (flat, y, c)))
    assert_same(answers(net_of(dtype), flat, y, c), expected)


def test_memmap(tmp_path):
    path = tmp_path / "x.bin"
    WHOLE.astype("u1").tofile(path)
    mapped = np.memmap(path, "u1", "r", shape=WHOLE.shape)
    assert_same(answers(net_of("float32"), mapped, Y, C), answers(net_of("float32"), WHOLE, Y, C))
    assert path.read_bytes() == WHOLE.astype("u1").tobytes()


@pytest.mark.parametrize("sizes", [(1, 1), (1, 4, 1), (5, 1, 2), (1, 3)])
@pytest.mark.parametrize("rows", [1, 2, 70])
def test_narrow(sizes, rows, rng):
    X, y, c = rng.normal(size=(rows, sizes[0])), rng.normal(size=(rows, sizes[-1])), np.ones(rows)
    net = net_of("float64", sizes)
    expected = answers(net, X, y, c)
    for form in ("gaps", "reverse", "packed", "list", "big-endian", "Fortran order"):
        given = [FORMS[form](a) for a in (X, y, c)]
        assert_same(answers(net, *given), expected, exact=form != "Fortran order")
    if sizes[-1] == 1:
        assert_same(answers(net, X, y[:, 0], c[:, None]), expected)


def test_no_rows():
    for x in (np.zeros((0, IN)), np.zeros((0, IN), "u1", order="F"), np.zeros((9, IN))[9:], WHOLE[5:5:-1]):
        for dtype in ("float32", "float64"):
            net = net_of(dtype)
            out = np.zeros((0, OUT), dtype)
            assert net.forward(x, out=out) is out
            assert net.forward(x).dtype == out.dtype
            x_out, pullback = net.vjp(x)
            assert x_out.shape == (0, OUT)
            assert pullback(x_out)[1].shape == (0, IN)


def test_no_copy_of_the_whole(tmp_path):
    """Sixteen bits per number would be 3 GB, eight 400 MB; the bound is far below."""
    path = tmp_path / "x.bin"
    with open(path, "wb") as file:
        file.truncate(500_000 * 784)
    code = f"""
import resource
import numpy as np
import fastbp as fb

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

net = fb.MLP((784, 2, 1), loss="squared_error", seed=0)
row = np.ones((1, 784), np.float16)
flat = np.broadcast_to(row, (2_000_000, 784))
net.value_and_grad(flat[:5000], np.zeros(5000))
net.fit(flat[:5000], np.zeros(5000), epochs=1)
before = peak()
net.value_and_grad(flat[:300_000], np.broadcast_to(np.float32(1), 300_000))
net.fit(flat[:100_000], np.broadcast_to(np.float32(1), 100_000), epochs=1, batch_size=4096)
net.value(flat[::-20], np.broadcast_to(np.float32(1), 100_000))
assert peak() - before < 60, peak() - before
mapped = np.memmap({str(path)!r}, np.uint8, "r", shape=(500_000, 784))[:40_000]
net.value_and_grad(mapped, np.broadcast_to(np.float32(1), 40_000))
assert peak() - before < 60 + 40_000 * 784 / 2**20, peak() - before  # pages of the file count once read
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]


def survives(code):
    """Runs code that could crash the interpreter in one of its own."""
    head = "import numpy as np, fastbp as fb\nfrom numpy.lib.stride_tricks import as_strided\n"
    run = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize("labels", ["10**6", "-1", "np.nan", "-1e18"])
@pytest.mark.parametrize("weights", ["c[:, 0] = 0", "c[:5] = 0", "c[1:, :2] = 0"])
def test_class_numbers_behind_masks(labels, weights):
    survives(f"""
net = fb.MLP((3, 4), loss="cross_entropy", seed=0)
c = np.ones((6, 4))
{weights}
for n in (1, 5, 6):
    y = np.zeros(6)
    y[:n] = {labels}
    try:
        value, grad = net.value_and_grad(np.ones((6, 3)), y, c)
        assert not c[:n].any() and np.isfinite(value) and np.isfinite(grad).all()
    except ValueError as error:
        assert c[:n].any() and "expected a class number" in str(error)
""")


def test_memory_tricks():
    survives("""
net = fb.MLP((3, 4, 2), loss="squared_error", seed=0)
X = np.random.default_rng(0).normal(size=(12, 3)).astype("f4")
flat = X.reshape(-1)
raw = bytearray(4 * 36 + 1)
unaligned = np.frombuffer(raw, "f4", 36, 1).reshape(12, 3)
unaligned[:] = X
windows = as_strided(flat, (10, 3), (4, 4))
for x in (X[::-1, ::-1], as_strided(flat, (12, 3), (0, 0)), windows, windows.T[::-1].T,
          X.byteswap().view(">f4"),
          unaligned, as_strided(flat[20:], (5, 3), (-8, -4)), np.full((2, 3), np.inf, "f2"),
          np.full((2, 3), np.longdouble(1e30)), np.full((2, 3), 2**64 - 1, "u8"),
          as_strided(np.frombuffer(raw, "u1"), (20, 3), (7, 1))):
    same = np.ascontiguousarray(x, np.float64).astype("f4")
    y = net.forward(x)
    np.testing.assert_array_equal(y, net.forward(same))
    net.value_and_grad(x, y)
    net.vjp(x)[1](y)
for rows in (2**33, 2**60):
    x = np.broadcast_to(np.zeros((1, 3), "u1"), (rows, 3))
    for call in (net.forward, net.vjp, lambda x: net.value(x, x), lambda x: net.value_and_grad(x, x),
                 lambda x: net.backward(x, x), lambda x: net.fit(x, x)):
        try:
            call(x)
        except (ValueError, MemoryError):
            continue
        raise AssertionError(rows)
""")
