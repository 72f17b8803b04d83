"""The lecture in NumPy: forward pass, delta recursion, weight gradients, losses, steps.

Samples are rows. Lists run over the layers from 0: ``w[k]`` (d(l-1), d(l)), ``b[k]`` (d(l),), ``s[k]`` and
``deltas[k]`` (N, d(l)) belong to layer l = k + 1, and ``x[0]`` is the input: ``s[k] = x[k] @ w[k] + b[k]``.
``g`` is a list with one activation per layer: a name or a (name, parameter) pair. A number in round brackets,
(1) to (7), is an equation of the lecture. Arrays keep their dtype. All but ``gelu`` take complex arrays too,
so that a complex step can check derivatives: NumPy's maximum of complex numbers goes by the real part.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Sequence[NDArray[Any]]
Spec: TypeAlias = str | tuple[str, Any]
Specs: TypeAlias = Sequence[Spec]

_erfc = np.frompyfunc(math.erfc, 1, 1)


def _decay(s: Array) -> Any:
    return np.exp(np.minimum(s, -s))  # exp(-|s|), without overflow


def _logistic(s: Array) -> Any:
    e = _decay(s)
    return np.where(s.real < 0, e, 1.0) / (1.0 + e)


def _log1p_exp(s: Array) -> Any:
    return np.log1p(_decay(s))  # ln(1 + exp(-|s|))


def _normal_cdf(s: Array) -> Any:
    return 0.5 * np.asarray(_erfc(s / -math.sqrt(2.0)), dtype=s.dtype)


# name: g(s, a) and g'(s, x, a) with x = g(s), elementwise; a is the parameter of leaky_relu and elu.
ACTIVATIONS: dict[str, tuple[Callable[[Array, float], Any], Callable[[Array, Array, float], Any]]] = {
    "identity": (lambda s, a: s, lambda s, x, a: np.ones_like(x)),
    "logistic": (lambda s, a: _logistic(s), lambda s, x, a: x * (1.0 - x)),
    "tanh": (lambda s, a: np.tanh(s), lambda s, x, a: 1.0 - x * x),
    "relu": (lambda s, a: np.maximum(s, 0), lambda s, x, a: (x.real > 0).astype(x.dtype)),
    "leaky_relu": (lambda s, a: np.where(s.real < 0, a * s, s),
                   lambda s, x, a: np.where(x.real > 0, x.dtype.type(1), a)),
    "elu": (lambda s, a: np.where(s.real < 0, a * np.expm1(np.minimum(s, 0)), s),
            lambda s, x, a: np.where(s.real > 0, 1.0, a * np.exp(np.minimum(s, 0)))),
    "gelu": (lambda s, a: s * _normal_cdf(s),
             lambda s, x, a: _normal_cdf(s) + s * np.exp(-0.5 * s * s) / math.sqrt(2.0 * math.pi)),
    "silu": (lambda s, a: s * _logistic(s), lambda s, x, a: _logistic(s) * (1.0 + s * _logistic(-s))),
    "softplus": (lambda s, a: np.maximum(s, 0) + _log1p_exp(s), lambda s, x, a: -np.expm1(-x)),
    "sine": (lambda s, a: np.sin(s), lambda s, x, a: np.cos(s)),
    "exp": (lambda s, a: np.exp(s), lambda s, x, a: x),
}  # fmt: skip
_ACTIVATION_PARAMETERS = {**dict.fromkeys(ACTIVATIONS, 0.0), "softmax": 0.0, "leaky_relu": 0.01, "elu": 1.0}


def activation(spec: Spec) -> tuple[str, float]:
    """Name and parameter of an activation given as a name or as a (name, parameter) pair.

    >>> activation("leaky_relu"), activation(("elu", 0.5))
    (('leaky_relu', 0.01), ('elu', 0.5))
    """
    name, a = (spec, None) if isinstance(spec, str) else spec
    if name not in _ACTIVATION_PARAMETERS:
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(_ACTIVATION_PARAMETERS)}")
    return name, _ACTIVATION_PARAMETERS[name] if a is None else float(a)


def softmax(s: Array) -> Array:
    """exp(s_j) / sum_i exp(s_i) in each row of s (N, d), shifted by the row's maximum against overflow.

    >>> softmax(np.array([[1e4, 1e4, -1e4]]))
    array([[0.5, 0.5, 0. ]])
    """
    x: Array = s - s.max(axis=1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=1, keepdims=True)
    return x


def activate(spec: Spec, s: Array) -> Array:
    """Equation (2) for one layer: x = g(s), both (N, d).

    >>> activate("relu", np.array([[-1.0, 2.0]]))
    array([[0., 2.]])
    """
    name, a = activation(spec)
    return softmax(s) if name == "softmax" else ACTIVATIONS[name][0](s, a)


def _largest(x: Array) -> Array:
    columns: Array = x.real.argmax(axis=1)[:, None]  # of the largest output of each row
    return columns


def multiply_by_derivative(name: str, a: float, s: Array, x: Array, delta: Array) -> Array:
    """delta * g'(s), and for softmax each row of delta times the Jacobian; all are (N, d), x = g(s).

    >>> s = np.array([[0.0, 0.0]])
    >>> multiply_by_derivative("logistic", 0.0, s, activate("logistic", s), np.array([[1.0, 4.0]]))
    array([[0.25, 1.  ]])
    >>> multiply_by_derivative("softmax", 0.0, s, activate("softmax", s), np.array([[1.0, 4.0]]))
    array([[-0.75,  0.75]])
    """
    if name == "softmax":
        delta = delta - np.take_along_axis(delta, _largest(x), axis=1)  # keeps the digits of the next difference
        delta = x * (delta - (delta * x).sum(axis=1, keepdims=True))
    elif name != "identity":
        delta = delta * ACTIVATIONS[name][1](s, x, a)
    return delta


# The output layer. Near saturation 1 - x, x - y and x + a have no correct digits if they are computed from the rounded
# x, so they are computed from s.


def _residual(name: str, a: float, s: Array, x: Array, y: Array) -> Any:
    """Return x - y as (x - limit) - (y - limit), with the limit that x approaches, or 0 where g does not saturate."""
    limit: Any = 0.0
    if name == "logistic":
        limit, x = (s.real > 0).astype(y.dtype), np.where(s.real > 0, -_logistic(-s), x)
    elif name == "tanh":
        limit = np.sign(s.real) * (np.abs(x.real) > 0.5)
        x = np.where(limit == 0, x, -2.0 * limit * _logistic(-2.0 * s * np.sign(s.real)))
    elif name == "elu":
        limit, x = -a * (s.real < -1).astype(y.dtype), np.where(s.real < -1, a * np.exp(np.minimum(s, 0)), x)
    return x - (y - limit)


def _output_prime(name: str, a: float, s: Array, x: Array) -> Any:
    """g'(s)."""
    if name == "logistic":
        return _logistic(s) * _logistic(-s)
    if name == "tanh":
        return 4.0 * _logistic(2.0 * s) * _logistic(-2.0 * s)
    return ACTIVATIONS[name][1](s, x, a)


