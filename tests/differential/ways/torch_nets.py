"""PyTorch: autograd in float64 over a network written with torch's functions, and fastbp.torch."""

import numpy as np

from differential.problems import RATES
from differential.ways import Way

KINKED_LOSSES = {"absolute_error", "pinball"}


def activation(torch, name, a, s):
    functions = {
        "identity": lambda: s, "logistic": s.sigmoid, "tanh": s.tanh, "relu": lambda: torch.relu(s),
        "leaky_relu": lambda: torch.nn.functional.leaky_relu(s, a), "elu": lambda: torch.nn.functional.elu(s, a),
        "gelu": lambda: torch.nn.functional.gelu(s), "silu": lambda: torch.nn.functional.silu(s),
        "softplus": lambda: torch.nn.functional.softplus(s, threshold=1e9), "sine": s.sin, "exp": s.exp,
        "softmax": lambda: s.softmax(dim=1),
    }  # fmt: skip
    return functions[name]()


def terms(torch, problem, s, x, y):
    """The terms of e_n, (N, d(L))."""
    (name, p), r = problem.loss, x - y
    if name == "cross_entropy" and problem.logits == "softmax":
        return -y * s.log_softmax(dim=1)
    if name == "cross_entropy":
        return torch.nn.functional.binary_cross_entropy_with_logits(s, y, reduction="none")
    if name == "poisson":
        log_x = s if problem.logits else x.log()
        return x - y + torch.special.xlogy(y, y) - y * log_x
    return {
        "squared_error": lambda: 0.5 * r * r,
        "huber": lambda: torch.where(r.abs() <= p, 0.5 * r * r, p * (r.abs() - 0.5 * p)),
        "absolute_error": r.abs,
        "pinball": lambda: torch.where(r == 0, 0 * r, torch.where(r > 0, (1 - p) * r, -p * r)),
    }[name]()


def objective(torch, problem, data, flat, X):
    """The loss, its penalised value, and x(L)."""
    y, c = torch.from_numpy(data.y_dense.astype(np.float64)), torch.from_numpy(data.c_dense)
    penalty, at, s, x = 0.0, 0, None, X
    for inputs, outputs, g in zip(problem.sizes, problem.sizes[1:], problem.activations, strict=False):
        w = flat[at : at + inputs * outputs].reshape(inputs, outputs)
        s = x @ w + flat[at + inputs * outputs : at + (inputs + 1) * outputs]
        x, at = activation(torch, *g, s), at + (inputs + 1) * outputs
        penalty = penalty + 0.5 * problem.l2 * (w * w).sum() + problem.l1 * w.abs().sum()
    counted = torch.where(c == 0, torch.zeros_like(x), terms(torch, problem, s, x, y))
    loss = (counted * c).sum() / (data.count() if problem.reduction == "mean" else 1.0)
    return loss, loss + penalty if problem.reduction == "mean" else loss, x


def autograd(problem):
    """Gradients and Hessian products by autograd."""
    import torch

    torch.set_num_threads(1)
    if not problem.finite:  # what torch makes of the terms of nan is its own
        return {}
    data = problem.data()
    flat = torch.from_numpy(data.params.astype(np.float64)).requires_grad_()
    X = torch.from_numpy(data.X.astype(np.float64)).requires_grad_()
    loss, value, x = objective(torch, problem, data, flat, X)
    (grad,) = torch.autograd.grad(value, flat, create_graph=True)
    (input_grad,) = torch.autograd.grad(loss, X, create_graph=True)
    pulled = torch.autograd.grad(x, (flat, X), torch.from_numpy(data.cotangent.astype(np.float64)), retain_graph=True)
    found = {
        "loss": loss, "value": value, "grad": grad, "input_grad": input_grad, "forward": x, "pullback": pulled[0],
        "pullback_input_grad": pulled[1],
    }  # fmt: skip
    smooth = {name for name, _ in problem.activations} & {"relu", "leaky_relu", "elu"} == set()
    if smooth and problem.loss[0] not in (*KINKED_LOSSES, "huber") and grad.requires_grad:
        v = torch.from_numpy(data.v.astype(np.float64))
        found["hvp"] = torch.autograd.grad(grad @ v, flat, retain_graph=True)[0]
        if input_grad.requires_grad:
            along = (input_grad * torch.from_numpy(data.u.astype(np.float64))).sum()
            mixed = torch.autograd.grad(along, flat, allow_unused=True)[0]
            found["input_grad_vjp"] = torch.zeros_like(flat) if mixed is None else mixed
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def module(problem):
    """fastbp.torch.MLP: output, pullback, the fused loss, and one step of torch's optimiser."""
    import torch

    import fastbp as fb
    from differential.ways.mlp import loss_of
    from fastbp.torch import MLP

    torch.set_num_threads(2)
    data = problem.data()
    net = MLP(
        problem.sizes, activation=[g if g[0] in ("leaky_relu", "elu") else g[0] for g in problem.hidden],
        output_activation=problem.output if problem.output[0] in ("leaky_relu", "elu") else problem.output[0],
        dtype=getattr(torch, problem.dtype),
    )  # fmt: skip
    w, b = fb.reference.views(data.params, problem.sizes)
    with torch.no_grad():
        for p, given in zip(net.parameters(), [a for pair in zip(w, b, strict=True) for a in pair], strict=True):
            p.copy_(torch.from_numpy(given.T if given.ndim == 2 else given))
    X = torch.from_numpy(data.X).requires_grad_()
    x = net(X)
    pulled = torch.autograd.grad(x, (*net.parameters(), X), torch.from_numpy(data.cotangent))
    found = {"forward": x.detach().numpy(), "pullback": flattened(pulled[:-1])}
    found["pullback_input_grad"] = pulled[-1].numpy()
    c = None if data.c is None else torch.from_numpy(data.c)
    found["loss@loss"] = net.loss(X.detach(), torch.from_numpy(data.y), loss_of(problem), c, problem.reduction)
    grad = flattened([p.grad for p in net.parameters()])
    if not (problem.reduction == "mean" and (problem.l2 or problem.l1)):
        found["grad@loss"] = grad
    training = problem.training
    if training and not (training.dropout or problem.l1 or problem.l2) and problem.reduction == "mean":
        options = dict(training.options)
        getattr(torch.optim, training.optimizer)(net.parameters(), lr=RATES[training.optimizer], **options).step()
        found["stepped@torch.optim"] = flattened([p.detach() for p in net.parameters()])
    return found


def flattened(tensors):
    """torch's parameters, or gradients of them, as fastbp's one vector."""
    return np.concatenate([(t.numpy().T if t.dim() == 2 else t.numpy()).ravel() for t in tensors])


OPENMP = (("OMP_NUM_THREADS", "2"),)
WAYS = [
    Way("torch autograd", "torch_nets:autograd", environment=OPENMP, precision="float64", needs="torch"),
    Way("fastbp.torch", "torch_nets:module", environment=OPENMP, needs="torch"),
]
