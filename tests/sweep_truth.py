"""The exact losses of the output layer and their derivatives by the summed input, in 50 digits, with error bounds.

The definitions are those of cpp/NOTATION.md. Every quantity is that of the real function at the given s, not at a
rounded x. A bound is C eps times the sum of the magnitudes that the exact formula adds, plus a few of the smallest
subnormal number where an intermediate result may underflow.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import mpmath
import numpy as np

mp = mpmath.MPContext()  # not the shared context: other tests set its precision
mp.dps = 50
mpf = mp.mpf

C = 8  # units of eps by which a term may be wrong
GELU = 8  # additional units of eps by which the density exp(-s^2 / 2) may be wrong, per unit of s^2
SUBNORMALS = 4  # how many times the smallest subnormal number underflow may cost, per term
HUBER, PINBALL = 1.5, 0.25  # exact in float32

ACTIVATIONS = {
    "identity": "identity", "logistic": "logistic", "tanh": "tanh", "relu": "relu",
    "leaky_relu": ("leaky_relu", 0.25), "elu": ("elu", 1.0), "elu_half": ("elu", 0.5), "gelu": "gelu", "silu": "silu",
    "softplus": "softplus", "sine": "sine", "exp": "exp",
}  # fmt: skip
EXACT = {"identity", "relu"}  # x is not rounded, so rounding never decides the side of a kink
ROUNDED_NEAR_ZERO = {"leaky_relu", "elu", "elu_half", "gelu", "silu", "tanh", "sine"}  # x underflows on its way to 0
FROM_S = {("poisson", "exp"), ("cross_entropy", "logistic")}  # g' cancels: the Gauss-Newton product is the Hessian's


class Format:
    """The limits of a dtype."""

    def __init__(self, dtype):
        info = np.finfo(dtype)
        self.eps, self.largest = float(info.eps), float(info.max)
        self.normal, self.subnormal = float(info.smallest_normal), float(info.smallest_subnormal)
        self.relative = 1e-6 if dtype == "float32" else 1e-13  # the error that the cross entropy may have


def summed_inputs(dtype):
    """Return about 300 sorted values of s from -1e4 to 1e4, all exact in the dtype."""
    info = np.finfo(dtype)
    steps = (-2, -0.5, -1 / 16, 0, 1e-3, 0.5, 1)
    around = [c + d for c in (17, 37, 80, 88.5, 104, 745) for d in steps]
    around += [np.pi / 2, np.pi, 100 * np.pi, np.sqrt(2), 0.7517915]  # zeros of sine, cosine, gelu'' and gelu'
    grid = np.concatenate([
        around, np.geomspace(1e-8, 1e4, 61), np.geomspace(1e-44, 1e-9, 13), np.arange(0.5, 8, 0.5),
        [info.smallest_subnormal, 3 * info.smallest_subnormal, info.smallest_normal, info.smallest_normal / 8],
    ]).astype(dtype)  # fmt: skip
    grid = np.concatenate([grid, [np.nextafter(g, np.inf, dtype=dtype) for g in grid[: len(around) : 4]]])
    s = np.unique(np.concatenate([-grid, grid, [0.0]]).astype(dtype))
    assert len(s) >= 200
    assert (s[0], s[-1]) == (-1e4, 1e4)
    at_zero = np.searchsorted(s, 0)
    return np.insert(s, at_zero, -0.0)


@dataclass(frozen=True)
class Output:
    """One output: x = limit + rest with an exact limit, g' and g'', and the magnitudes of the terms of all three."""

    x: object
    limit: float
    rest: object
    prime: object
    second: object
    of_x: object
    of_prime: object
    of_second: object
    underflow: object  # what a subnormal factor is multiplied by

    def residual(self, y):
        """Return x - y without cancellation at saturation."""
        return self.rest + (mpf(self.limit) - y)

    @cached_property
    def log_x(self):
        return mp.log(self.x)

    @cached_property
    def squares(self):
        return self.prime**2, self.of_prime**2

    @cached_property
    def ratios(self):
        """g' / x and g'' / x, which stay finite when x underflows, and the magnitudes of their terms."""
        return [term / self.x for term in (self.prime, self.second, self.of_prime, self.of_second)]


@cache
def log(y):
    """Return ln y for y > 0."""
    return mp.log(y)


@cache
def minus_logs(s):
    """Return -ln x and -ln(1 - x) for x = logistic(s)."""
    return mp.log1p(mp.exp(-mpf(s))), mp.log1p(mp.exp(mpf(s)))


@cache
def output(name, s):
    """Evaluate the activation `name` at the float s."""
    t = mpf(s)
    x, limit, rest, prime, second, *terms = FORMULAS[name](t, s)
    x = limit + rest if x is None else x
    of_x, of_prime, of_second = terms or (x, prime, second)
    underflow = 2 + t * t if name == "gelu" else 2 + abs(t) if name == "silu" else mpf(1)
    return Output(x, limit, rest, prime, second, abs(of_x), abs(of_prime), abs(of_second), underflow)