def _output_logarithm(name: str, s: Array, x: Array, prime: Array) -> tuple[Any, Any, Any]:
    """ln g(s), and its derivative as a numerator and a denominator: finite where x underflows."""
    if name == "exp":
        return s, 1.0, 1.0
    if name == "logistic":
        return np.minimum(s, 0) - _log1p_exp(s), _logistic(-s), 1.0
    if name != "softplus":
        return np.log(x), prime, x
    t = np.exp(np.minimum(s, 0))
    ratio = np.where(t == 0, 1.0, np.log1p(t) / np.where(t == 0, 1.0, t))  # ln(1 + t) / t
    below = s.real < 0
    return (np.where(below, s + np.log(ratio), np.log(x)), np.where(below, _logistic(-s), prime),
            np.where(below, ratio, x))  # fmt: skip


# loss: its term of e_n for one output and the derivative by x, functions of the residual r = x - y and the parameter p.
LOSSES: dict[str, tuple[Callable[[Array, Any], Any], Callable[[Array, Any], Any]]] = {
    "squared_error": (lambda r, p: 0.5 * r * r, lambda r, p: r),
    "huber": (lambda r, p: np.clip(r, -p, p) * (r - 0.5 * np.clip(r, -p, p)), lambda r, p: np.clip(r.real, -p, p)),
    "absolute_error": (lambda r, p: np.maximum(r, -r), lambda r, p: np.sign(r.real)),
    "pinball": (lambda r, p: np.maximum(-p * r, (1.0 - p) * r),
                lambda r, p: np.sign(r.real) * np.where(r.real > 0, 1.0 - p, p)),
}  # fmt: skip


