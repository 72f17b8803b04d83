"""The extreme eigenvalues of a Hessian, in bounded time."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ._descent import Vector

LARGE = 50  # above so many variables the extreme eigenvalues come from Lanczos' method
MOST_PRODUCTS, MOST_SECONDS = 2000, 30.0  # of the search for one of them


class Extremes(NamedTuple):
    """The extreme eigenvalues of a Hessian. If not `converged`, the true ones lie at these or beyond."""

    low: float
    high: float
    converged: bool = True


def extreme_eigenvalues(x: Vector, hess: Any, hessp: Any) -> Extremes:
    """Return the smallest and the largest eigenvalue of the Hessian at x; nan if it is not finite."""
    if (hess is None) == (hessp is None):
        raise TypeError("[classify_stationary_point] expected either hess or hessp")
    if hess is not None:
        matrix = np.asarray(hess(x) if callable(hess) else hess, dtype=np.float64)
        if matrix.shape != (x.size, x.size):
            raise ValueError(f"[classify_stationary_point] hess has shape {matrix.shape}, expected {(x.size, x.size)}")
    elif x.size <= LARGE:
        matrix = np.array([np.asarray(hessp(x, v), dtype=np.float64) for v in np.eye(x.size)])
    else:
        return _lanczos(lambda v: np.asarray(hessp(x, v.ravel()), dtype=np.float64), x.size)
    if not np.isfinite(matrix).all():
        return Extremes(np.nan, np.nan)
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return Extremes(float(eigenvalues[0]), float(eigenvalues[-1]))


class _ExhaustedError(Exception):
    """The limit on products or time is reached."""


class _Products:
    """Products with a symmetric matrix, up to a number and a time, and the range of their Rayleigh quotients."""

    def __init__(self, product: Callable[[Vector], Vector], quotient: float) -> None:
        self._product, self._deadline = product, time.monotonic() + MOST_SECONDS
        self.count, self.low, self.high = 0, quotient, quotient

    def __call__(self, v: Vector) -> Vector:
        if self.count >= MOST_PRODUCTS or time.monotonic() > self._deadline:
            raise _ExhaustedError
        self.count += 1
        found = self._product(v)
        quotient = float(np.vdot(v, found) / np.vdot(v, v))
        if not np.isfinite(quotient):
            self.low = self.high = np.nan
            raise _ExhaustedError
        self.low, self.high = min(self.low, quotient), max(self.high, quotient)
        return found


def _lanczos(product: Callable[[Vector], Vector], n: int) -> Extremes:
    start = np.random.default_rng(0).standard_normal(n)
    first = product(start)
    if not np.isfinite(first).all():
        return Extremes(np.nan, np.nan)
    if not first.any():
        return Extremes(0.0, 0.0)  # Lanczos' method cannot start here
    (low, low_is_exact), (high, high_is_exact) = (_extreme(product, start, first, end) for end in ("SA", "LA"))
    return Extremes(low, high, low_is_exact and high_is_exact)


def _extreme(product: Callable[[Vector], Vector], start: Vector, first: Vector, end: str) -> tuple[float, bool]:
    """Return the eigenvalue at one end and True, or the outermost Rayleigh quotient and False."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    products = _Products(product, float(np.vdot(start, first) / np.vdot(start, start)))
    operator = LinearOperator((start.size, start.size), matvec=lambda v: products(v.ravel()), dtype=np.float64)
    try:
        found = eigsh(operator, k=1, which=end, v0=start, tol=1e-8, return_eigenvectors=False)
    except (_ExhaustedError, ArpackError):  # a search that does not converge raises ArpackError
        return (products.low if end == "SA" else products.high), False
    return float(found[0]), True
