"""Nets of fastbp.jax beside the same written in jax.numpy, for the tests of fastbp.jax."""


import numpy as np
import pytest
from helpers import require

jax = require("jax")
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402, F401

import fastbp.jax as fj  # noqa: E402

# Most of the tests' time is LLVM's, at work on programs that run once.
jax.config.update("jax_disable_most_optimizations", True)

FUNCTIONS = {
    "identity": lambda s: s, "logistic": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu,
    "leaky_relu": lambda s: jax.nn.leaky_relu(s, 0.01), "elu": jax.nn.elu,
    "gelu": lambda s: jax.nn.gelu(s, approximate=False), "silu": jax.nn.silu, "softplus": jax.nn.softplus,
    "sine": jnp.sin, "exp": jnp.exp, "softmax": jax.nn.softmax,
}  # fmt: skip
SIZES = (5, 7, 6, 3)


def require_handlers():
    """Skip the test if the handlers were not compiled; FASTBP_REQUIRE makes the skip a failure."""
    if fj.backend() == "ffi":
        return
    pytest.skip("the handlers were not compiled: FASTBP_JAX=1 pip install .")


def plain(activation="tanh", output="identity"):
    """The net in jax.numpy."""

    def apply(params, x):
        for k, layer in enumerate(params):
            x = FUNCTIONS[output if k == len(params) - 1 else activation](x @ layer["w"] + layer["b"])
        return x

    return apply


def nets(way, activation="tanh", output="identity", sizes=SIZES):
    """Ours, and the same in jax.numpy."""
    apply = fj.mlp(sizes, activation=activation, output_activation=output, backend=way)[1]
    return apply, plain(activation, output)


def loss_of(out):
    return jnp.sum(jnp.sin(out) * (1 + jnp.arange(out.shape[-1])))


def data(sizes=SIZES, rows=4):
    """Parameters and x, in JAX's default precision."""
    rng = np.random.default_rng(0)
    shapes = zip(sizes, sizes[1:], strict=False)
    layers = [{"w": rng.standard_normal(d) / np.sqrt(d[0]), "b": rng.standard_normal(d[1:])} for d in shapes]
    return jax.tree.map(jnp.asarray, (layers, rng.standard_normal((rows, sizes[0]))))


def direction(like):
    return jax.tree.map(lambda a: jnp.asarray(np.cos(np.arange(a.size)).reshape(a.shape)), like)


def assert_close(found, expected, tolerance=1e-12):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        a, b = np.asarray(a), np.asarray(b)
        assert np.linalg.norm(a - b) <= tolerance * (1 + np.linalg.norm(b))


def several(params):
    """An ensemble of two."""
    return jax.tree.map(lambda a: jnp.stack([a, 1.5 * a]), params)