def _poisson(x: Array, y: Array, log_x: Array) -> Any:
    """x - y + y ln(y / x) = y (exp(t) - 1 - t) with t = ln(x / y); inf for a negative rate."""
    counted = np.where(y > 0, y, 1)
    t = np.where(y > 0, log_x - np.log(counted), 0)
    near = np.maximum(y * (np.expm1(np.minimum(t, 1)) - t), 0)
    e = np.where(y > 0, np.where(np.abs(t.real) < 1, near, (x - y) - y * t), x)
    return np.where(x.real < 0, np.inf, e)


def _elementwise_loss(loss: str, p: Any, name: str, a: float, s: Array, x: Array, y: Array) -> tuple[Any, Any]:
    """e and de/ds of each output behind an elementwise g."""
    r = _residual(name, a, s, x, y)
    if loss == "cross_entropy":
        return np.where(s.real > 0, (1.0 - y) * s, np.where(y == 0, 0, -y * s)) + _log1p_exp(s), r
    prime = _output_prime(name, a, s, x)
    if loss != "poisson":
        return LOSSES[loss][0](r, p), LOSSES[loss][1](r, p) * prime
    log_x, numerator, denominator = _output_logarithm(name, s, x, prime)
    slope = np.where(y > 0, r * numerator / denominator, prime)
    return _poisson(x, y, log_x), np.where(x.real < 0, np.nan, slope)


def _softmax_loss(loss: str, p: Any, s: Array, x: Array, y: Array, c: Any) -> tuple[Any, Any]:
    """e of each output, and c de/ds = a (1 - x) - x (sum of the others' a), with a = c x de/dx."""
    largest = np.arange(x.shape[1]) == _largest(x)
    others = np.where(largest, 0, x).sum(axis=1, keepdims=True)
    r = np.where(largest & (x.real > 0.5), (1.0 - y) - others, x - y)
    s_max, x_max = (np.take_along_axis(m, _largest(x), axis=1) for m in (s, x))
    minus_log_x = s_max - s + np.log1p(others / x_max)
    if loss == "cross_entropy":
        e, terms = np.where(y == 0, 0, y * minus_log_x), -c * y
    elif loss == "poisson":
        e, terms = _poisson(x, y, -minus_log_x), c * r
    else:
        e, terms = LOSSES[loss][0](r, p), c * x * LOSSES[loss][1](r, p)
    rest = np.where(largest, 0, terms).sum(axis=1, keepdims=True)
    term_of_largest = np.where(largest, terms, 0).sum(axis=1, keepdims=True)
    mixed = np.where(largest, rest, term_of_largest + (rest - terms))
    return e, terms * np.where(largest, others, 1.0 - x) - x * mixed


_CLASSIFIERS = {"softmax", "logistic"}
_LOSS_PARAMETERS = {"huber": 1.0, "pinball": 0.5}
_name_and_parameter = activation  # for output_delta, where `activation` is the argument


def _targets(y: ArrayLike, name: str, x: Array) -> Array:
    y = np.asarray(y)
    if y.ndim == 1 and name == "softmax":
        classes, y = y, np.zeros(x.shape, dtype=x.real.dtype)
        y[np.arange(len(x)), classes] = 1
    y = y[:, None] if y.ndim == 1 else y
    if y.shape != x.shape:
        raise ValueError(f"y has shape {y.shape}, the output {x.shape}")
    return y.astype(x.real.dtype, copy=False)


def _total(terms: Array) -> Any:
    return terms.sum(dtype=np.result_type(terms.dtype, np.float64)).item()


