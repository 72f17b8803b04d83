"""JAX, a whole epoch as one XLA program: jax.lax.scan over the mini-batches, and a last step for the rows left over."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from peers import jax_step


@partial(jax.jit, donate_argnums=0, static_argnames="batch")
def epoch_in_place(params, X, y, lr, batch):
    whole = len(X) // batch * batch

    def body(params, rows):
        return jax_step.step_of(params, *rows, lr)

    batches = (X[:whole].reshape(-1, batch, X.shape[1]), y[:whole].reshape(-1, batch))
    params, losses = jax.lax.scan(body, params, batches)
    if whole < len(X):
        params, loss = jax_step.step_of(params, X[whole:], y[whole:], lr)
        losses = jnp.append(losses, loss)
    return params, losses


@partial(jax.jit, donate_argnums=0, static_argnames="batch")
def epoch_in_order(params, X, y, order, lr, batch):
    whole = len(order) // batch * batch

    def body(params, rows):
        return jax_step.step_of(params, X[rows], y[rows], lr)

    params, losses = jax.lax.scan(body, params, order[:whole].reshape(-1, batch))
    if whole < len(order):
        params, loss = body(params, order[whole:])
        losses = jnp.append(losses, loss)
    return params, losses


class Training(jax_step.Training):
    def __init__(self, sizes, params, X, y, batch, lr):
        super().__init__(sizes, params, X, y, batch, lr)
        self.batch = batch

    def epoch(self, order=None):
        if order is None:
            self.parts, self.losses = epoch_in_place(self.parts, self.X, self.y, self.lr, self.batch)
        else:
            order = order.astype(np.int32)
            self.parts, self.losses = epoch_in_order(self.parts, self.X, self.y, order, self.lr, self.batch)
        jax.block_until_ready(self.parts)


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)
