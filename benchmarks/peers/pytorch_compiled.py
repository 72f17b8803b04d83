"""PyTorch, a whole step in one torch.compile: forward, gradients (torch.func) and update in one graph.

On small nets that is two to three times as fast as compiling the loss alone and calling backward and the optimiser.
"""

import torch
from torch.nn import functional

from peers import pytorch_eager


def _loss(params, X, y):
    for k in range(0, len(params) - 2, 2):
        X = functional.relu(functional.linear(X, params[k], params[k + 1]))
    return functional.cross_entropy(functional.linear(X, params[-2], params[-1]), y)


class Training(pytorch_eager.Training):
    def __init__(self, sizes, params, X, y, batch, lr):
        super().__init__(sizes, params, X, y, batch, lr)
        self.parts = [p.detach() for p in self.net.parameters()]

        @torch.compile(dynamic=False)
        def step(parts, X, y):
            grads, loss = torch.func.grad_and_value(_loss)(parts, X, y)
            for p, grad in zip(parts, grads, strict=True):
                p.sub_(grad, alpha=lr)
            return loss

        self.compiled = step

    @torch.no_grad()
    def epoch(self, order=None):
        super().epoch(order)

    def step(self, X, y):
        return self.compiled(self.parts, X, y)


def prepare(sizes, params, X, y, batch, lr):
    torch._dynamo.reset()
    return Training(sizes, params, X, y, batch, lr)
