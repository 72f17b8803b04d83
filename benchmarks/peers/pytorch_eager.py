"""PyTorch as most write it: torch.nn.Sequential, backward, torch.optim.SGD."""

import numpy as np
import torch
from torch.nn import functional


class Training:
    def __init__(self, sizes, params, X, y, batch, lr):
        layers = [torch.nn.Linear(rows, cols) for rows, cols in zip(sizes, sizes[1:], strict=False)]
        steps = [part for layer in layers for part in (layer, torch.nn.ReLU())]
        self.net, self.layers, self.batch = torch.nn.Sequential(*steps[:-1]), layers, batch
        start = 0
        with torch.no_grad():
            for layer in layers:
                for p, shape in ((layer.weight, layer.weight.shape[::-1]), (layer.bias, layer.bias.shape)):
                    numbers = torch.from_numpy(params[start : start + p.numel()].reshape(shape))
                    p.copy_(numbers.T if p.ndim == 2 else numbers)
                    start += p.numel()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=lr)
        self.X, self.y = torch.from_numpy(X), torch.from_numpy(np.asarray(y, np.int64))
        self.batches = list(zip(self.X.split(batch), self.y.split(batch), strict=True))

    def epoch(self, order=None):
        self.losses = []
        if order is None:
            for X, y in self.batches:
                self.losses.append(self.step(X, y))
        else:
            for rows in torch.from_numpy(order).split(self.batch):
                self.losses.append(self.step(self.X[rows], self.y[rows]))

    def step(self, X, y):
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.net(X), y)
        loss.backward()
        self.optimizer.step()
        return loss

    def loss(self):
        rows = [len(X) for X, _ in self.batches]
        return float(np.average([float(loss.detach()) for loss in self.losses], weights=rows))

    def params(self):
        with torch.no_grad():
            return np.concatenate([p.numpy().T.ravel() for layer in self.layers for p in (layer.weight, layer.bias)])


def prepare(sizes, params, X, y, batch, lr):
    return Training(sizes, params, X, y, batch, lr)
