"""fb.MLP: devices, BLAS and own loops, teams of threads, dense and compressed rows, a loss of the caller's own."""

import copy

import numpy as np

import fastbp as fb
from differential.problems import RATES
from differential.training import SEED
from differential.ways import Way

MODULE = "mlp:results"


def loss_of(problem):
    name, parameter = problem.loss
    return {"huber": fb.Huber(parameter), "pinball": fb.Pinball(parameter)}.get(name, name)


def spec(pair):
    name, _ = pair
    return pair if name in ("leaky_relu", "elu") else name


def network(problem, data, device="cpu", **changes):
    """The problem's net with its parameters."""
    dropout = problem.training.dropout if problem.training else 0.0
    net = fb.MLP(
        problem.sizes, **{"loss": loss_of(problem), **changes}, activation=[spec(g) for g in problem.hidden],
        output_activation=spec(problem.output), init="zeros", dtype=problem.dtype, device=device, l2=problem.l2,
        l1=problem.l1, dropout=dropout, deterministic=problem.deterministic,
    )  # fmt: skip
    net.params = data.params
    return net


def host(result):
    return result.numpy() if isinstance(result, fb.DeviceArray) else np.asarray(result)


def results(problem, device="cpu", threads=1, sparse=False, own_loss=False):
    """Return all results of an MLP."""
    data = problem.data()
    # The caller's function gets targets in the form of its formula: one column per output.
    X, y = data.X_given, data.y_dense if own_loss and problem.targets == "classes" else data.y
    if sparse:
        from scipy.sparse import csr_array

        X = csr_array(data.X)
    if y.ndim == 2 and y.shape[1] == 1 and problem.seed % 2:
        y = y[:, 0]
    changes = {"loss": OwnLoss(problem)} if own_loss else {}
    with fb.set_num_threads(threads):
        net = network(problem, data, device, **changes)
        found = first_order(problem, net, data, X, y)
        if problem.finite:
            if not own_loss:
                found |= second_order(problem, net, data, X, y)
            if problem.training:
                found |= trained(problem, net, X, y, data.c)
    if own_loss and data.c is not None:
        del found["example_loss@backward"]  # of a row of weight 0 it is what the function returned
    return {name: host(array) for name, array in found.items()}


def first_order(problem, net, data, X, y):
    c, reduction = data.c, problem.reduction
    value, grad = net.value_and_grad(X, y, c, reduction=reduction)
    start = fb.to_device(data.start, net.device) if net.device.startswith("cuda") else data.start.copy()
    net.value_and_grad(X, y, c, reduction=reduction, out=start, accumulate=True)
    found = {
        "forward@forward": net.forward(X),
        "value@value": net.value(X, y, c, reduction=reduction),
        "value@value_and_grad": value,
        "grad@value_and_grad": grad,
        "accumulated@value_and_grad": start,
    }
    if problem.max_example_norm:
        limit = problem.max_example_norm
        found["clipped_grad@value_and_grad"] = net.value_and_grad(
            X, y, c, reduction=reduction, max_example_norm=limit
        )[1]
    fields = ("s", "x", "deltas", "weight_grads", "bias_grads", "input_grad", "example_loss", "example_grad_norm")
    r = net.backward(X, y, c, reduction=reduction, returns=fields)
    for name in ("value", "loss", "grad", "input_grad", "example_loss", "example_grad_norm"):
        found[f"{name}@backward"] = getattr(r, name)
    for name, arrays in (("s", r.s), ("x", [None, *r.x[1:]]), ("deltas", r.deltas)):
        found |= {f"{name}[{k}]@backward": array for k, array in enumerate(arrays) if array is not None}
    found["forward@vjp"], pullback = net.vjp(X)
    found["pullback@vjp"], found["pullback_input_grad@vjp"] = pullback(data.cotangent)
    return found


