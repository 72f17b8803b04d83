"""Activations and losses with two derivatives, as functions of `Bounded` arrays."""

import numpy as np
from scipy import special

from differential.bounded import Bounded, grid_of

SQRT_2_PI = np.sqrt(2 * np.pi)


def logistic(s):
    return special.expit(s)


def density(s):
    return np.exp(-0.5 * s * s) / SQRT_2_PI


def gelu_prime(s):
    return special.ndtr(s) + s * density(s)


def silu_prime(s):
    return logistic(s) * (1 + s * logistic(-s))


def silu_second(s):
    p = logistic(s)
    return p * (1 - p) * (2 + s * (1 - 2 * p))


# name: g, g', g'' of s and the parameter a
SMOOTH = {
    "logistic": (lambda s, a: logistic(s), lambda s, a: logistic(s) * logistic(-s),
                 lambda s, a: logistic(s) * logistic(-s) * (logistic(-s) - logistic(s))),
    "tanh": (lambda s, a: np.tanh(s), lambda s, a: np.cosh(np.clip(s, -400, 400)) ** -2.0,
             lambda s, a: -2 * np.tanh(s) * np.cosh(np.clip(s, -400, 400)) ** -2.0),
    "gelu": (lambda s, a: np.where(s < -1e3, 0, s) * special.ndtr(s), lambda s, a: gelu_prime(np.clip(s, -1e3, 1e3)),
             lambda s, a: density(s) * (2 - s * s)),
    "silu": (lambda s, a: np.where(s < -1e3, 0, s) * logistic(s), lambda s, a: silu_prime(np.clip(s, -1e3, 1e3)),
             lambda s, a: silu_second(s)),
    "softplus": (lambda s, a: np.logaddexp(0, s), lambda s, a: logistic(s), lambda s, a: logistic(s) * logistic(-s)),
    "sine": (lambda s, a: np.sin(s), lambda s, a: np.cos(s), lambda s, a: -np.sin(s)),
    "exp": (lambda s, a: np.exp(s), lambda s, a: np.exp(s), lambda s, a: np.exp(s)),
    "elu": (lambda s, a: np.where(s < 0, a * np.expm1(np.minimum(s, 0)), s),
            lambda s, a: np.where(s > 0, 1.0, a * np.exp(np.minimum(s, 0))),
            lambda s, a: np.where(s > 0, 0.0, a * np.exp(np.minimum(s, 0)))),
}  # fmt: skip
LINEAR_PIECES = {"identity": 1.0, "relu": 0.0, "leaky_relu": None}  # the slope below 0; None: the parameter


def activate(spec, s):
    """Equation (2)."""
    name, a = spec
    if name == "softmax":
        return softmax(s)
    if name not in LINEAR_PIECES:
        return s.through(lambda v: SMOOTH[name][0](v, a), floor=np.abs(s.value) if name == "gelu" else 0.0)
    slope = a if LINEAR_PIECES[name] is None else LINEAR_PIECES[name]
    if slope == 1.0:
        return s
    below = slope * s.value if slope else np.zeros(s.shape)  # 0 times -inf is no number
    value = np.where(s.value < 0, below, s.value)
    error = s.error * np.where(s.value > s.error, 1.0, np.where(s.value < -s.error, slope, max(1.0, slope)))
    return s.rounded(value, error, np.where(s.value < 0, np.abs(value), 0.0), s.grid * min(grid_of(slope) or 1.0, 1.0))


def softmax(s):
    shifted = s.value - s.value.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    x = e / e.sum(axis=1, keepdims=True)
    relative = s.error + (x * s.error).sum(axis=1, keepdims=True)
    error = np.minimum(x * np.expm1(np.minimum(2 * relative, 700)), 1.0)
    return s.rounded(x, error, x * (np.abs(shifted) + s.shape[1] + 8))


def slope(spec, s):
    """g'(s); every smooth one to an absolute error, since some are computed from x = g(s)."""
    name, a = spec
    if name in LINEAR_PIECES:
        below = a if LINEAR_PIECES[name] is None else LINEAR_PIECES[name]
        return s.choose(np.where(s.value > 0, 1.0, below), s.may_be(0.0), abs(1.0 - below))
    return s.through(lambda v: SMOOTH[name][1](v, a), floor=1.0 + abs(a) + silu_floor(name, s))


