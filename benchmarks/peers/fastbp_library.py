"""fastbp: what MLP.fit does in each epoch, without its checks of the data, which are made once."""

import fastbp as fb
from fastbp._fit import Epochs


class Training:
    def __init__(self, sizes, params, X, y, batch, lr, optimizer=fb.SGD):
        self.net = fb.MLP(sizes, loss="cross_entropy", activation="relu", seed=0)
        self.net.params[:] = params
        self.batch, self.lr = batch, lr
        state = optimizer(lr=lr).init(self.net.params, seed=0)
        self.run = Epochs("fit", self.net, X, y, None, state)

    def epoch(self, order=None):
        """With an order: the state's own, of seed 0 and the number of the epoch; drawing it is part of the time."""
        self.mean = self.run.run(self.batch, shuffle=order is not None, drop_last=False, lr=self.lr)

    def loss(self):
        return self.mean

    def params(self):
        return self.net.params.copy()


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)


def prepare_adam(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr, fb.Adam)
