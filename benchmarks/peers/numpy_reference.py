"""NumPy: fastbp.reference, written to be read; its products are in BLAS and all its arithmetic is in NumPy."""

import numpy as np

from fastbp import reference


class Training:
    def __init__(self, sizes, params, X, y, batch, lr, step=reference.sgd_step):
        self.flat = params.copy()
        self.w, self.b = reference.views(self.flat, sizes)
        self.parts = [part for layer in zip(self.w, self.b, strict=True) for part in layer]
        self.activations = ["relu"] * (len(sizes) - 2) + ["softmax"]
        self.X, self.y, self.lr, self.step, self.state = X, y, lr, step, {}
        self.batches = [slice(start, min(start + batch, len(X))) for start in range(0, len(X), batch)]

    def epoch(self, order=None):
        self.sum = 0.0
        for batch in self.batches:
            rows = batch if order is None else order[batch]
            X, y = self.X[rows], self.y[rows]
            value, *grads = reference.value_and_grad(self.w, self.b, X, y, self.activations, "cross_entropy")
            self.sum += value * len(X)
            self.step(self.parts, [part for layer in zip(*grads, strict=True) for part in layer], self.state, self.lr)

    def loss(self):
        return self.sum / len(self.X)

    def params(self):
        return self.flat.copy()


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)


def truth(sizes, params, X, y, batch, lr, order, adam=False):
    """Loss and parameters after one epoch in float64: what every implementation has to agree with."""
    step = reference.adam_step if adam else reference.sgd_step
    training = Training(sizes, params.astype(np.float64), X.astype(np.float64), y, batch, lr, step)
    training.epoch(order)
    return training.loss(), training.params()
