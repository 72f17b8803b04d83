"""The lecture's optimisation: gradient descent, descent directions, stationary points, convexity. Needs SciPy."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Function = Callable[..., Any]

__all__ = [
    "check_convexity",
    "classify_stationary_point",
    "gradient_descent",
    "is_descent_direction",
    "steepest_descent_direction",
]

SUFFICIENT, SHRINK, MOST_HALVINGS = 1e-4, 0.5, 60  # Armijo's rule
LARGE = 50  # above so many variables the extreme eigenvalues come from Lanczos' method


def steepest_descent_direction(grad: ArrayLike) -> Vector:
    """The direction of length 1 along which f falls fastest: -grad / |grad|; 0 where grad is.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.optimize.steepest_descent_direction([3.0, 4.0])
    array([-0.6, -0.8])
    """
    g = np.asarray(grad, dtype=np.float64)
    length = float(np.linalg.norm(g))
    return -g / length if length > 0 else np.zeros_like(g)


def is_descent_direction(v: ArrayLike, grad: ArrayLike) -> tuple[bool, float]:
    """Whether f falls along v at first, that is v . grad < 0; and that derivative along v.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.optimize.is_descent_direction([1.0, 0.0], [-2.0, 5.0])
    (True, -2.0)
    """
    direction, g = np.asarray(v, dtype=np.float64), np.asarray(grad, dtype=np.float64)
    if direction.shape != g.shape:
        raise ValueError(f"[is_descent_direction] v has shape {direction.shape}, grad has {g.shape}")
    slope = float(np.vdot(direction, g))
    return slope < 0, slope


def gradient_descent(
    fun: Function,
    x0: ArrayLike,
    args: tuple[Any, ...] = (),
    jac: Function | bool | None = None,
    step: float | str | Callable[[int], float] = "armijo",
    tol: float = 1e-6,
    maxiter: int = 1000,
    callback: Callable[[Vector], Any] | None = None,
    **unused: Any,
) -> Any:
    """Gradient descent x_{k+1} = x_k - t_k grad f(x_k), until the gradient is shorter than tol.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args) -> float``, or with the gradient where `jac` is True.
    x0 : array_like (n,)
    args : tuple
        Passed on to `fun` and `jac`.
    jac : callable or True
        ``jac(x, *args) -> (n,)``.
    step : float, callable or str
        t_k: one number for all steps, a schedule ``t(k)``, "armijo" (halved from 1 until f falls by a sufficient part
        of what its slope promises) or "wolfe" (SciPy's line search for the strong Wolfe conditions).
    tol : float
        On the Euclidean norm of the gradient.
    maxiter : int
    callback : callable, optional
        ``callback(x)`` after each step; StopIteration ends the search.
    **unused
        What SciPy passes to any method: ``scipy.optimize.minimize(fun, x0, jac=.., method=gradient_descent)`` works.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x, fun, jac, nit, nfev, njev, success, message; path (nit + 1, n): x_0, x_1, ..

    Examples
    --------
    >>> import fastbp as fb
    >>> found = fb.optimize.gradient_descent(lambda x: (x @ x, 2 * x), [1.0, -2.0], jac=True, step=0.25)
    >>> found.success, found.path[:3].tolist()
    (True, [[1.0, -2.0], [0.5, -1.0], [0.25, -0.5]])
    """
    from scipy.optimize import OptimizeResult

    problem = _Counted(fun, args, jac)
    x = np.array(x0, dtype=np.float64)
    path, message, success = [x], "the number of steps is used up", False
    value, grad = problem.both(x)
    while True:
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            message = "the value or the gradient is not finite"
            break
        if float(np.linalg.norm(grad)) <= tol:
            message, success = "the gradient is shorter than tol", True
            break
        if len(path) > maxiter:
            break
        t = _step_length(problem, step, len(path) - 1, x, value, grad)
        if t is None:
            message = "no step along the gradient makes the value smaller"
            break
        x = x - t * grad
        path.append(x)
        value, grad = problem.both(x)
        try:
            if callback is not None:
                callback(x)
        except StopIteration:
            message = "the callback stopped it"
            break
    return OptimizeResult(
        x=x, fun=value, jac=grad, nit=len(path) - 1, nfev=problem.nfev, njev=problem.njev, success=success,
        status=0 if success else 1, message=message, path=np.array(path),
    )  # fmt: skip


class _Counted:
    """A function and its gradient, as the arguments give them, with the number of calls."""

    def __init__(self, fun: Function, args: tuple[Any, ...], jac: Function | bool | None) -> None:
        if not (jac is True or callable(jac)):
            raise TypeError(f"[gradient_descent] jac is {jac!r}, expected the gradient as a function, or True")
        self._fun, self._args, self._jac = fun, args, jac
        self.nfev = self.njev = 0

    def value(self, x: Vector) -> float:
        self.nfev += 1
        found = self._fun(x, *self._args)
        return float(found[0] if self._jac is True else found)

    def gradient(self, x: Vector) -> Vector:
        return self.both(x)[1]

    def both(self, x: Vector) -> tuple[float, Vector]:
        self.njev += 1
        if self._jac is True:
            self.nfev += 1
            value, grad = self._fun(x, *self._args)
        else:
            value, grad = self.value(x), self._jac(x, *self._args)
        g = np.asarray(grad, dtype=np.float64)
        if g.shape != x.shape:
            raise ValueError(f"[gradient_descent] the gradient has shape {g.shape}, expected {x.shape}, as x0")
        return float(value), g


def _step_length(problem: _Counted, step: Any, k: int, x: Vector, value: float, grad: Vector) -> float | None:
    if callable(step):
        return float(step(k))
    if not isinstance(step, str):
        return float(step)
    if step == "wolfe":
        from scipy.optimize import line_search

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a search that fails is told by its result
            found = line_search(problem.value, problem.gradient, x, -grad, gfk=grad, old_fval=value)[0]
        return None if found is None else float(found)
    if step != "armijo":
        raise ValueError(f"[gradient_descent] step is {step!r}, expected a number, a function, 'armijo' or 'wolfe'")
    t, slope = 1.0, float(grad @ grad)
    for _ in range(MOST_HALVINGS):
        if problem.value(x - t * grad) <= value - SUFFICIENT * t * slope:
            return t
        t *= SHRINK
    return None


def classify_stationary_point(
    x: ArrayLike,
    *,
    jac: Function | None = None,
    hess: Function | ArrayLike | None = None,
    hessp: Callable[[Vector, Vector], ArrayLike] | None = None,
    tol: float = 1e-6,
) -> tuple[str, tuple[float, float]]:
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
    ('saddle', (-1.0, 2.0))
    """
    at = np.array(x, dtype=np.float64)
    low, high = _extreme_eigenvalues(at, hess, hessp)
    size = max(abs(low), abs(high))
    if jac is not None:
        length = float(np.linalg.norm(np.asarray(jac(at), dtype=np.float64)))
        if length > np.sqrt(tol) * max(size, 1.0):
            raise ValueError(f"[classify_stationary_point] the gradient at x has length {length:.3g}, expected 0")
    zero = tol * size
    if low < -zero and high > zero:
        return "saddle", (low, high)
    if low > zero:
        return "minimum", (low, high)
    if high < -zero:
        return "maximum", (low, high)
    return "degenerate", (low, high)


def _extreme_eigenvalues(x: Vector, hess: Any, hessp: Any) -> tuple[float, float]:
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
        from scipy.sparse.linalg import LinearOperator, eigsh

        operator = LinearOperator((x.size, x.size), matvec=lambda v: np.asarray(hessp(x, v.ravel())), dtype=np.float64)
        low, high = (float(eigsh(operator, k=1, which=which, return_eigenvectors=False)[0]) for which in ("SA", "LA"))
        return low, high
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    return float(eigenvalues[0]), float(eigenvalues[-1])


def check_convexity(
    fun: Function, sampler: Callable[[np.random.Generator], ArrayLike], *, trials: int = 1000, seed: int = 0
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
        for a in _weights(rng):
            below, above = float(fun(a * x + (1 - a) * y)), a * float(fun(x)) + (1 - a) * float(fun(y))
            if below > above + 1e-9 * max(abs(below), abs(above), 1.0):
                return x, y, a
    return None


def _weights(rng: np.random.Generator) -> Iterable[float]:
    return 0.5, float(rng.uniform())
