"""What fastbp.jax asks of the core, what it accepts and what it refuses."""

import gc
import importlib
import os
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, SANITIZE, run
from jax_nets import assert_close, data, fj, jax, jnp, loss_of, nets, require_handlers, several

import fastbp as fb

pytestmark = pytest.mark.frameworks


@pytest.fixture
def calls(monkeypatch):
    """The operations of the core as they are traced: name, what is wanted, shape of x."""
    from fastbp.jax import _operations, _ways

    seen = []

    def recording(net, name, operands, results):
        seen.append((name, tuple(shape is not None for shape in results), operands[len(net.part_shapes)].shape))
        return real(net, name, operands, results)

    real = _ways.CALLS["callback"]
    monkeypatch.setitem(_ways.CALLS, "callback", recording)
    _operations._operation.cache_clear()
    yield seen
    _operations._operation.cache_clear()


def test_only_what_is_asked_for_is_computed(calls):
    apply, _ = nets("callback")
    params, x = data()
    forward, kept, rows = (True, False), (True, True), (1, 4, 5)
    by_params, not_by_params = (True,) * 2 * len(params), (False,) * 2 * len(params)
    expected = {
        0: [("forward", kept, rows), ("pull_back", (*by_params, False), rows)],
        1: [("forward", forward, rows), ("forward", (False, True), rows), ("pull_back", (*not_by_params, True), rows)],
        (0, 1): [("forward", kept, rows), ("pull_back", (*by_params, True), rows)],
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
    apply, _ = nets("callback")
    jax.make_jaxpr(lambda p, x: function(apply, p, x))(*data())
    assert calls[-1][2] == shape


def test_many_threads(way):
    """Calls from several threads at a time give the numbers of one."""
    apply, _ = nets(way, sizes=(20, 50, 50, 4))
    params, x = data((20, 50, 50, 4), rows=300)
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


def test_nothing_is_moved_on_the_way_to_the_core_and_back():
    """XLA's own program has no operation that would: parameters, x and gradients go as they lie."""
    require_handlers()
    apply, _ = nets("ffi")
    text = jax.jit(jax.grad(lambda p, x: loss_of(apply(p, x)), (0, 1))).lower(*data()).compile().as_text()
    assert "fastbp_pull_back" in text
    for moves in ("copy", "transpose", "concatenate", "slice", "dynamic-slice", "dynamic-update-slice", "pad"):
        assert f" {moves}(" not in text


WITH_A_SPY = """
import sys
import jax, jax.numpy as jnp
import fastbp.jax

init, apply = fastbp.jax.mlp((5, 7, 3), backend="ffi")
params, x = init(jax.random.key(0)), jnp.ones((4, 5))

def loss(params, x):
    out = apply(params, x)
    return jnp.sum(out**2), out

step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
(_, out), (grads, input_grad) = jax.block_until_ready(step(params, x))
for group in ([x, *(a for layer in params for a in (layer["w"], layer["b"]))], [out, input_grad],
              [a for layer in grads for a in (layer["w"], layer["b"])]):
    print(*(array.unsafe_buffer_pointer() for array in group))
"""


@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer must be the first library")
def test_addresses_are_those_of_jaxs_arrays(tmp_path):
    """What the core reads and writes, told by a library between it and the handlers."""
    require_handlers()
    package = Path(fb._core.__file__).parent
    library, spy = package / "lib" / "libfastbp.so", tmp_path / "spy.so"
    if not library.exists():
        pytest.skip("a development tree: libfastbp.so is not installed")
    run("cc", "-shared", "-fPIC", f"-I{ROOT}/cpp/include", ROOT / "tests/cpp/jax/spy.c", "-o", spy)
    environment = {**os.environ, "LD_PRELOAD": str(spy), "FASTBP_LIBRARY": str(library)}
    done = subprocess.run([sys.executable, "-c", WITH_A_SPY], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    arguments, (out, input_grad), grads = (line.split() for line in done.stdout.splitlines())
    calls = [line.split() for line in done.stderr.splitlines()]
    forward, pull_back, written = (next(c for c in calls if c[:1] == [n]) for n in ("forward", "pull_back", "grads"))
    assert forward[1:6] == pull_back[1:6] == arguments
    assert forward[6] == pull_back[6]  # what was kept
    assert (forward[7], pull_back[7]) == (out, input_grad)
    assert written[1:] == grads


def test_init():
    init, _ = fj.mlp((40, 300, 10), activation="relu", output_activation="tanh")
    params = init(jax.random.key(0))
    assert [(layer["w"].shape, layer["b"].shape) for layer in params] == [((40, 300), (300,)), ((300, 10), (10,))]
    normal, uniform = np.asarray(params[0]["w"]), np.asarray(params[1]["w"])
    assert normal.var() == pytest.approx(2 / 40, rel=0.05)
    assert uniform.var() == pytest.approx(2 / 310, rel=0.05)
    assert abs(normal).max() > 3.5 * np.sqrt(2 / 40)
    assert abs(uniform).max() <= np.sqrt(6 / 310)
    assert not any(layer["b"].any() for layer in params)
    np.testing.assert_array_equal(init(jax.random.key(0))[0]["w"], normal)
    assert not np.array_equal(init(jax.random.key(1))[0]["w"], normal)
    with jax.enable_x64(True):
        layers = [*init(jax.random.key(0), jnp.float32), *init(jax.random.key(0))]
    assert [layer["w"].dtype.name for layer in [*params, *layers]] == [*["float32"] * 4, *["float64"] * 2]
    assert all(layer["w"].dtype == layer["b"].dtype for layer in [*params, *layers])


def test_forms_of_x(way):
    apply, reference = nets(way)
    params, x = data()
    assert_close(apply(params, x[0]), reference(params, x[0]), 1e-6)
    assert_close(apply(params, x.reshape(2, 2, 5)), reference(params, x.reshape(2, 2, 5)), 1e-6)
    assert_close(apply(params, np.arange(5)), reference(params, jnp.arange(5.0)), 1e-6)
    assert_close(apply(params, x > 0), reference(params, jnp.float32(x > 0)), 1e-6)
    empty = jnp.zeros((0, 5))
    assert apply(params, empty).shape == (0, 3)
    assert not any(leaf.any() for leaf in jax.tree.leaves(jax.grad(lambda p: apply(p, empty).sum())(params)))
    assert fj.jvp(apply, (params, empty), (params, None))[1].shape == (0, 3)
    assert not fj.hvp(apply, jnp.sum, params, empty, params)[0]["w"].any()


def test_vmap_over_nothing(way):
    params, x = data()
    nobody = jax.tree.map(lambda a: jnp.zeros((0, *a.shape)), params)
    calls = [
        lambda f: jax.vmap(f, (None, 0))(params, x[:0]),
        lambda f: jax.vmap(f, (None, 0))(params, jnp.zeros((0, 4, 5))),
        lambda f: jax.vmap(f, (0, None))(nobody, x),
        lambda f: jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (None, 0))(params, x[:0]),
        lambda f: jax.vmap(jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x)), 1), (None, 0)), (0, None))(nobody, x),
        lambda f: jax.grad(lambda p: jnp.sum(jax.vmap(f, (None, 0))(p, x[:0])))(params),
    ]
    for call in calls:
        assert_close(*map(call, nets(way)))


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
    "forward mode": (lambda a, p, x: jax.jvp(a, (p, x), (p, x)), "[apply] forward mode"),
    "init's type": (
        lambda a, p, x: fj.mlp((3, 2))[0](jax.random.key(0), jnp.float16),
        "[init] dtype is float16, expected float32 or float64",
    ),
    "sizes": (lambda a, p, x: fj.mlp((3,)), "layer_sizes is (3,), expected at least an input and an output"),
    "activation": (lambda a, p, x: fj.mlp((3, 2, 1), activation="rleu"), "did you mean 'relu'?"),
    "backend": (lambda a, p, x: fj.mlp((3, 1), backend="cuda"), "backend is 'cuda', expected one of auto, ffi"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_came_and_what_was_expected(name):
    apply, _ = nets("auto")
    params, x = data()
    call, message = WRONG[name]
    with pytest.raises((TypeError, ValueError, NotImplementedError)) as error:
        call(apply, params, x)
    assert message in str(error.value)


def test_what_the_core_refuses_is_an_error_of_jax(way):
    """As a defect in the checks before it would show."""
    from fastbp.jax._operations import operate

    net = nets(way)[0].net
    params, x = [jnp.zeros((1, *shape)) for shape in net.part_shapes], jnp.zeros((1, 4, 6))
    with pytest.raises(jax.errors.JaxRuntimeError, match="X has 6 columns"):
        jax.block_until_ready(operate(net, "forward", (True, False), params, x))


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


FORWARD_MODE = {
    "jvp": lambda f, x: jax.jvp(f, (x,), (x,)),
    "jacfwd": lambda f, x: jax.jacfwd(f)(x),
    "hessian": lambda f, x: jax.hessian(f)(x),
    "linearize": lambda f, x: jax.linearize(f, x)[1](x),
    "vmap": lambda f, x: jax.vmap(lambda u: jax.jvp(f, (x,), (u,)))(x[None]),
    "grad of jvp": lambda f, x: jax.grad(lambda x: jax.jvp(f, (x,), (x,))[1])(x),
    "jet": lambda f, x: importlib.import_module("jax.experimental.jet").jet(f, (x,), ((x,),)),
    "scan": lambda f, x: jax.jvp(lambda x: jax.lax.scan(lambda c, _: (c + f(c), 0.0), x, None, 2)[0], (x,), (x,)),
}


@pytest.mark.parametrize(
    "name, within_jit, around_jit",
    [
        *((name, False, False) for name in FORWARD_MODE),
        ("jvp", True, False),
        ("jvp", False, True),
        ("hessian", True, True),
    ],
)
def test_forward_mode_names_the_other_ways(name, within_jit, around_jit):
    """Derivatives with respect to x, with respect to params, and through jvp."""
    apply, _ = nets("callback")
    params, x = data()
    functions = {
        "x": lambda x: apply(params, x).sum(),
        "params": lambda x: apply(jax.tree.map(lambda p: p * x.sum(), params), jnp.ones_like(x)).sum(),
        "jvp by u": lambda u: fj.jvp(apply, (params, x), (None, u))[1].sum(),
    }
    for function in functions.values():
        inner = jax.jit(function) if around_jit else function

        def transformed(x, inner=inner):
            return FORWARD_MODE[name](inner, x)

        with pytest.raises(TypeError, match=r"^\[apply\] forward mode.* fastbp\.jax\.jvp or .*hvp .*jax\.jacrev"):
            (jax.jit(transformed) if within_jit else transformed)(x)


def test_the_way_named_for_a_hessian():
    apply, reference = nets("auto")
    params, x = data()
    ours, theirs = (lambda x, f=f: loss_of(f(params, x)) for f in (apply, reference))
    assert_close(jax.jacrev(jax.grad(ours))(x), jax.hessian(theirs)(x), tolerance=1e-5)


def test_nets_are_freed_with_the_functions_that_use_them(way, monkeypatch):
    from fastbp.jax import _ffi

    released, release = [], _ffi._release

    def counted(*attributes):
        released.append(attributes[0].tolist())
        release(*attributes)

    monkeypatch.setattr(_ffi, "_release", counted)
    sizes, results = (5, 11, 3), []
    params, x = data(sizes)
    for _ in range(2):  # the second net is made anew
        apply, other = (fj.mlp(sizes, backend=way)[1] for _ in range(2))
        assert apply.net is other.net
        assert pickle.loads(pickle.dumps(apply)).net is apply.net
        results.append(jax.grad(lambda p, f=apply: loss_of(f(p, x)))(params))
        results[-1] = [np.asarray(leaf) for leaf in jax.tree.leaves(results[-1])]
        net = weakref.ref(apply.net)
        del apply, other
        jax.clear_caches()
        gc.collect()
        assert net() is None
    assert released == ([list(sizes)] * 2 if way == "ffi" else [])
    for one, another in zip(*results, strict=True):
        np.testing.assert_array_equal(one, another)
