"""Expected results of one training step and of a whole fit, in `Bounded` arrays."""

import numpy as np
from dropout_masks import factors

from differential.bounded import Bounded

DEFAULTS = {
    "SGD": {"momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False},
    "Adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0},
    "AdamW": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01},
    "RMSprop": {"alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0, "centered": False},
    "Adagrad": {"lr_decay": 0.0, "weight_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10},
    "Rprop": {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)},
}
SEED = 12345  # of row orders and masks


def root(v):
    return v.through(lambda a: np.sqrt(np.maximum(a, 0)))


class Optimizer:
    """The formulas of torch.optim; the state starts empty."""

    def __init__(self, name, options, lr, rows):
        self.rows = rows
        self.name, self.k, self.lr, self.t = name, {**DEFAULTS[name], **dict(options)}, lr, 0
        self.m = self.v = self.b = None

    def step(self, p, grad):
        self.t += 1
        decay = self.k.get("weight_decay", 0.0)
        if self.name == "AdamW":
            p = p * (1 - self.lr * decay)
        elif decay:
            grad = grad + p * decay
        return getattr(self, "_" + self.name.lower().removesuffix("w"))(p, grad)

    def _sgd(self, p, h):
        k = self.k
        if k["momentum"]:
            kept = 1.0 if self.t == 1 else 1 - k["dampening"]
            self.m = h * kept if self.m is None else self.m * k["momentum"] + h * kept
            h = h + self.m * k["momentum"] if k["nesterov"] else self.m
        moved = p - h * self.lr
        # Where the step is part of the product, every partial sum over the rows begins with p.
        return moved.rounded(moved.value, moved.error, np.abs(p.value) + np.abs(moved.value), moved.grid, self.rows + 2)

    def _adam(self, p, h):
        first, second = self.k["betas"]
        zero = h * 0.0
        self.m = (zero if self.m is None else self.m) * first + h * (1 - first)
        self.v = (zero if self.v is None else self.v) * second + h * h * (1 - second)
        corrected = root(self.v) * (1 / np.sqrt(1 - second**self.t)) + self.k["eps"]
        return p - self.m * (self.lr / (1 - first**self.t)) / corrected

    def _rmsprop(self, p, h):
        k, zero = self.k, h * 0.0
        self.v = (zero if self.v is None else self.v) * k["alpha"] + h * h * (1 - k["alpha"])
        square = self.v
        if k["centered"]:
            self.m = (zero if self.m is None else self.m) * k["alpha"] + h * (1 - k["alpha"])
            square = square - self.m * self.m
        q = h / (root(square) + k["eps"])
        if k["momentum"]:
            self.b = q if self.b is None else self.b * k["momentum"] + q
            q = self.b
        return p - q * self.lr

    def _adagrad(self, p, h):
        k = self.k
        self.v = h * h + (k["initial_accumulator_value"] if self.v is None else self.v)
        return p - h * (self.lr / (1 + (self.t - 1) * k["lr_decay"])) / (root(self.v) + k["eps"])

    def _rprop(self, p, g):
        """A gradient whose sign is not certain makes the parameter uncertain from then on."""
        (down, up), (least, most) = self.k["etas"], self.k["step_sizes"]
        before, sizes = (np.zeros(g.shape), np.full(g.shape, self.lr)) if self.m is None else (self.m, self.v)
        agreement = g.value * before
        sizes = np.clip(sizes * np.where(agreement > 0, up, np.where(agreement < 0, down, 1.0)), least, most)
        kept = np.where(agreement < 0, 0.0, g.value)
        self.m, self.v = kept, sizes
        unsure = g.may_be(0.0) | (np.abs(agreement) < 1e-30)  # a product may underflow
        move = Bounded(g.precision, np.sign(kept) * sizes, np.where(unsure & (g.error > 0), np.inf, 0.0))
        return p - move.rounded(move.value, move.error, np.abs(move.value), terms=4)


class Course:
    """A training of the problem's net, from its parameters."""

    def __init__(self, truth, training, lr):
        self.truth, self.training = truth, training
        self.problem = truth.problem
        self.flat = truth.lift(truth.data.params)
        self.optimizer = Optimizer(training.optimizer, training.options, lr, self.problem.rows)

    def masks(self, rows):
        rate = self.training.dropout
        if not rate:
            return ()
        step = self.optimizer.t + 1
        return [
            self.truth.lift(factors(SEED, step, k, rows, d, rate)) for k, d in enumerate(self.problem.sizes[1:-1])
        ]

    def step(self, rows, max_grad_norm=None, max_example_norm=None):
        """One step on these rows; returns the mean loss before it, the penalty, and the sum of the weights."""
        from differential.truth import Net, example_norms, limited

        truth, net = self.truth, Net.of(self.problem, self.flat)
        count = truth.data.count(rows)
        if count == 0:
            return None, None, 0.0
        X, y, c = truth.X[rows], truth.y[rows], truth.data.c_dense[rows]
        masks = self.masks(rows)
        s, x = net.forward(X, masks)
        seed = truth.lift(c) * (truth.lift(1.0) / truth.divisor(rows))
        loss, _ = truth.loss(s[-1], x[-1], y, seed)
        deltas, _ = net.deltas(s, net.output_delta(s[-1], x[-1], y, seed), masks, truth.data.dead[rows])
        if max_example_norm:
            own = truth.lift(c if c.shape[1] > 1 else np.ones_like(c))
            single, _ = net.deltas(s, net.output_delta(s[-1], x[-1], y, own), masks)
            factor = limited(example_norms(x, single, c), max_example_norm)
            deltas = [delta * factor for delta in deltas]
        penalty, penalty_grad = net.penalty()
        grad = net.gradient(x, deltas, dead=truth.data.dead[rows])
        if self.problem.l2 or self.problem.l1:
            grad = grad + penalty_grad
        if max_grad_norm:
            norm = root((grad * grad).sum())
            grad = grad * norm.through(lambda v: np.minimum(max_grad_norm / (v + 1e-6), 1.0))
        self.flat = self.optimizer.step(self.flat, grad)
        return loss, penalty, count

    def fit(self):
        """All epochs; returns the mean loss of each."""
        losses, rows = [], self.problem.rows
        for epoch in range(self.training.epochs):
            order = np.arange(rows)
            if self.training.shuffle:
                order = np.random.default_rng([SEED, epoch]).permutation(rows)
            size, total, weight = self.training.batch_size or rows, self.truth.lift(0.0), 0.0
            for begin in range(0, rows, size):
                limits = self.training.max_grad_norm, self.training.max_example_norm
                loss, _, count = self.step(order[begin : begin + size], *limits)
                if count:
                    total, weight = total + loss * count, weight + count
            losses.append(total / self.truth.lift(weight))
        return losses


def trained(truth):
    """Results of one `train_step` on all rows, and of `fit`."""
    from differential.problems import RATES

    training = truth.problem.training
    lr = RATES[training.optimizer]
    once = Course(truth, training, lr)
    loss, penalty, _ = once.step(np.arange(truth.problem.rows))
    results = {"step_value": loss + penalty, "stepped": once.flat}
    whole = Course(truth, training, lr)
    for epoch, loss in enumerate(whole.fit()):
        results[f"epoch_loss[{epoch}]"] = loss
    results["fitted"] = whole.flat
    may_overflow = any(not np.isfinite(r.value).all() or np.isinf(r.error).any() for r in results.values())
    return {**results, "not_finite": truth.lift(0.0).may_not_be(may_overflow)}
