"""A problem: a network, its data and what is asked of it. Every array is drawn from the problem's seed."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np


def short_repr(self):
    """Only what is not the default."""
    changed = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) != f.default]
    return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in changed)})"


CONTAINER_FORMS = ("C", "F", "reversed", "gaps", "padded rows", "swapped bytes")
RATES = {"SGD": 0.25, "Adam": 0.01, "AdamW": 0.01, "RMSprop": 0.01, "Adagrad": 0.05, "Rprop": 0.01}


@dataclass(frozen=True, repr=False)
class Training:
    """A call of `fit`."""

    __repr__ = short_repr

    optimizer: str = "SGD"
    options: tuple = ()  # (name, value) pairs beside lr
    batch_size: int | None = None
    epochs: int = 1
    shuffle: bool = True
    dropout: float = 0.0
    max_grad_norm: float | None = None
    max_example_norm: float | None = None


@dataclass(frozen=True, repr=False)
class Problem:
    """One problem. `whole` asks for small whole numbers, whose sums are exact."""

    __repr__ = short_repr

    sizes: tuple = (1, 1)
    rows: int = 1
    dtype: str = "float32"
    hidden: tuple = ()  # (name, parameter) of every hidden layer
    output: tuple = ("identity", 0.0)
    loss: tuple = ("squared_error", 0.0)
    targets: str = "numbers"  # "classes" (N,), "one_hot" or "soft" for cross entropy
    whole: bool = False
    x_dtype: str = "f4"
    x_form: str = "C"
    density: float = 1.0  # fraction of X that is not 0
    weights: str | None = None  # "rows" (N,) or "outputs" (N, d(L)); a quarter of them are 0
    reduction: str = "mean"
    l2: float = 0.0
    l1: float = 0.0
    deterministic: bool = False
    max_example_norm: float | None = None
    nonfinite: float = 0.0  # nan or inf: one entry of X
    scale: float = 1.0  # of the weights
    seed: int = 0
    training: Training | None = None

    @property
    def activations(self):
        return [*self.hidden, self.output]

    @property
    def logits(self):
        """The output activation, if the loss is computed from the summed input."""
        pair = self.loss[0], self.output[0]
        pairs = (("cross_entropy", "softmax"), ("cross_entropy", "logistic"), ("poisson", "exp"))
        return self.output[0] if pair in pairs else None

    @property
    def finite(self):
        return self.nonfinite == 0.0

    def data(self):
        return Data(self)


class Data:
    """The arrays of a problem. X is what the net's dtype makes of `X_given`; both dtypes hold the same numbers."""

    def __init__(self, problem):
        self.problem = problem
        self.rng = np.random.default_rng([17, problem.seed])
        self.params = self._params()
        self.X = self._inputs()
        self.y = self._targets()
        self.c = self._weights()
        self.v = self._direction(self.params.shape)
        self.u = self._direction(self.X.shape)
        self.cotangent = self._direction((problem.rows, problem.sizes[-1]))
        self.start = self._direction(self.params.shape)  # what accumulation adds to

    def _direction(self, shape):
        if self.problem.whole:
            return self.rng.integers(-1, 2, shape).astype(self.problem.dtype)
        return self.rng.standard_normal(shape).astype(self.problem.dtype)

    def _params(self):
        parts = []
        for inputs, outputs in zip(self.problem.sizes, self.problem.sizes[1:], strict=False):
            if self.problem.whole:
                w = self.rng.integers(-1, 2, (inputs, outputs)) * (self.rng.random((inputs, outputs)) < 4 / inputs)
                b = self.rng.integers(-1, 2, outputs)
            else:
                w = self.rng.standard_normal((inputs, outputs)) * self.problem.scale / np.sqrt(inputs)
                b = self.rng.standard_normal(outputs) * 0.3
            parts += [w.ravel(), b]
        return np.concatenate(parts).astype(self.problem.dtype)

    def _inputs(self):
        shape = (self.problem.rows, self.problem.sizes[0])
        dtype = np.dtype(self.problem.x_dtype)
        if dtype.kind == "b":
            X = self.rng.integers(0, 2, shape)
        elif dtype.kind == "u":
            X = self.rng.integers(0, 4, shape)
        elif dtype.kind == "i" or self.problem.whole:
            X = self.rng.integers(-2, 3, shape)
        else:
            X = self.rng.standard_normal(shape)
        X = np.where(self.rng.random(shape) < self.problem.density, X, 0).astype(dtype)
        if not self.problem.finite and dtype.kind == "f" and X.size:
            X.flat[self.rng.integers(X.size)] = self.problem.nonfinite
        self._X_given = X
        return X.astype(self.problem.dtype)

    def _targets(self):
        problem, shape = self.problem, (self.problem.rows, self.problem.sizes[-1])
        if problem.targets == "classes":
            return self.rng.integers(0, shape[1], shape[0])
        if problem.targets == "one_hot":
            return np.eye(shape[1])[self.rng.integers(0, shape[1], shape[0])].astype(problem.dtype)
        if problem.targets == "soft":
            y = self.rng.random(shape) + 1e-3
            return (y / y.sum(axis=1, keepdims=True) if shape[1] > 1 else y).astype(problem.dtype)
        if problem.loss[0] == "poisson":
            return self.rng.poisson(1.5, shape).astype(problem.dtype)
        if problem.loss[0] == "cross_entropy":
            return self.rng.integers(0, 2, shape).astype(problem.dtype)
        y = self.rng.integers(-3, 4, shape) if problem.whole else self.rng.standard_normal(shape)
        return y.astype(problem.dtype)

    def _weights(self):
        problem = self.problem
        if problem.weights is None:
            return None
        shape = (problem.rows, problem.sizes[-1])[: 2 if problem.weights == "outputs" else 1]
        c = self.rng.integers(0, 4, shape) if problem.whole else self.rng.random(shape) + 0.05
        c = (c * (self.rng.random(shape) < 0.75)).astype(problem.dtype)
        c.flat[0] = 1  # a mean needs a weight that is not 0
        return c

    @cached_property
    def X_given(self):
        """X as the caller has it: of any dtype, and anyhow in memory."""
        X, form = self._X_given, self.problem.x_form
        if form == "F":
            return np.asfortranarray(X)
        if form == "reversed":
            return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]
        if form in ("gaps", "padded rows"):
            step = 2 if form == "gaps" else 1
            wide = np.zeros((len(X) * step, X.shape[1] * step + 3), X.dtype)
            part = wide[::step, : X.shape[1] * step : step]
            part[...] = X
            return part
        if form == "swapped bytes":
            return X.astype(X.dtype.newbyteorder())
        return np.ascontiguousarray(X)

    @property
    def y_dense(self):
        """Targets (N, d(L)), class numbers as rows of 0 and 1."""
        if self.problem.targets != "classes":
            return self.y
        return np.eye(self.problem.sizes[-1])[self.y]

    @property
    def c_dense(self):
        """Weights (N, 1) or (N, d(L)), as float64."""
        c = np.ones(self.problem.rows) if self.c is None else self.c.astype(np.float64)
        return c[:, None] if c.ndim == 1 else c

    @property
    def dead(self):
        """(N, 1): the rows whose weights are all 0."""
        return (self.c_dense == 0).all(axis=1)[:, None]

    def count(self, rows=slice(None)):
        """Return the divisor of a mean: the sum of the weights, divided by d(L) for weights of outputs."""
        c = self.c_dense[rows]
        return float(c.sum()) / c.shape[1]