def output_delta(
    loss: Spec, activation: Spec, s: Array, x: Array, y: ArrayLike, c: ArrayLike | None = None,
    scale: float = 1.0, parameter: ArrayLike | None = None,
) -> tuple[float, Array]:  # fmt: skip
    """Equation (3): the loss e = scale * sum_n c_n e_n, summed in float64, and delta(L) = de/ds(L).

    Parameters
    ----------
    loss : name, or (name, parameter); a name alone takes `parameter`, or the default.
    activation : the output activation, name or pair. cross_entropy needs softmax or logistic.
    s, x : (N, d), summed input and output of the last layer.
    y : (N, d); or (N,) where d = 1; or class numbers 0..d-1 (N,) for softmax.
    c : weights of the rows (N,) or of each of their outputs (N, d); None: all one.

    >>> s = np.array([[1e4]])
    >>> output_delta("cross_entropy", "logistic", s, activate("logistic", s), [[0.0]], c=[2.0])
    (20000.0, array([[2.]]))
    """
    name, p = (loss, parameter) if isinstance(loss, str) else loss
    g, a = _name_and_parameter(activation)
    if c is not None:
        c = np.asarray(c, dtype=x.real.dtype)
        c, y = c[:, None] if c.ndim == 1 else c, np.asarray(y)
        y = np.where((c == 0).all(axis=1) if y.ndim == 1 else c == 0, 0, y)  # a masked target may be anything
    y = _targets(y, g, x)
    if name not in {*LOSSES, "poisson", "cross_entropy"} or (name == "cross_entropy" and g not in _CLASSIFIERS):
        raise ValueError(f"no loss {name!r} behind {g!r}")
    p = np.asarray(_LOSS_PARAMETERS.get(name, 0.0) if p is None else p, dtype=y.dtype)
    seed = float(scale) * (1.0 if c is None else c)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # inf and nan are results here
        if g == "softmax":
            e, delta = _softmax_loss(name, p, s, x, y, seed)
        else:
            e, slope = _elementwise_loss(name, p, g, a, s, x, y)
            delta = seed * slope
    if c is not None:  # softmax couples the outputs of a row
        e = c * np.where(c == 0, 0, e)
        delta = np.where((c == 0).all(axis=1, keepdims=True) if g == "softmax" else c == 0, 0, delta)
    return float(scale) * _total(e), delta


def forward(w: Arrays, b: Arrays, X: Array, g: Specs) -> tuple[list[Array], list[Array]]:
    """Equations (1) and (2) for all layers: s (L arrays) and x (L + 1 arrays, x[0] is X of shape (N, d(0))).

    >>> s, x = forward([np.array([[1.0], [-1.0]])], [np.array([0.5])], np.array([[1.0, 2.0]]), ["relu"])
    >>> s[0], x[1]
    (array([[-0.5]]), array([[0.]]))
    """
    s, x = [], [np.asarray(X)]
    for w_l, b_l, g_l in zip(w, b, g, strict=True):
        s.append(x[-1] @ w_l + b_l)  # (1)
        x.append(activate(g_l, s[-1]))  # (2)
    return s, x


def delta_recursion(w: Arrays, s: Arrays, x: Arrays, g: Specs, delta: Array) -> list[Array]:
    """Equation (4) downwards: delta(1) .. delta(L), given s and x of `forward` and delta(L) (N, d(L)).

    >>> w, b, g = [np.array([[2.0]]), np.array([[3.0]])], [np.zeros(1), np.zeros(1)], ["relu", "identity"]
    >>> delta_recursion(w, *forward(w, b, np.array([[1.0]]), g), g, np.array([[5.0]]))
    [array([[15.]]), array([[5.]])]
    """
    deltas = [delta] * len(w)
    for k in range(len(w) - 1, 0, -1):
        deltas[k - 1] = multiply_by_derivative(*activation(g[k - 1]), s[k - 1], x[k], deltas[k] @ w[k].T)  # (4)
    return deltas


def weight_gradients(x: Arrays, deltas: Arrays) -> tuple[list[Array], list[Array]]:
    """Equations (5) and (6): de/dw(l) and de/db(l) of all layers, of the shapes of w and b.

    >>> weight_gradients([np.array([[1.0], [2.0]])], [np.array([[1.0], [10.0]])])
    ([array([[21.]])], [array([11.])])
    """
    weight_grads = [x[k].T @ deltas[k] for k in range(len(deltas))]  # (5)
    bias_grads = [delta.sum(axis=0) for delta in deltas]  # (6)
    return weight_grads, bias_grads


def input_grad(w: Arrays, deltas: Arrays) -> Array:
    """Equation (7): de/dx(0), of shape (N, d(0)).

    >>> input_grad([np.array([[2.0], [3.0]])], [np.array([[10.0]])])
    array([[20., 30.]])
    """
    grad_x: Array = deltas[0] @ w[0].T  # (7)
    return grad_x


