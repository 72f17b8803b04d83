"""Stationary points and convexity."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ._descent import Function, Vector
from ._eigenvalues import LARGE, extreme_eigenvalues
from ._outcomes import RANDOM, length

ROUNDING = 1e-9  # relative size that a violation of Jensen's inequality must exceed
CLOSER = (1e-5, 1e-7, 1e-9)  # distances at which the two sides of a kink are compared


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
    """Return the kind of a stationary point x and the extreme eigenvalues of its Hessian.

    The kind is "minimum", "maximum" or "saddle", by the signs of the Hessian's smallest and largest eigenvalue, which
    come from SciPy's Lanczos method if there are many variables. The kind is "degenerate" if one of them is 0 up to
    rounding, so that the second derivative decides nothing. It is also "degenerate" if Lanczos' method does not
    converge within 2000 products or 30 seconds for each of them, unless both signs have been found. The kind is "kink"
    if the gradient jumps at x, as that of relu at 0. There is no second derivative then.

    Parameters
    ----------
    x : array_like (n,)
    jac : callable, optional
        The gradient. Kinks are searched along the gradient, 10 random directions and, for at most 50 variables, the
        axes. Without a kink, ValueError is raised if abs(grad) > sqrt(tol) * abs(eigenvalue) * max(abs(x), 1), with the
        eigenvalue of largest magnitude: Newton's step would be long. The unit of the function does not matter.
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
    grad = None if jac is None else np.array(jac(at.copy()), dtype=np.float64)
    if jac is not None and grad is not None and grad.shape != at.shape:
        raise ValueError(f"[classify_stationary_point] jac returns shape {grad.shape}, expected {at.shape}, as x")
    low, high, converged = extreme_eigenvalues(at, hess, hessp)
    size = max(abs(low), abs(high))
    if jac is not None and grad is not None:
        if gradient_jumps(jac, at, grad):
            return StationaryPoint("kink", (low, high))
        most = np.sqrt(tol) * size * max(length(at), 1.0)
        if not length(grad) <= most:
            text = f"the gradient at x has length {length(grad):.3g}, expected 0 (at most {most:.3g})"
            raise ValueError(f"[classify_stationary_point] {text}: find a stationary point first")
    zero = tol * size
    if low < -zero and high > zero:
        return StationaryPoint("saddle", (low, high))
    if not converged:
        return StationaryPoint("degenerate", (low, high))
    if low > zero:
        return StationaryPoint("minimum", (low, high))
    if high < -zero:
        return StationaryPoint("maximum", (low, high))
    return StationaryPoint("degenerate", (low, high))


def gradient_jumps(jac: Function, x: Vector, grad: Vector) -> bool:
    """Return whether the gradient jumps at x along one of a few directions."""
    axes = np.eye(x.size) if x.size <= LARGE else np.eye(x.size)[:0]
    random = np.random.default_rng(0).standard_normal((RANDOM, x.size))
    directions = [*axes, *random / np.linalg.norm(random, axis=1, keepdims=True)]
    if grad.any() and np.isfinite(grad).all():
        directions.insert(0, -grad / length(grad))
    return any(_jumps(jac, x, d * (length(x) or 1.0)) for d in directions)


def _jumps(jac: Function, x: Vector, step: Vector) -> bool:
    """Return whether the derivative along the step changes as much between close points as between distant ones."""
    changes, size = [], 0.0
    for t in CLOSER:
        behind, ahead = (np.asarray(jac(x + sign * t * step), dtype=np.float64) for sign in (-1.0, 1.0))
        changes.append(abs(float((ahead - behind) @ step)))
        size = max(size, float(np.abs(behind) @ np.abs(step)), float(np.abs(ahead) @ np.abs(step)))
    return changes[-1] > 1e-6 * size and changes[-1] > 0.5 * changes[0]


def check_convexity(
    fun: Function, sampler: Callable[["np.random.Generator"], ArrayLike], *, trials: int = 1000, seed: int = 0
) -> tuple[Vector, Vector, float] | None:
    """Search for a violation of Jensen's inequality f(a x + (1 - a) y) <= a f(x) + (1 - a) f(y).

    A violation must exceed 1e-9 times the largest abs(f) so far, which is more than rounding causes. The unit of f does
    not matter.

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
    largest = 0.0
    for _ in range(trials):
        x, y = (np.asarray(sampler(rng), dtype=np.float64) for _ in range(2))
        for a in (0.5, float(rng.uniform())):
            between, at_x, at_y = float(fun(a * x + (1 - a) * y)), float(fun(x)), float(fun(y))
            largest = max([largest, *(abs(value) for value in (between, at_x, at_y) if np.isfinite(value))])
            if between > a * at_x + (1 - a) * at_y + ROUNDING * largest:
                return x, y, a
    return None
