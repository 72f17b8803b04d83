"""Stationary points and convexity."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._descent import Function, Vector

LARGE = 50  # above so many variables the extreme eigenvalues come from Lanczos' method


class StationaryPoint(NamedTuple):
    """What `classify_stationary_point` returns."""

    kind: str
    eigenvalues: tuple[float, float]


def classify_stationary_point(
    x: ArrayLike,
    *,
    jac: Function | None = None,
    hess: Function | ArrayLike | None = None,
    hessp: Callable[[Vector, Vector], ArrayLike] | None = None,
    tol: float = 1e-6,
) -> StationaryPoint:
    """What kind of stationary point x is: "minimum", "maximum", "saddle" or "degenerate"; and the extreme eigenvalues.

    By the signs of the Hessian's smallest and largest eigenvalue, Lanczos' from SciPy where there are many variables.
    "degenerate": one of them is 0 as far as can be told, and the second derivative decides nothing.

    Parameters
    ----------
    x : array_like (n,)
    jac : callable, optional
        The gradient: an x where it is not 0, measured against the curvature, is refused.
    hess : callable or array_like (n, n)
        The Hessian at x, or a function that gives it.
    hessp : callable
        ``hessp(x, v)``, instead.
    tol : float
        What counts as 0, relative to the largest eigenvalue.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.optimize.classify_stationary_point([0.0, 0.0], hess=[[2.0, 0.0], [0.0, -1.0]])
    StationaryPoint(kind='saddle', eigenvalues=(-1.0, 2.0))
    """
    at = np.array(x, dtype=np.float64)
    low, high = extreme_eigenvalues(at, hess, hessp)
    size = max(abs(low), abs(high))
    if jac is not None:
        length = float(np.linalg.norm(np.asarray(jac(at), dtype=np.float64)))
        if length > np.sqrt(tol) * max(size, 1.0):
            raise ValueError(f"[classify_stationary_point] the gradient at x has length {length:.3g}, expected 0")
    zero = tol * size
    if low < -zero and high > zero:
        return StationaryPoint("saddle", (low, high))
    if low > zero:
        return StationaryPoint("minimum", (low, high))
    if high < -zero:
        return StationaryPoint("maximum", (low, high))
    return StationaryPoint("degenerate", (low, high))


def extreme_eigenvalues(x: Vector, hess: Any, hessp: Any) -> tuple[float, float]:
    """The smallest and the largest of the Hessian at x."""
    if (hess is None) == (hessp is None):
        raise TypeError("[classify_stationary_point] expected either hess or hessp")
    if hess is not None:
        matrix = np.asarray(hess(x) if callable(hess) else hess, dtype=np.float64)
        if matrix.shape != (x.size, x.size):
            raise ValueError(
                f"[classify_stationary_point] hess has shape {matrix.shape}, expected {(x.size, x.size)}"
            )
    elif x.size <= LARGE:
        matrix = np.array([np.asarray(hessp(x, v), dtype=np.float64) for v in np.eye(x.size)])
    else:
        return _lanczos(lambda v: np.asarray(hessp(x, v.ravel()), dtype=np.float64), x.size)
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return float(eigenvalues[0]), float(eigenvalues[-1])


def _lanczos(product: Callable[[Vector], Vector], n: int) -> tuple[float, float]:
    from scipy.sparse.linalg import LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(n)
    if not product(start).any():
        return 0.0, 0.0  # which Lanczos' method cannot start from
    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    low, high = (eigsh(operator, k=1, which=end, v0=start, tol=1e-8, return_eigenvectors=False) for end in ("SA", "LA"))
    return float(low[0]), float(high[0])


def check_convexity(
    fun: Function, sampler: Callable[["np.random.Generator"], ArrayLike], *, trials: int = 1000, seed: int = 0
) -> tuple[Vector, Vector, float] | None:
    """Search for a violation of Jensen's inequality f(a x + (1 - a) y) <= a f(x) + (1 - a) f(y).

    Parameters
    ----------
    fun : callable
        ``fun(x) -> float``.
    sampler : callable
        ``sampler(rng) -> (n,)``: points of the set on which to look.
    trials : int
    seed : int

    Returns
    -------
    (x, y, a) or None
        The witness that f is not convex; None where none was found, which proves nothing.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> fb.optimize.check_convexity(lambda x: x @ x, lambda rng: rng.standard_normal(3)) is None
    True
    >>> x, y, a = fb.optimize.check_convexity(lambda x: np.sin(x[0]), lambda rng: rng.uniform(0, 3, 1))
    """
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        x, y = (np.asarray(sampler(rng), dtype=np.float64) for _ in range(2))
        for a in (0.5, float(rng.uniform())):
            below, above = float(fun(a * x + (1 - a) * y)), a * float(fun(x)) + (1 - a) * float(fun(y))
            if below > above + 1e-9 * max(abs(below), abs(above), 1.0):
                return x, y, a
    return None