def silu_floor(name, s):
    """silu's derivatives multiply s by 1 - logistic(s), which is known to u alone where logistic(s) is nearly 1."""
    return np.abs(s.value) if name == "silu" else 0.0


def curvature(spec, s):
    """g''(s)."""
    name, a = spec
    if name in LINEAR_PIECES:
        return s.choose(np.zeros(s.shape), False, 0.0)
    return s.through(lambda v: SMOOTH[name][2](v, a), floor=2.0 + abs(a) + silu_floor(name, s))


def times_jacobian(x, delta):
    """Each row of delta times the Jacobian of softmax, which is symmetric."""
    return x * (delta - (delta * x).sum(axis=1, keepdims=True))


def logistic_cross_entropy(s, y):
    """max(s, 0) - y s + ln(1 + exp(-|s|)), where 0 times infinity is 0."""
    linear = np.where(s > 0, (1 - y) * np.where(y == 1, 0, s), -y * np.where(y == 0, 0, s))
    return np.where(np.isnan(s), s, linear + np.log1p(np.exp(-np.abs(s))))


def y_log(y, ratio):
    return np.where(y == 0, 0.0, y * np.log(np.where(y == 0, 1.0, ratio)))


def loss_terms(loss, s, x, y, logits):
    """The terms of e_n (N, d). `logits`: the loss is taken from s, its activation's name; else None."""
    name, p = loss
    if name == "cross_entropy" and logits == "softmax":
        top = s.value.max(axis=1, keepdims=True)
        value = y * (top - s.value + np.log(np.exp(s.value - top).sum(axis=1, keepdims=True)))
        error = y * (s.error + s.error.max(axis=1, keepdims=True)) * 2
        return s.rounded(value, error, y * (np.abs(top - s.value) + s.shape[1] + 8), 0.0, 4)
    if name == "cross_entropy":
        return s.through(lambda v: logistic_cross_entropy(v, y), floor=np.abs(s.value) + 1)
    if name == "poisson" and logits == "exp":
        floor = np.exp(s.value) + y * (np.abs(s.value) + 4)
        return s.through(lambda v: np.exp(v) - y + y_log(y, y) - y * np.where(y == 0, 0, v), floor=floor)
    if name == "poisson":
        return x.through(lambda v: v - y + y_log(y, y / v), floor=np.abs(x.value) + 4 * y)
    r = x - y
    if name == "squared_error":
        return r * r * 0.5
    if name == "huber":
        bounded = clipped(r, p)
        return bounded * (r - bounded * 0.5)
    if name == "absolute_error":
        return Bounded(r.precision, np.abs(r.value), r.error, r.grid)
    above = np.where(r.value > 0, 1.0 - p, -p)
    return r.rounded(above * r.value, r.error * max(p, 1 - p), np.abs(above * r.value), r.grid * grid_of([p]))


def clipped(r, limit):
    return Bounded(r.precision, np.clip(r.value, -limit, limit), r.error, min(r.grid, grid_of(limit)))


def loss_slope(loss, x, y):
    """de_n/dx, elementwise."""
    name, p = loss
    if name == "poisson":
        return x.through(lambda v: 1 - y / v, floor=1 + y / np.abs(x.value))
    r = x - y
    if name == "squared_error":
        return r
    if name == "huber":
        return clipped(r, p)
    up, down = (1.0, 1.0) if name == "absolute_error" else (1.0 - p, p)
    return r.choose(np.where(r.value > 0, up, np.where(r.value < 0, -down, r.value)), r.may_be(0.0), up + down)


def loss_curvature(loss, x, y):
    """d2e_n/dx2, elementwise."""
    name, p = loss
    if name == "poisson":
        return x.through(lambda v: y / (v * v))
    r = x - y
    if name == "squared_error":
        return r.choose(np.ones(r.shape), False, 0.0)
    if name == "huber":
        inside = np.where(np.abs(r.value) <= p, 1.0, 0.0)
        return r.choose(inside, r.may_be(p) | r.may_be(-p), 1.0)
    return r.choose(np.zeros(r.shape), False, 0.0)
