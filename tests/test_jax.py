"""fastbp.jax against the same nets written in jax.numpy, by both ways to the core."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from helpers import require

import fastbp as fb

jax = require("jax")
import jax.numpy as jnp  # noqa: E402
import jax.test_util  # noqa: E402

import fastbp.jax as fj  # noqa: E402

pytestmark = pytest.mark.frameworks

FUNCTIONS = {
    "identity": lambda s: s, "logistic": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu,
    "leaky_relu": lambda s: jax.nn.leaky_relu(s, 0.01), "elu": jax.nn.elu,
    "gelu": lambda s: jax.nn.gelu(s, approximate=False), "silu": jax.nn.silu, "softplus": jax.nn.softplus,
    "sine": jnp.sin, "exp": jnp.exp, "softmax": jax.nn.softmax,
}  # fmt: skip
SIZES = (5, 7, 6, 3)


@pytest.fixture(params=["ffi", "callback"])
def way(request):
    if request.param == "ffi" and fj.backend() != "ffi":
        if os.environ.get("FASTBP_REQUIRE") == "all":
            pytest.fail("the handlers were not compiled, and FASTBP_REQUIRE=all asks for them: FASTBP_JAX=1 pip install .")
        pytest.skip("the handlers were not compiled: FASTBP_JAX=1 pip install .")
    return request.param


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def plain(activation="tanh", output="identity"):
    """The net in jax.numpy."""

    def apply(params, x):
        for k, layer in enumerate(params):
            x = FUNCTIONS[output if k == len(params) - 1 else activation](x @ layer["w"] + layer["b"])
        return x

    return apply


def nets(way, activation="tanh", output="identity", sizes=SIZES):
    """init, ours and the same in jax.numpy."""
    init, apply = fj.mlp(sizes, activation=activation, output_activation=output, backend=way)
    return init, apply, plain(activation, output)


def loss_of(out):
    return jnp.sum(jnp.sin(out) * (1 + jnp.arange(out.shape[-1])))


def data(init, rows=4, seed=0):
    """Parameters with biases, and x."""
    key = jax.random.key(seed)
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(key, a.shape, a.dtype), init(key))
    return params, jax.random.normal(jax.random.key(seed + 1), (rows, params[0]["w"].shape[0]))


def direction(like):
    return jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), like)


def assert_close(found, expected, tolerance=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert jnp.linalg.norm(a - b) <= tolerance * (1 + jnp.linalg.norm(b))


ACTIVATIONS = [
    ("identity", "identity"), ("logistic", "softmax"), ("tanh", "exp"), ("relu", "identity"), ("leaky_relu", "tanh"),
    ("elu", "softmax"), ("gelu", "identity"), ("silu", "logistic"), ("softplus", "softmax"), ("sine", "exp"),
]  # fmt: skip


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation, output", ACTIVATIONS)
def test_values_and_derivatives_equal_those_of_jax(way, activation, output):
    """First ones by params and x, second ones by the gradient of a slope of the gradient: all to 1e-12, under jit."""
    init, *both = nets(way, activation, output)
    params, x = data(init)
    v = direction((params, x))

    def quantities(apply):
        def loss(params, x):
            return loss_of(apply(params, x))

        def slope(params, x):
            grads = jax.grad(loss, (0, 1))(params, x)
            return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(v), strict=True))

        return jax.jit(lambda: (apply(params, x), jax.grad(loss, (0, 1))(params, x), jax.grad(slope, (0, 1))(params, x)))

    ours, theirs = (quantities(apply)() for apply in both)
    assert_close(ours, theirs)


def test_float32(way):
    init, *both = nets(way, "gelu", "softmax")
    params, x = data(init)
    found, expected = (jax.value_and_grad(lambda p, f=f: loss_of(f(p, x)))(params) for f in both)
    assert found[0].dtype == jnp.float32
    assert_close(found, expected, 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_check_grads(way, activation):
    init, apply, _ = nets(way, activation, "softmax", (4, 5, 3))
    jax.test_util.check_grads(jax.jit(apply), data(init), order=2, modes=("rev",))


TRANSFORMATIONS = {
    "vmap over x": lambda f, p, x: jax.vmap(f, (None, 0))(p, x),
    "vmap over x by columns": lambda f, p, x: jax.vmap(lambda a: f(p, a), 1, 2)(jnp.stack([x, 2 * x, -x], 1)),
    "vmap over params": lambda f, p, x: jax.vmap(f, (0, None))(several(p), x),
    "vmap over both": lambda f, p, x: jax.vmap(f)(several(p), jnp.stack([x, 2 * x])),
    "vmap of vmap": lambda f, p, x: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(several(p), jnp.stack([x, 2 * x, -x])),
    "vmap of vmap, params inside": lambda f, p, x: jax.vmap(jax.vmap(f, (0, None)), (None, 0))(several(p), x),
    "gradients of an ensemble": lambda f, p, x: jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (0, None))(
        several(p), x
    ),
    "gradients of single rows": lambda f, p, x: jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (None, 0))(p, x),
    "input gradients of single rows": lambda f, p, x: jax.vmap(jax.grad(lambda x: loss_of(f(p, x))))(x),
    "a loss on input gradients": lambda f, p, x: jax.grad(
        lambda p: jnp.sum(jax.vmap(jax.grad(lambda x: loss_of(f(p, x))))(x) ** 2)
    )(p),
    "gradient of vmap": lambda f, p, x: jax.grad(lambda p: loss_of(jax.vmap(f, (None, 0))(p, x)))(p),
    "jacrev by params": lambda f, p, x: jax.jacrev(f)(p, x),
    "jacrev by x": lambda f, p, x: jax.jacrev(f, 1)(p, x),
    "hessian by x": lambda f, p, x: jax.jacrev(jax.jacrev(lambda x: loss_of(f(p, x))))(x[0]),
    "scan": lambda f, p, x: jax.lax.scan(lambda p, row: (step(f, p, row), loss_of(f(p, row))), p, x),
    "checkpoint": lambda f, p, x: jax.grad(lambda p: loss_of(jax.checkpoint(f)(p, x)))(p),
}  # fmt: skip


def several(params):
    return jax.tree.map(lambda a: jnp.stack([a, 1.5 * a]), params)


def step(f, params, x, rate=0.1):
    return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(lambda p: loss_of(f(p, x)))(params))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations(way, name):
    init, *both = nets(way, "silu", "softmax")
    params, x = data(init)
    ours, theirs = (jax.jit(lambda p, x, f=f: TRANSFORMATIONS[name](f, p, x))(params, x) for f in both)
    assert_close(ours, theirs)


@pytest.fixture
def calls(monkeypatch):
    """The operations of the core as they are traced: name, what is wanted, shape of x."""
    from fastbp.jax import _operations, _ways

    seen = []

    def recording(net, name, operands, results):
        seen.append((name, tuple(shape is not None for shape in results), operands[1].shape))
        return real(net, name, operands, results)

    real = _ways.CALLS["callback"]
    monkeypatch.setitem(_ways.CALLS, "callback", recording)
    _operations._operation.cache_clear()
    yield seen
    _operations._operation.cache_clear()


def test_only_what_is_asked_for_is_computed(calls):
    init, apply, _ = nets("callback")
    params, x = data(init)
    forward, kept, rows = (True, False), (True, True), (1, 4, 5)
    expected = {
        0: [("forward", kept, rows), ("pull_back", (True, False), rows)],
        1: [("forward", forward, rows), ("forward", (False, True), rows), ("pull_back", (False, True), rows)],
        (0, 1): [("forward", kept, rows), ("pull_back", (True, True), rows)],
    }
    for argument, operations in expected.items():
        calls.clear()
        jax.jit(jax.grad(lambda p, x: apply(p, x).sum(), argument)).lower(params, x)
        assert list(dict.fromkeys(calls)) == operations
    calls.clear()
    jax.jit(apply).lower(params, x)
    assert set(calls) == {("forward", forward, rows)}


@pytest.mark.parametrize(
    "function, shape",
    [
        (lambda f, p, x: jax.vmap(f, (None, 0))(p, x), (1, 4, 5)),
        (lambda f, p, x: jax.vmap(jax.vmap(f, (None, 0)), (None, 0))(p, jnp.stack([x] * 3)), (1, 12, 5)),
        (lambda f, p, x: f(p, jnp.stack([x] * 3)), (1, 12, 5)),
        (lambda f, p, x: jax.vmap(jax.grad(lambda x: f(p, x).sum()))(x), (1, 4, 5)),
        (lambda f, p, x: jax.vmap(f, (0, None))(several(p), x), (1, 4, 5)),
    ],
    ids=["rows", "batches", "leading dimensions", "input gradients", "ensemble"],
)
def test_a_vmap_is_one_large_call(calls, function, shape):
    init, apply, _ = nets("callback")
    jax.make_jaxpr(lambda p, x: function(apply, p, x))(*data(init))
    assert calls[-1][2] == shape


@pytest.mark.usefixtures("x64")
def test_jvp_and_hvp_equal_forward_mode(way):
    init, apply, reference = nets(way, "gelu", "softmax")
    params, x = data(init)
    v, u = direction((params, x))
    assert_close(fj.jvp(apply, (params, x), (v, u)), jax.jvp(reference, (params, x), (v, u)))
    assert_close(fj.jvp(apply, (params, x), (v, None)), jax.jvp(lambda p: reference(p, x), (params,), (v,)))
    assert_close(fj.jvp(apply, (params, x), (None, u)), jax.jvp(lambda x: reference(params, x), (x,), (u,)))
    found = jax.jit(lambda p, x, v: fj.hvp(apply, loss_of, p, x, v))(params, x, v)
    assert_close(found, jax.jvp(jax.grad(lambda p: loss_of(reference(p, x))), (params,), (v,))[1])


@pytest.mark.usefixtures("x64")
def test_jvp_in_other_transformations(way):
    """Jacobians by columns, and derivatives of a derivative along a direction, as physics-informed losses have."""
    init, apply, reference = nets(way, "tanh", "identity")
    params, x = data(init)
    v, u = direction((params, x))
    columns = jax.vmap(lambda u: fj.jvp(apply, (params, x[0]), (None, u))[1], out_axes=1)(jnp.eye(5))
    assert_close(columns, jax.jacfwd(lambda x: reference(params, x))(x[0]))
    ours = jax.grad(lambda *a: loss_of(fj.jvp(apply, a[:2], a[2:])[1]), (0, 1, 2, 3))(params, x, v, u)
    assert_close(ours, jax.grad(lambda *a: loss_of(jax.jvp(reference, a[:2], a[2:])[1]), (0, 1, 2, 3))(params, x, v, u))


def adam(params, grads, moments, t):
    """As optax.adam(0.01)."""
    m, v = (
        jax.tree.map(lambda a, g, p=p, b=b: b * a + (1 - b) * g**p, moment, grads)
        for moment, p, b in zip(moments, (1, 2), (0.9, 0.999), strict=True)
    )
    scale = 0.01 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    return jax.tree.map(lambda p, a, b: p - scale * a / (jnp.sqrt(b) + 1e-8), params, m, v), (m, v)


def test_training_equals_that_of_the_plain_net(way):
    init, *both = nets(way, "tanh")
    params, _ = data(init)
    X = jax.random.normal(jax.random.key(3), (100, 8, 5))
    y = jax.random.randint(jax.random.key(4), (100, 8), 0, 3)

    def train(apply):
        def loss(params, x, y):
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(apply(params, x)), y[:, None], 1))

        def one(carry, batch):
            t, params, moments = carry
            value, grads = jax.value_and_grad(loss)(params, *batch)
            return (t + 1, *adam(params, grads, moments, t)), value

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.jit(lambda: jax.lax.scan(one, (1.0, params, (zeros, zeros)), (X, y)))()

    ((_, ours, _), values), ((_, theirs, _), expected) = (train(apply) for apply in both)
    assert_close((ours, values), (theirs, expected), 1e-5)
    assert jnp.abs(ours[0]["w"] - params[0]["w"]).max() > 0.01


def test_the_net_is_that_of_fastbp(way):
    net = fb.MLP(SIZES, activation=[("elu", 0.5), "silu"], output_activation="softmax", seed=0)
    _, apply = fj.mlp(SIZES, activation=[("elu", 0.5), "silu"], output_activation="softmax", backend=way)
    params = [{"w": w, "b": b} for w, b in zip(net.weights, net.biases, strict=True)]
    X = np.random.default_rng(0).standard_normal((6, 5), dtype=np.float32)
    np.testing.assert_array_equal(apply(params, X), net.forward(X))
    cotangent = np.ones((6, 3), np.float32)
    grads = jax.grad(lambda p: apply(p, X).sum())(params)
    found = np.concatenate([np.ravel(layer[name]) for layer in grads for name in ("w", "b")])
    np.testing.assert_array_equal(found, net.vjp(X)[1](cotangent)[0])


def test_many_threads(way):
    """Calls from several threads at a time give the numbers of one."""
    init, apply, _ = nets(way, sizes=(20, 50, 50, 4))
    params, x = data(init, rows=300)
    gradient = jax.jit(jax.grad(lambda p, x: loss_of(apply(p, x))))
    expected, found = gradient(params, x), [None] * 4

    def work(k):
        for _ in range(20):
            found[k] = gradient(params, x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for grads in found:
        assert_close(grads, expected, 1e-5)


def test_x_goes_to_the_core_as_it_lies():
    if fj.backend() != "ffi":
        require("fastbp.jax._handlers") if os.environ.get("FASTBP_REQUIRE") == "all" else pytest.skip("no handlers")
    init, apply, _ = nets("ffi")
    text = jax.jit(jax.grad(lambda p, x: loss_of(apply(p, x)))).lower(*data(init)).compile().as_text()
    assert "fastbp_pull_back" in text
    assert " copy(" not in text
    assert " transpose(" not in text


def test_init(way):
    init, _ = fj.mlp((400, 300, 200, 10), activation=["relu", "tanh"], backend=way)
    params = init(jax.random.key(0))
    assert [(layer["w"].shape, layer["b"].shape) for layer in params] == [
        ((400, 300), (300,)), ((300, 200), (200,)), ((200, 10), (10,)),
    ]  # fmt: skip
    variances = [2 / 400, 2 / (300 + 200), 2 / (200 + 10)]
    for layer, variance in zip(params, variances, strict=True):
        assert layer["w"].dtype == jnp.float32
        assert not layer["b"].any()
        assert layer["w"].var() == pytest.approx(variance, rel=0.1)
    assert jnp.abs(params[0]["w"]).max() > 3.5 * np.sqrt(variances[0])  # normal
    assert jnp.abs(params[1]["w"]).max() <= np.sqrt(3 * variances[1])  # uniform
    assert_close(init(jax.random.key(0)), params)
    assert not jnp.array_equal(init(jax.random.key(1))[0]["w"], params[0]["w"])
    with jax.enable_x64(True):
        assert init(jax.random.key(0))[0]["w"].dtype == jnp.float64
        assert init(jax.random.key(0), jnp.float32)[0]["b"].dtype == jnp.float32


def test_forms_of_x(way):
    init, apply, reference = nets(way)
    params, x = data(init)
    assert_close(apply(params, x[0]), reference(params, x[0]), 1e-6)
    assert_close(apply(params, x.reshape(2, 2, 5)), reference(params, x.reshape(2, 2, 5)), 1e-6)
    assert_close(apply(params, np.arange(5)), reference(params, jnp.arange(5.0)), 1e-6)
    empty = jnp.zeros((0, 5))
    assert apply(params, empty).shape == (0, 3)
    assert not any(leaf.any() for leaf in jax.tree.leaves(jax.grad(lambda p: apply(p, empty).sum())(params)))
    assert fj.jvp(apply, (params, empty), (params, None))[1].shape == (0, 3)
    assert not fj.hvp(apply, jnp.sum, params, empty, params)[0]["w"].any()


def changed(params, k, **pieces):
    return [{**layer, **(pieces if i == k else {})} for i, layer in enumerate(params)]


WRONG = {
    "a number": (lambda a, p, x: a(3, x), "[apply] params is a int, expected a list of {'w', 'b'}"),
    "layers": (lambda a, p, x: a(p[:2], x), "[apply] params has 2 layers, expected 3"),
    "no b": (lambda a, p, x: a([{"w": 1}, *p[1:]], x), "[apply] params[0] is ['w'], expected a dict of 'w' and 'b'"),
    "a pair": (lambda a, p, x: a([(1, 2), *p[1:]], x), "[apply] params[0] is tuple, expected a dict of 'w' and 'b'"),
    "w": (
        lambda a, p, x: a(changed(p, 1, w=p[1]["w"].T), x), "[apply] params[1]['w'] has shape (6, 7), expected (7, 6)"
    ),
    "b": (lambda a, p, x: a(changed(p, 2, b=x), x), "[apply] params[2]['b'] has shape (4, 5), expected (3,)"),
    "type": (
        lambda a, p, x: a(jax.tree.map(lambda w: w.astype("bfloat16"), p), x),
        "[apply] params[0]['w'] has dtype bfloat16, expected float32 or float64",
    ),
    "x": (lambda a, p, x: a(p, x.T), "[apply] x has shape (5, 4), expected (.., 5)"),
    "scalar x": (lambda a, p, x: a(p, 3.0), "[apply] x has shape (), expected (.., 5)"),
    "complex x": (lambda a, p, x: a(p, 1j * x), "[apply] x has dtype complex64, expected real numbers"),
    "under jit": (lambda a, p, x: jax.jit(a)(p, x.T), "[apply] x has shape (5, 4), expected (.., 5)"),
    "jvp of what": (lambda a, p, x: fj.jvp(jnp.sin, (p, x), (p, x)), "[jvp] apply is a "),
    "primals": (lambda a, p, x: fj.jvp(a, p, (p, x)), "[jvp] primals is a list of 3, expected a pair"),
    "tangents": (lambda a, p, x: fj.jvp(a, (p, x), (None, None)), "[jvp] tangents are both None"),
    "x_dot": (lambda a, p, x: fj.jvp(a, (p, x), (p, x[0])), "[jvp] x_dot has shape (5,), expected (4, 5), as x"),
    "params_dot": (lambda a, p, x: fj.hvp(a, jnp.sum, p, x, p[:1]), "[hvp] params_dot has 1 layers, expected 3"),
    "third derivatives": (
        lambda a, p, x: jax.grad(lambda p: jnp.sum(fj.hvp(a, loss_of, p, x, p)[0]["w"]))(p),
        "third derivatives are not available",
    ),
    "forward mode": (lambda a, p, x: jax.jvp(a, (p, x), (p, x)), "forward-mode"),
    "sizes": (lambda a, p, x: fj.mlp((3,)), "layer_sizes is (3,), expected at least an input and an output width"),
    "activation": (lambda a, p, x: fj.mlp((3, 2, 1), activation="rleu"), "did you mean 'relu'?"),
    "backend": (lambda a, p, x: fj.mlp((3, 1), backend="cuda"), "backend is 'cuda', expected one of auto, ffi, callback"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_came_and_what_was_expected(name):
    init, apply, _ = nets("auto")
    params, x = data(init)
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as error:
        call(apply, params, x)
    assert message in str(error.value)


def test_without_handlers(monkeypatch):
    from fastbp.jax import _ffi

    monkeypatch.setattr(_ffi, "available", lambda: False)
    assert fj.backend() == "callback"
    assert fj.mlp((2, 1))[1].net.way == "callback"
    with pytest.raises(RuntimeError, match="backend is 'ffi', but the handlers were not compiled: FASTBP_JAX=1 pip"):
        fj.mlp((2, 1), backend="ffi")


def test_without_jax():
    program = "import sys; sys.modules['jax'] = None; import fastbp.jax"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ImportError: fastbp.jax needs JAX 0.10 or newer, which is missing: pip install 'fastbp[jax]'" in done.stderr