def _logistic(t, s):
    p, q = 1 / (1 + mp.exp(-t)), 1 / (1 + mp.exp(t))
    return p, 0.0 if s < 0 else 1.0, p if s < 0 else -q, p * q, p * q * (q - p), p, p * q, p * q


def _tanh(t, s):
    tail = 2 / (1 + mp.exp(2 * abs(t)))  # 1 - |x|
    sign = -1 if s < 0 else 1
    x = mp.tanh(t)
    limit, rest = (0.0, x) if abs(s) < 0.5 else (float(sign), -sign * tail)
    prime = tail * (2 - tail)
    return x, limit, rest, prime, -2 * x * prime


def _elu(a):
    def g(t, s):
        if s > 0:
            return t, s, mpf(0), mpf(1), mpf(0)
        e = a * mp.exp(t)
        return (None, -a, e, e, e) if s < -0.5 else (a * mp.expm1(t), 0.0, a * mp.expm1(t), e, e)

    return g


def _gelu(t, s):
    below, above = mp.erfc(-t / mp.sqrt(2)) / 2, mp.erfc(t / mp.sqrt(2)) / 2
    density = mp.exp(-t * t / 2) / mp.sqrt(2 * mp.pi)
    loss = 1 + GELU * t * t / C if s < 0 else mpf(1)
    of_density = (1 + GELU * t * t / C) * density
    limit, rest = (0.0, t * below) if s < 0 else (s, -t * above)
    prime, second = below + t * density, density * (2 - t * t)
    return (t * below, limit, rest, prime, second,
            t * below * loss, below * loss + abs(t) * of_density, of_density * (2 + t * t))  # fmt: skip


def _silu(t, s):
    p, q = 1 / (1 + mp.exp(-t)), 1 / (1 + mp.exp(t))
    limit, rest = (0.0, t * p) if s < 0 else (s, -t * q)
    prime, second = p * (1 + t * q), p * q * (2 + t * (q - p))
    return t * p, limit, rest, prime, second, t * p, p * (1 + abs(t) * q), p * q * (2 + abs(t))


def _softplus(t, s):
    p, q = 1 / (1 + mp.exp(-t)), 1 / (1 + mp.exp(t))
    rest = mp.log1p(mp.exp(-abs(t)))
    x = max(s, 0.0) + rest
    return x, max(s, 0.0), rest, p, p * q, x, p, p * q * (1 + min(x, 40) / C)  # g'' may come from a rounded x


FORMULAS = {
    "identity": lambda t, s: (t, s, mpf(0), mpf(1), mpf(0)),
    "logistic": _logistic,
    "tanh": _tanh,
    "relu": lambda t, s: (max(t, mpf(0)), max(s, 0.0), mpf(0), mpf(s > 0), mpf(0)),
    "leaky_relu": lambda t, s: (t, s, mpf(0), mpf(1), mpf(0)) if s > 0 else (t / 4, s / 4, mpf(0), mpf(0.25), mpf(0)),
    "elu": _elu(1.0),
    "elu_half": _elu(0.5),
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "sine": lambda t, s: (mp.sin(t), 0.0, mp.sin(t), mp.cos(t), -mp.sin(t)),
    "exp": lambda t, s: (mp.exp(t), 0.0, mp.exp(t), mp.exp(t), mp.exp(t)),
}
NAN = float("nan")
FREE = ((NAN,), 0.0)  # no statement: the loss is infinite


@dataclass(frozen=True)
class Loss:
    """A loss at one x: e, e', e'', the magnitudes of their terms, and (e', e'') beyond a kink in reach of rounding."""

    value: object
    value_bound: object
    prime: object
    second: object
    of_prime: object
    of_second: object
    beyond: tuple = ()


def loss_of_residual(loss, of_x, r, y, form, underflow=1, exact=False, hard=False):
    """Evaluate a loss that is a function of r = x - y. With `hard`, r must be right to a few eps of itself."""
    terms = abs(r) if hard else of_x + abs(y)
    error = C * form.eps * terms + (0 if exact else SUBNORMALS * form.subnormal * underflow)
    kink, beyond = not exact and abs(r) <= error, ()
    if loss == "squared_error":
        value, prime, second, of_prime, of_second = r * r / 2, r, 1, terms, 1
    elif loss == "huber":
        inside = abs(r) <= HUBER
        at_kink = abs(abs(r) - HUBER) <= error and not (exact and abs(r) == HUBER)
        value = r * r / 2 if inside else HUBER * (abs(r) - mpf(HUBER) / 2)
        prime, second = (r if inside else mp.sign(r) * HUBER), int(inside)
        of_prime, of_second = (terms if inside or at_kink else HUBER), second
        beyond = ((prime, 1 - second),) if at_kink else ()
    elif loss == "absolute_error":
        value, prime, second = abs(r), mpf(mp.sign(r)), 0
        of_prime, of_second = 1, 0
        beyond = ((-1, 0), (0, 0), (1, 0)) if kink else ()
    else:
        value = max(-PINBALL * r, (1 - PINBALL) * r)
        prime, second = mpf((r > 0) - PINBALL if r != 0 else 0), 0
        of_prime, of_second = abs(prime), 0
        beyond = ((-PINBALL, 0), (0, 0), (1 - PINBALL, 0)) if kink else ()
    bound = abs(prime) * error + error * error / 2 + (error if kink else 0) + C * form.eps * value
    return Loss(value, bound, prime, second, of_prime, of_second, beyond)