def backpropagate(w: Arrays, s: Arrays, x: Arrays, g: Specs, delta: Array) -> tuple[list[Array], ...]:
    """The backward pass from delta(L) (N, d(L)): the lists weight_grads, bias_grads and deltas.

    >>> w, b, g = [np.array([[2.0]]), np.array([[3.0]])], [np.zeros(1), np.zeros(1)], ["relu", "identity"]
    >>> backpropagate(w, *forward(w, b, np.array([[5.0]]), g), g, np.array([[1.0]]))[0]
    [array([[15.]]), array([[10.]])]
    """
    deltas = delta_recursion(w, s, x, g, delta)
    return *weight_gradients(x, deltas), deltas


def _add_penalty(w: Arrays, weight_grads: Arrays, l2: float, l1: float) -> Any:
    if not (l2 or l1):
        return 0.0
    for w_l, grad_w in zip(w, weight_grads, strict=True):
        grad_w += l2 * w_l + l1 * np.sign(w_l.real)
    return sum(0.5 * l2 * _total(w_l * w_l) + l1 * _total(np.maximum(w_l, -w_l)) for w_l in w)


def _count(X: Array, c: Array | None) -> float:
    return len(X) if c is None else float(_total(c)) / (c.shape[1] if c.ndim == 2 else 1)


def value_and_grad(
    w: Arrays, b: Arrays, X: Array, y: ArrayLike, g: Specs, loss: Spec,
    sample_weight: ArrayLike | None = None, reduction: str = "mean", l2: float = 0.0, l1: float = 0.0,
) -> tuple[float, list[Array], list[Array]]:  # fmt: skip
    """Value of the objective and its gradients: (value, weight_grads, bias_grads).

    It is sum c_n e_n / sum c_n + l2/2 sum w^2 + l1 sum |w|, with c = `sample_weight`, (N,) or (N, d(L)): then
    divided by sum c / d(L). For ``reduction="sum"`` it is sum c_n e_n, without penalties. A row of weight 0 adds
    exactly 0, even if its X or y is nan.

    >>> w, b, X, y = [np.array([[2.0]])], [np.zeros(1)], np.array([[1.0], [2.0]]), np.array([1.0, 1.0])
    >>> value_and_grad(w, b, X, y, ["identity"], "squared_error", l2=1.0)
    (4.5, [array([[5.5]])], [array([2.])])
    """
    c = None if sample_weight is None else np.asarray(sample_weight)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is 'mean' or 'sum', not {reduction!r}")
    count = _count(X, c) if reduction == "mean" else 1.0
    if count == 0:
        raise ValueError("the mean over rows whose weights add up to 0 is not defined")
    if c is not None:
        X = np.where((c == 0).reshape(len(c), -1).all(axis=1, keepdims=True), 0, X)
    s, x = forward(w, b, X, g)
    value, delta = output_delta(loss, g[-1], s[-1], x[-1], y, c, 1.0 / count)
    weight_grads, bias_grads, _ = backpropagate(w, s, x, g, delta)
    if reduction == "mean":
        value += _add_penalty(w, weight_grads, l2, l1)
    return value, weight_grads, bias_grads


def sgd_step(
    params: Arrays, grads: Arrays, state: dict[str, Any], lr: float, momentum: float = 0.0,
    dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
) -> None:  # fmt: skip
    """One step of gradient descent in place, with the formulas of torch.optim.SGD; `state` starts as {}.

    >>> p = np.array([1.0])
    >>> sgd_step([p], [np.array([2.0])], {}, lr=0.25)
    >>> p
    array([0.5])
    """
    first = "momentum_buffer" not in state
    if momentum and first:
        state["momentum_buffer"] = [np.zeros_like(p) for p in params]
    for k, (p, grad) in enumerate(zip(params, grads, strict=True)):
        direction = grad + weight_decay * p if weight_decay else grad
        if momentum:
            m = state["momentum_buffer"][k]
            m *= momentum
            m += direction if first else (1.0 - dampening) * direction
            direction = direction + momentum * m if nesterov else m
        p -= lr * direction


