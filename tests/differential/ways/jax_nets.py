"""JAX: jax.grad in float64 over a network written with jax.numpy, and fastbp.jax by both ways to the core."""

import numpy as np

from differential.ways import Way


def set_up():
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)  # programs run once
    return jax


def activation(jax, name, a, s):
    functions = {
        "identity": lambda: s, "logistic": lambda: jax.nn.sigmoid(s), "tanh": lambda: jax.numpy.tanh(s),
        "relu": lambda: jax.nn.relu(s), "leaky_relu": lambda: jax.numpy.where(s > 0, s, a * s),
        "elu": lambda: jax.nn.elu(s, a), "gelu": lambda: jax.nn.gelu(s, approximate=False),
        "silu": lambda: jax.nn.silu(s), "softplus": lambda: jax.nn.softplus(s), "sine": lambda: jax.numpy.sin(s),
        "exp": lambda: jax.numpy.exp(s), "softmax": lambda: jax.nn.softmax(s),
    }  # fmt: skip
    return functions[name]()


def terms(jax, problem, s, x, y):
    """The terms of e_n, (N, d(L))."""
    (name, p), r, jnp = problem.loss, x - y, jax.numpy
    if name == "cross_entropy" and problem.logits == "softmax":
        return -y * jax.nn.log_softmax(s)
    if name == "cross_entropy":
        return jnp.logaddexp(0, s) - y * s
    if name == "poisson":
        log_x = s if problem.logits else jnp.log(x)
        return x - y + jax.scipy.special.xlogy(y, y) - y * log_x
    return {
        "squared_error": lambda: 0.5 * r * r,
        "huber": lambda: jnp.where(jnp.abs(r) <= p, 0.5 * r * r, p * (jnp.abs(r) - 0.5 * p)),
        "absolute_error": lambda: jnp.where(r == 0, 0 * r, jnp.abs(r)),
        "pinball": lambda: jnp.where(r == 0, 0 * r, jnp.where(r > 0, (1 - p) * r, -p * r)),
    }[name]()


def autodiff(problem):
    """Gradients by jax.grad, without compilation: every problem has other shapes."""
    jax = set_up()
    if not problem.finite:
        return {}
    data = problem.data()
    y, c, count = data.y_dense.astype(np.float64), data.c_dense, data.count() if problem.reduction == "mean" else 1.0

    def output(flat, X):
        at, s, x = 0, None, X
        for inputs, outputs, g in zip(problem.sizes, problem.sizes[1:], problem.activations, strict=False):
            w = flat[at : at + inputs * outputs].reshape(inputs, outputs)
            s = x @ w + flat[at + inputs * outputs : at + (inputs + 1) * outputs]
            x, at = activation(jax, *g, s), at + (inputs + 1) * outputs
        return s, x

    def loss(flat, X):
        s, x = output(flat, X)
        return (jax.numpy.where(c == 0, 0.0, terms(jax, problem, s, x, y)) * c).sum() / count

    flat, X = jax.numpy.asarray(data.params, float), jax.numpy.asarray(data.X, float)
    with jax.disable_jit():
        value, (grad, input_grad) = jax.value_and_grad(loss, (0, 1))(flat, X)
        found = {"loss": value, "input_grad": input_grad, "forward": output(flat, X)[1]}
    if not (problem.reduction == "mean" and (problem.l2 or problem.l1)):
        found["grad"] = grad
    return {name: np.asarray(array) for name, array in found.items()}


def functions(problem, backend):
    """fastbp.jax: apply, its pullback, and jvp."""
    jax = set_up()
    import fastbp.jax as fj
    from fastbp import reference

    data = problem.data()
    net = [g if g[0] in ("leaky_relu", "elu") else g[0] for g in problem.activations]
    apply = fj.mlp(problem.sizes, activation=net[:-1], output_activation=net[-1], backend=backend)[1]

    def layers(flat):
        w, b = reference.views(flat, problem.sizes)
        return [{"w": jax.numpy.asarray(w_l), "b": jax.numpy.asarray(b_l)} for w_l, b_l in zip(w, b, strict=True)]

    X = jax.numpy.asarray(data.X)
    x, pullback = jax.vjp(apply, layers(data.params), X)
    grads, input_grad = pullback(jax.numpy.asarray(data.cotangent))
    found = {"forward": x, "pullback_input_grad": input_grad}
    found["pullback"] = np.concatenate([np.ravel(layer[name]) for layer in grads for name in ("w", "b")])
    if problem.finite:
        found["jvp"] = fj.jvp(apply, (layers(data.params), X), (layers(data.v), jax.numpy.asarray(data.u)))[1]
    return {name: np.asarray(array) for name, array in found.items()}


WAYS = [
    Way("jax", "jax_nets:autodiff", precision="float64", needs="jax", every=8),
    Way("fastbp.jax, callback", "jax_nets:functions", (("backend", "callback"),), needs="jax", every=8),
    Way("fastbp.jax, ffi", "jax_nets:functions", (("backend", "ffi"),), needs="jax handlers", every=8),
]