def as_floats(part):
    """Round the truths and the bound of one quantity."""
    options, bound = part
    return tuple(float(t) for t in options), float(bound)


def elementwise(loss, name, s, y, form):
    """Return value, delta, hvp and gnvp of one output, each as a pair (admissible truths, error bound)."""
    return tuple(as_floats(part) for part in _elementwise(loss, name, s, y, form))


def _elementwise(loss, name, s, y, form):
    o, y = output(name, s), mpf(y)
    if loss == "cross_entropy":
        return binary_cross_entropy(o, s, y, form)
    if loss == "poisson":
        return poisson(name, o, y, form)
    saturated = (name == "logistic" and y in (0, 1)) or (name == "tanh" and y in (-1, 1))
    hard = saturated and loss in ("squared_error", "huber")
    e = loss_of_residual(loss, o.of_x, o.residual(y), y, form, o.underflow, name in EXACT, hard)
    tail = SUBNORMALS * form.subnormal * o.underflow * (1 + abs(e.prime) + e.of_second * o.of_prime)
    if o.x > 0.999 * form.largest:
        return ((e.value, mp.inf), e.value_bound), FREE, FREE, FREE
    pairs = ((e.prime, e.second), *e.beyond)
    square, of_square = o.squares
    of_square = of_square * max(second for _, second in pairs)
    return (
        ((e.value,), e.value_bound),
        ([p * o.prime for p, _ in pairs], C * form.eps * e.of_prime * o.of_prime + tail),
        ([q * square + p * o.second for p, q in pairs],
         C * form.eps * (of_square + e.of_prime * o.of_second) + tail),
        ([q * square for _, q in pairs], C * form.eps * of_square + tail),
    )  # fmt: skip


def poisson(name, o, y, form):
    """Evaluate x - y + y ln(y / x) by ratios such as g' / x, which stay finite when x underflows."""
    inf, tail = float("inf"), SUBNORMALS * form.subnormal * o.underflow
    near = tail if name in ROUNDED_NEAR_ZERO else 0
    if o.x < 0:  # a negative rate; a count of 0 costs nothing if rounding makes the rate 0
        return ((inf, 0.0) if -near <= o.x and y == 0 else (inf,), near), FREE, FREE, FREE
    if o.x > 0.999 * form.largest:
        return ((inf,), 0.0), FREE, FREE, FREE
    if o.x <= near and y > 0:
        return ((inf,), 0.0) if o.x == 0 else FREE, FREE, FREE, FREE
    unit = C * form.eps
    if y == 0:
        value, delta = ((o.x,), unit * o.of_x + tail), ((o.prime,), unit * o.of_prime + tail)
        curvature = (o.second,), unit * o.of_second + tail
        return value, delta, curvature, curvature if name == "exp" else ((0.0,), tail)
    log_x, log_y = o.log_x, log(y)
    loss = o.of_x / o.x + near / (unit * o.x)  # how many times C eps the relative error of x may be
    value, of_value = o.x - y + y * (log_y - log_x), o.of_x + y * (loss + abs(log_x) + abs(log_y))
    value = (value,), unit * of_value + tail
    if name == "exp":  # taken from s: e = x - y + y (ln y - s)
        curvature = (o.x,), unit * o.x + tail
        return value, ((o.x - y,), unit * (o.x + y) + tail), curvature, curvature
    ratio, curve, of_ratio, of_curve = o.ratios
    tail *= 1 + y  # g' / x may underflow before y multiplies it
    square, of_square = y * ratio**2, y * (of_ratio * loss) ** 2
    of_curvature = of_square + o.of_second + y * of_curve * loss
    return (
        value,
        ((o.prime - y * ratio,), unit * (o.of_prime + y * of_ratio * loss) + tail),
        ((square + o.second - y * curve,), unit * of_curvature + tail),
        ((square,), unit * of_square + tail),
    )


def relative_bound(size, s, form):
    """Return the bound of a relative error; underflow may add to it outside [-80, 80] and for subnormal numbers."""
    loose = abs(s) > 80 or size < form.normal
    return form.relative * size + (SUBNORMALS * form.subnormal if loose else 0)


def binary_cross_entropy(o, s, y, form):
    """Evaluate -(y ln x + (1 - y) ln(1 - x)) for x = logistic(s)."""
    of_x, of_rest = minus_logs(s)
    value = y * of_x + (1 - y) * of_rest
    delta = o.residual(y)
    size = abs(delta) if y in (0, 1) else max(o.x, y)
    curve = ((o.prime,), relative_bound(o.prime, s, form))
    value_bound = C * form.eps * value + SUBNORMALS * form.subnormal
    return ((value,), value_bound), ((delta,), relative_bound(size, s, form)), curve, curve