def adam_step(
    params: Arrays, grads: Arrays, state: dict[str, Any], lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0,
) -> None:  # fmt: skip
    """One step of Adam in place, with the formulas of torch.optim.Adam; `state` starts as {}.

    >>> p = np.array([1.0])
    >>> adam_step([p], [np.array([2.0])], {}, lr=0.5, eps=0.0)
    >>> p
    array([0.5])
    """
    t = state["step"] = state.get("step", 0) + 1
    if t == 1:
        state.update({key: [np.zeros_like(p) for p in params] for key in ("exp_avg", "exp_avg_sq")})
    for p, grad, m, v in zip(params, grads, state["exp_avg"], state["exp_avg_sq"], strict=True):
        direction = grad + weight_decay * p if weight_decay else grad
        m += (1.0 - betas[0]) * (direction - m)
        v *= betas[1]
        v += (1.0 - betas[1]) * direction * direction
        root = np.sqrt(v) / math.sqrt(1.0 - betas[1] ** t) + eps
        p -= lr / (1.0 - betas[0] ** t) * np.divide(m, root, out=np.zeros_like(m), where=root != 0)


def flatten(w: Arrays, b: Arrays) -> Array:
    """w(1) b(1) w(2) b(2) .. as one new array (P,), each row-major.

    >>> flatten([np.array([[1, 2], [3, 4]])], [np.array([5, 6])])
    array([1, 2, 3, 4, 5, 6])
    """
    return np.concatenate([part.ravel() for layer in zip(w, b, strict=True) for part in layer])


def views(params: Array, layer_sizes: Sequence[int]) -> tuple[list[Array], list[Array]]:
    """w and b as views of `params` (P,), the inverse of `flatten`; `layer_sizes` is d(0) .. d(L).

    >>> views(np.array([1, 2, 3, 4]), (1, 2))
    ([array([[1, 2]])], [array([3, 4])])
    """
    w, b, start = [], [], 0
    for d_in, d_out in pairwise(layer_sizes):
        middle = start + d_in * d_out
        w.append(params[start:middle].reshape(d_in, d_out))
        start = middle + d_out
        b.append(params[middle:start])
    if start != params.size:
        raise ValueError(f"params has {params.size} numbers, layer sizes {tuple(layer_sizes)} need {start}")
    return w, b


def train(
    w: Arrays, b: Arrays, X: Array, y: ArrayLike, g: Specs, loss: Spec, orders: Iterable[Array],
    step: Callable[[list[Array], list[Array]], None], batch_size: int | None,
    sample_weight: ArrayLike | None = None, l2: float = 0.0, l1: float = 0.0,
) -> list[float]:  # fmt: skip
    """Train in place, one epoch per row order in `orders`; return each epoch's mean loss, without penalties.

    A mini-batch is the next `batch_size` rows of the order (None: all); its loss is taken before its step.
    ``step(params, grads)`` gets the lists w(1) b(1) .. w(L) b(L) and their gradients, and changes params in
    place. A mini-batch whose weights add up to 0 makes no step.

    >>> w, b, X, y = [np.zeros((1, 1))], [np.zeros(1)], np.array([[1.0], [2.0]]), np.array([2.0, 4.0])
    >>> step = lambda params, grads: sgd_step(params, grads, {}, lr=0.25)
    >>> train(w, b, X, y, ["identity"], "squared_error", [np.arange(2)] * 2, step, batch_size=1)
    [2.5625, 0.191650390625]
    """
    X, y = np.asarray(X), np.asarray(y)
    c = None if sample_weight is None else np.asarray(sample_weight)
    params = [part for layer in zip(w, b, strict=True) for part in layer]
    losses = []
    for order in orders:
        loss_sum = count_sum = 0.0
        for start in range(0, len(order), batch_size or len(order)):
            rows = order[start : start + (batch_size or len(order))]
            c_rows = None if c is None else c[rows]
            count = _count(rows, c_rows)
            if count == 0:
                continue
            value, weight_grads, bias_grads = value_and_grad(w, b, X[rows], y[rows], g, loss, c_rows)
            loss_sum += value * count
            count_sum += count
            _add_penalty(w, weight_grads, l2, l1)
            step(params, [part for layer in zip(weight_grads, bias_grads, strict=True) for part in layer])
        losses.append(loss_sum / count_sum if count_sum else math.nan)
    return losses
