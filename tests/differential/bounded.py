"""Arrays of float64 values, each with a bound on the error of the same value computed in some precision.

A running error analysis (Wilkinson; Higham, Accuracy and Stability of Numerical Algorithms, section 3.3). With u the
spacing of the numbers near 1, which is twice the unit roundoff, an operation adds to the errors of its operands

    a + b, a * b, f(a)    u times the magnitude of the result
    a @ b, sums           (n + 2) u times |a| @ |b|, n products long

so the error of each entry of a gradient is u times the sum of magnitudes that a worst-case analysis gives. The sums may
run in any order. The error of f(a) includes the change of f over the interval that a may lie in. If rounding may move a
unit to the other side of a kink, its error is the width of the jump.

An array whose values are whole multiples of a power of two, its `grid`, is exact as long as no partial sum of
magnitudes exceeds 2^24 (float64: 2^53) times that grid. The bound is 0 then, and results are compared bit for bit.
"""

from dataclasses import dataclass

import numpy as np

FINEST = 2.0**-12  # of the grids that are looked for


@dataclass(frozen=True)
class Precision:
    """The arithmetic whose errors are bounded."""

    dtype: str

    @property
    def u(self):
        return float(np.finfo(self.dtype).eps)

    @property
    def bits(self):
        return np.finfo(self.dtype).nmant + 1

    @property
    def least(self):
        return float(np.finfo(self.dtype).tiny)

    @property
    def most(self):
        return float(np.finfo(self.dtype).max)


def grid_of(values):
    """The largest power of two up to 1, and from `FINEST`, whose multiples all values are; 0 if there is none."""
    if not np.all(np.isfinite(values)):
        return 0.0
    grid = 1.0
    while grid >= FINEST:
        if np.all(np.mod(values, grid) == 0):
            return grid
        grid /= 2
    return 0.0


class Bounded:
    """Values, the bound on the error of each, and their grid. Supports +, -, *, /, @, indexing, sums."""

    __array_priority__ = 100

    def __init__(self, precision, value, error=0.0, grid=0.0):
        self.precision = precision
        self.value = np.asarray(value, dtype=np.float64)
        self.error = np.broadcast_to(np.asarray(error, dtype=np.float64), self.value.shape)
        self.grid = grid

    def rounded(self, value, error, gauge, grid=0.0, terms=1):
        """The result of an operation whose partial sums are at most `gauge`, in `terms` roundings."""
        p = self.precision
        exact = (gauge == 0) | ((grid > 0) & (gauge <= grid * 2.0**p.bits))
        error = error + np.where(exact, 0.0, terms * (p.u * gauge + p.least))
        error = np.where(np.isnan(error) | (np.abs(value) + error > p.most), np.inf, error)
        return Bounded(p, value, np.where(np.isfinite(value), error, 0.0), grid)

    def lift(self, other):
        """A number or an array without an error, as an operand."""
        if isinstance(other, Bounded):
            return other
        return Bounded(self.precision, other, 0.0, grid_of(other))

    def __add__(self, other):
        other = self.lift(other)
        value, gauge = self.value + other.value, np.abs(self.value) + np.abs(other.value)
        return self.rounded(value, self.error + other.error, gauge, min(self.grid, other.grid))

    def __neg__(self):
        return Bounded(self.precision, -self.value, self.error, self.grid)

    def __sub__(self, other):
        return self + (-self.lift(other))

    def __mul__(self, other):
        other = self.lift(other)
        a, b = np.abs(self.value), np.abs(other.value)
        error = a * other.error + self.error * (b + other.error)
        return self.rounded(self.value * other.value, error, a * b, self.grid * other.grid)

    def __truediv__(self, other):
        other = self.lift(other)
        value = self.value / other.value
        surely = np.abs(other.value) - other.error  # how far the divisor is from 0
        error = (self.error + np.abs(value) * other.error) / np.where(surely > 0, surely, np.nan)
        power_of_two = np.all(np.frexp(np.abs(other.value))[0] == 0.5) and not other.error.any()
        grid = self.grid / float(np.abs(other.value).max()) if power_of_two and other.value.size else 0.0
        return self.rounded(value, error, np.abs(value), grid)

    def __matmul__(self, other):
        other = self.lift(other)
        a, b = np.abs(self.value), np.abs(other.value)
        gauge, n = a @ b, self.value.shape[-1]
        error = a @ other.error + self.error @ (b + other.error)
        return self.rounded(self.value @ other.value, error, gauge, self.grid * other.grid, n + 2)

    def sum(self, axis=None, keepdims=False):
        along = {"axis": axis, "keepdims": keepdims}
        value, gauge = self.value.sum(**along), np.abs(self.value).sum(**along)
        terms = self.value.size // max(np.size(value), 1) + 2
        return self.rounded(value, self.error.sum(**along), gauge, self.grid, terms)

    @property
    def T(self):
        return Bounded(self.precision, self.value.T, self.error.T, self.grid)

    @property
    def shape(self):
        return self.value.shape

    def __getitem__(self, key):
        return Bounded(self.precision, self.value[key], self.error[key], self.grid)

    def reshape(self, *shape):
        return Bounded(self.precision, self.value.reshape(*shape), self.error.reshape(*shape), self.grid)

    def through(self, f, floor=0.0, roundings=8):
        """f of every value: a smooth function, computed to `roundings` u times its value plus `floor`."""
        value = f(self.value)
        low, high = f(self.value - self.error), f(self.value + self.error)
        change = np.maximum(np.abs(low - value), np.abs(high - value))
        error = 2 * change + self.error**2
        return self.rounded(value, error, np.abs(value) + floor, 0.0, roundings)

    def may_be(self, threshold):
        """Return whether rounding may move a value to the other side of the threshold, or onto it."""
        return (self.error > 0) & (np.abs(self.value - threshold) <= self.error)

    def zero_where(self, mask):
        """The same, with exact zeros where the mask is true."""
        value, error = np.where(mask, 0.0, self.value), np.where(mask, 0.0, self.error)
        return Bounded(self.precision, value, error, self.grid)

    def may_not_be(self, doubtful):
        """The same, without a bound if doubtful."""
        return Bounded(self.precision, self.value, np.inf if doubtful else self.error, self.grid)

    def choose(self, values, uncertain, width):
        """Values that a comparison has chosen, off by `width` where it is uncertain."""
        return Bounded(self.precision, values, np.where(uncertain, width, 0.0), grid_of(values))


def joined(parts):
    """All parts, flattened, as one vector."""
    flat = [part.reshape(-1) for part in parts]
    value, error = (np.concatenate([getattr(part, name) for part in flat]) for name in ("value", "error"))
    return Bounded(flat[0].precision, value, error, min(part.grid for part in flat))
