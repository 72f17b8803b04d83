"""Gradient descent and descent directions."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._numbers import finite

Vector = NDArray[np.float64]
Function = Callable[..., Any]

SUFFICIENT, SHRINK, MOST_HALVINGS = 1e-4, 0.5, 60  # Armijo's rule


def steepest_descent_direction(grad: ArrayLike) -> Vector:
    """The direction of length 1 along which f falls fastest: -grad / |grad|; 0 where grad is.

    `gradient_descent` steps along -grad itself, whose length shrinks on the way to a minimum.

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
    hess: Any = None,
    hessp: Any = None,
    bounds: Any = None,
    constraints: Any = (),
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
    hess, hessp
        Not used; SciPy passes them to any method: ``scipy.optimize.minimize(fun, x0, jac=.., method=gradient_descent)``
        works, with step, tol and maxiter as its options.
    bounds, constraints
        Refused unless empty.

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

    if bounds is not None or constraints:
        raise ValueError("[gradient_descent] bounds and constraints are not empty; gradient descent knows of neither")
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
                callback(x.copy())
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
        found = self._fun(x.copy(), *self._args)  # a function may write what it gets
        return float(found[0] if self._jac is True else found)

    def gradient(self, x: Vector) -> Vector:
        return self.both(x)[1]

    def both(self, x: Vector) -> tuple[float, Vector]:
        self.njev += 1
        if self._jac is True:
            self.nfev += 1
            value, grad = self._fun(x.copy(), *self._args)
        else:
            value, grad = self.value(x), self._jac(x.copy(), *self._args)
        g = np.array(grad, dtype=np.float64)  # and give the same array each time
        if g.shape != x.shape:
            raise ValueError(f"[gradient_descent] the gradient has shape {g.shape}, expected {x.shape}, as x0")
        return float(value), g


def _step_length(problem: _Counted, step: Any, k: int, x: Vector, value: float, grad: Vector) -> float | None:
    if callable(step):
        return float(step(k))
    if not isinstance(step, str):
        return finite("gradient_descent", "step", step, zero=False)
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
        if value - problem.value(x - t * grad) >= SUFFICIENT * t * slope:  # more than 0, however small the slope
            return t
        t *= SHRINK
    return None