def second_order(problem, net, data, X, y):
    c, reduction = data.c, problem.reduction
    return {
        "jvp@jvp": net.jvp(X, data.v, data.u),
        "hvp@hvp": net.hvp(X, y, data.v, c, reduction=reduction),
        "gnvp@gnvp": net.gnvp(X, y, data.v, c, reduction=reduction),
        "input_grad_vjp@input_grad_vjp": net.input_grad_vjp(X, y, data.u, c, reduction=reduction),
    }


def trained(problem, net, X, y, c):
    """One step, and a fit, each from the problem's parameters."""
    training = problem.training
    recipe = getattr(fb, training.optimizer)(lr=RATES[training.optimizer], **dict(training.options))
    start = copy.copy(net)
    try:
        value = net.train_step(X, y, state_of(recipe, net), sample_weight=c)
        found = {"step_value@train_step": value, "stepped@train_step": net.params}
        return found | fitted(training, recipe, start, X, y, c)
    except FloatingPointError:
        return {"not_finite@fit": 1.0}


def state_of(recipe, net):
    return recipe.init(net.params, seed=SEED).to(net.device)


def fitted(training, recipe, net, X, y, c):
    history = net.fit(
        X, y, c, state=state_of(recipe, net), batch_size=training.batch_size, epochs=training.epochs,
        shuffle=training.shuffle, max_grad_norm=training.max_grad_norm, max_example_norm=training.max_example_norm,
        progress=False,
    )  # fmt: skip
    losses = {f"epoch_loss[{k}]@fit": loss for k, loss in enumerate(history.loss)}
    return losses | {"fitted@fit": net.params}


class OwnLoss:
    """The problem's loss as a function of the caller's."""

    def __init__(self, problem):
        self.name, self.p = problem.loss

    def __call__(self, y, x):
        y, p = np.asarray(y).reshape(x.shape), self.p
        r = x - y
        if self.name == "squared_error":
            e, dx = 0.5 * r * r, r
        elif self.name == "huber":
            bounded = np.clip(r, -p, p)
            e, dx = bounded * (r - 0.5 * bounded), bounded
        elif self.name == "absolute_error":
            e, dx = np.abs(r), np.sign(r)
        elif self.name == "pinball":
            e, dx = np.where(r > 0, (1 - p) * r, -p * r), np.sign(r) * np.where(r > 0, 1 - p, p)
        else:
            e, dx = r + y * np.log(np.where(y > 0, y, 1) / x), r / x
        return e.sum(axis=1, dtype=np.float64), dx.astype(x.dtype)


def isa_environment(isa):
    return (("FASTBP_ISA", isa), ("FASTBP_BLAS", "none"))


def team(n):
    return (("FASTBP_TEAM", str(n)),)


THREE = (("threads", 3),)
CUDA = (("device", "cuda"),)
LATE = (("FASTBP_EMULATED_DELAY", "1"),)
PLAN = "plan for 3 threads"
SAME_IF_DETERMINISTIC = {"same_bits_as": "cpu", "same_bits_if": "deterministic"}
LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
WAYS = [
    Way("cpu", MODULE),
    Way("plain", MODULE, (("device", "plain"),)),
    Way("compressed rows", MODULE, (("sparse", True),)),
    Way("loss function", MODULE, (("own_loss", True),)),
    *(Way(f"own loops, {isa}", MODULE, environment=isa_environment(isa)) for isa in LEVELS),
    Way("own loops, x86-64-v2, 3 threads", MODULE, THREE, (*isa_environment("x86-64-v2"), *team(3))),
    Way(PLAN, MODULE, THREE, team(1), **SAME_IF_DETERMINISTIC),
    *(Way(f"{PLAN}, team of {n}", MODULE, THREE, team(n), same_bits_as=PLAN) for n in (2, 3, 4)),
    *(Way(f"{n} threads", MODULE, (("threads", n),), team(n), **SAME_IF_DETERMINISTIC) for n in (2, 4)),
    Way("emulated device", MODULE, CUDA, LATE, needs="emulated device", every=3),
    Way("emulated device, distant", MODULE, CUDA, (*LATE, ("FASTBP_EMULATED_DISTANT", "1")), needs="emulated device",
        every=3),
]  # fmt: skip
