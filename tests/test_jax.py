"""fastbp.jax against the same nets written in jax.numpy, by both ways to the core."""

from functools import cache

import numpy as np
import pytest
from jax_nets import SIZES, assert_close, check_grads, data, direction, fj, jax, jnp, loss_of, nets, plain, several

import fastbp as fb

pytestmark = pytest.mark.frameworks

ACTIVATIONS = [
    ("identity", "identity"), ("logistic", "softmax"), ("tanh", "exp"), ("relu", "identity"), ("leaky_relu", "tanh"),
    ("elu", "softmax"), ("gelu", "identity"), ("silu", "logistic"), ("softplus", "softmax"), ("sine", "exp"),
]  # fmt: skip


def quantities(apply):
    """The output, its derivatives by params and x, and those of a slope of these, under jit."""
    params, x = data()
    v = direction((params, x))

    def loss(params, x):
        return loss_of(apply(params, x))

    def slope(params, x):
        grads = jax.grad(loss, (0, 1))(params, x)
        return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(v), strict=True))

    first, second = jax.grad(loss, (0, 1)), jax.grad(slope, (0, 1))
    return jax.jit(lambda: (apply(params, x), first(params, x), second(params, x)))()


@cache
def quantities_of_jax(activation, output):
    return quantities(plain(activation, output))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation, output", ACTIVATIONS)
def test_values_and_derivatives_equal_those_of_jax(way, activation, output):
    """First and second ones, to 1e-12."""
    apply, _ = nets(way, activation, output)
    assert_close(quantities(apply), quantities_of_jax(activation, output))


def test_float32(way):
    both = nets(way, "gelu", "softmax")
    params, x = data()
    found, expected = (jax.jit(jax.value_and_grad(lambda p, f=f: loss_of(f(p, x))))(params) for f in both)
    assert found[0].dtype == jnp.float32
    assert_close(found, expected, 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_check_grads(way, activation):
    apply, _ = nets(way, activation, "softmax", (4, 5, 3))
    check_grads(jax.jit(apply), data((4, 5, 3)), order=2, modes=("rev",))


TRANSFORMATIONS = {
    "vmap over x": lambda f, p, x: jax.vmap(f, (None, 0))(p, x),
    "vmap over x by columns": lambda f, p, x: jax.vmap(lambda a: f(p, a), 1, 2)(jnp.stack([x, 2 * x, -x], 1)),
    "vmap over params": lambda f, p, x: jax.vmap(f, (0, None))(several(p), x),
    "vmap over both": lambda f, p, x: jax.vmap(f)(several(p), jnp.stack([x, 2 * x])),
    "vmap of vmap": lambda f, p, x: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(several(p), jnp.stack([x, 2 * x, -x])),
    "vmap of vmap, params inside": lambda f, p, x: jax.vmap(jax.vmap(f, (0, None)), (None, 0))(several(p), x),
    "vmap of vmap over both": lambda f, p, x: jax.vmap(jax.vmap(f), (None, 0))(
        several(p), jnp.stack([jnp.stack([a * x, x + a]) for a in (1, 2, 3)])
    ),
    "gradients of an ensemble on several batches": lambda f, p, x: jax.vmap(
        jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (0, None)), (None, 0)
    )(several(p), jnp.stack([x, 2 * x, -x])),
    "gradients of an ensemble": lambda f, p, x: jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (0, None))(
        several(p), x
    ),
    "gradients of single rows": lambda f, p, x: jax.vmap(jax.grad(lambda p, x: loss_of(f(p, x))), (None, 0))(p, x),
    "input gradients of single rows": lambda f, p, x: jax.vmap(jax.grad(lambda x: loss_of(f(p, x))))(x),
    "a loss on input gradients": lambda f, p, x: jax.grad(
        lambda p: jnp.sum(jax.vmap(jax.grad(lambda x: loss_of(f(p, x))))(x) ** 2)
    )(p),
    "a loss on parameter gradients, by x": lambda f, p, x: jax.grad(
        lambda x: sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(lambda p: loss_of(f(p, x)))(p)))
    )(x),
    "gradient of vmap": lambda f, p, x: jax.grad(lambda p: loss_of(jax.vmap(f, (None, 0))(p, x)))(p),
    "jacrev by params": lambda f, p, x: jax.jacrev(f)(p, x),
    "jacrev by x": lambda f, p, x: jax.jacrev(f, 1)(p, x),
    "hessian by x": lambda f, p, x: jax.jacrev(jax.jacrev(lambda x: loss_of(f(p, x))))(x[0]),
    "scan": lambda f, p, x: jax.lax.scan(lambda p, row: (step(f, p, row), loss_of(f(p, row))), p, x),
    "checkpoint": lambda f, p, x: jax.grad(lambda p: loss_of(jax.checkpoint(f)(p, x)))(p),
}  # fmt: skip


def step(f, params, x, rate=0.1):
    return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(lambda p: loss_of(f(p, x)))(params))


def transformed(name, apply):
    return jax.jit(lambda p, x: TRANSFORMATIONS[name](apply, p, x))(*data())


@cache
def transformed_by_jax(name):
    return transformed(name, plain("silu", "softmax"))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations(way, name):
    apply, _ = nets(way, "silu", "softmax")
    assert_close(transformed(name, apply), transformed_by_jax(name))


@pytest.mark.usefixtures("x64")
def test_jvp_and_hvp_equal_forward_mode(way):
    apply, reference = nets(way, "gelu", "softmax")
    params, x = data()
    v, u = direction((params, x))
    assert_close(fj.jvp(apply, (params, x), (v, u)), jax.jvp(reference, (params, x), (v, u)))
    assert_close(fj.jvp(apply, (params, x), (v, None)), jax.jvp(lambda p: reference(p, x), (params,), (v,)))
    assert_close(fj.jvp(apply, (params, x), (None, u)), jax.jvp(lambda x: reference(params, x), (x,), (u,)))
    found = jax.jit(lambda p, x, v: fj.hvp(apply, loss_of, p, x, v))(params, x, v)
    assert_close(found, jax.jvp(jax.grad(lambda p: loss_of(reference(p, x))), (params,), (v,))[1])


@pytest.mark.usefixtures("x64")
def test_jvp_in_other_transformations(way):
    """Jacobians by columns, and derivatives of a derivative along a direction, as physics-informed losses have."""
    apply, reference = nets(way, "tanh", "identity")
    params, x = data()
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
    both = nets(way, "tanh")
    params, X = data(rows=800)
    X, y = X.reshape(100, 8, 5), np.random.default_rng(1).integers(0, 3, (100, 8))

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
