"""JAX, one jitted call per step, with the parameters donated: loss, gradients and update in one XLA program."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from fastbp import reference


def loss_of(params, X, y):
    for w, b in params[:-1]:
        X = jax.nn.relu(X @ w + b)
    w, b = params[-1]
    logs = jax.nn.log_softmax(X @ w + b)
    return -(logs * jax.nn.one_hot(y, logs.shape[1])).sum() / len(X)


def step_of(params, X, y, lr):
    loss, grads = jax.value_and_grad(loss_of)(params, X, y)
    return jax.tree.map(lambda p, grad: p - lr * grad, params, grads), loss


@partial(jax.jit, donate_argnums=0)
def step(params, X, y, lr):
    return step_of(params, X, y, lr)


@partial(jax.jit, donate_argnums=0)
def step_on_rows(params, X, y, rows, lr):
    return step_of(params, X[rows], y[rows], lr)


class Training:
    def __init__(self, sizes, params, X, y, batch, lr):
        w, b = reference.views(params.copy(), sizes)
        self.parts = [(jnp.array(w_l), jnp.array(b_l)) for w_l, b_l in zip(w, b, strict=True)]
        self.X, self.y, self.lr = jnp.asarray(X), jnp.asarray(np.asarray(y, np.int32)), jnp.float32(lr)
        self.batches = [slice(start, min(start + batch, len(X))) for start in range(0, len(X), batch)]
        self.pairs = None

    def epoch(self, order=None):
        self.losses = []
        if order is None:
            self.pairs = self.pairs or [(self.X[rows], self.y[rows]) for rows in self.batches]
            for X, y in self.pairs:
                self.parts, loss = step(self.parts, X, y, self.lr)
                self.losses.append(loss)
        else:
            order = order.astype(np.int32)
            for rows in self.batches:
                self.parts, loss = step_on_rows(self.parts, self.X, self.y, order[rows], self.lr)
                self.losses.append(loss)
        jax.block_until_ready(self.parts)

    def loss(self):
        counts = [rows.stop - rows.start for rows in self.batches]
        return float(np.average([float(loss) for loss in self.losses], weights=counts))

    def params(self):
        return np.concatenate([np.asarray(part).ravel() for layer in self.parts for part in layer])


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)
