"""Gradient descent and descent directions."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._kinks import EPS, has_kink
from .._numbers import count, finite
from ._outcomes import (
    NOT_A_MINIMUM,
    NOT_FINITE,
    SADDLE,
    SOLVED,
    STALLED,
    STEPS_USED,
    STEPS_USED_UP,
    STOPPED,
    STOPPED_BY_CALLBACK,
    length,
    values_nearby,
)

Vector = NDArray[np.float64]
Function = Callable[..., Any]

SUFFICIENT, SHRINK, MOST_HALVINGS = 1e-4, 0.5, 60  # Armijo's rule
CONDITION = 100  # condition number of the Hessian up to which tol bounds the relative distance to the minimum
NO_STEP = "no step along the gradient makes the value smaller"


def steepest_descent_direction(grad: ArrayLike) -> Vector:
    """Return the direction of length 1 along which f falls fastest: -grad / |grad|, or 0 if grad is 0.

    `gradient_descent` steps along -grad itself, whose length shrinks on the way to a minimum.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.optimize.steepest_descent_direction([3.0, 4.0])
    array([-0.6, -0.8])
    """
    g = np.asarray(grad, dtype=np.float64)
    largest = float(np.abs(g).max(initial=0.0))
    if largest == 0:
        return np.zeros_like(g)
    scaled = g / largest if np.isfinite(largest) else g  # its squares neither overflow nor underflow
    direction: Vector = -scaled / np.linalg.norm(scaled)
    return direction


def is_descent_direction(v: ArrayLike, grad: ArrayLike) -> tuple[bool, float]:
    """Return whether f decreases along v at first, that is v . grad < 0, and the derivative v . grad.

    If rounding alone may have made the derivative negative, the first result is False.

    Examples
    --------
    >>> import fastbp as fb
    >>> fb.optimize.is_descent_direction([1.0, 0.0], [-2.0, 5.0])
    (True, -2.0)
    """
    direction, g = np.asarray(v, dtype=np.float64), np.asarray(grad, dtype=np.float64)
    if direction.shape != g.shape:
        raise ValueError(f"[is_descent_direction] v has shape {direction.shape}, grad has {g.shape}")
    # Scale the largest entry of each factor to 1, so that the products do not underflow.
    v_unit, g_unit = (a / (float(np.abs(a).max(initial=0.0)) or 1.0) for a in (direction, g))
    rounding = g.size * EPS * float(np.vdot(np.abs(v_unit), np.abs(g_unit)))
    falls = float(np.vdot(v_unit, g_unit)) < -rounding
    return falls, float(np.vdot(direction, g))


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
    """Minimise by gradient descent x_{k+1} = x_k - t_k grad f(x_k), until the gradient is much shorter than the first.

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
        Relative accuracy of x: the search ends when abs(grad f(x)) <= tol abs(grad f(x0)) / 100, in Euclidean norms.
        The distance to the minimum is then about tol times the distance of x0, if the condition number of the Hessian
        is at most 100. The units of f and x do not matter. If rounding ends the search earlier, the result is a success
        for abs(grad f(x)) <= tol abs(grad f(x0)). Choose x0 of the problem's scale: a first gradient that is much
        larger than those near the minimum makes the tolerance loose.
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
        x, fun, jac, nit, nfev, njev, success, status, message; path (nit + 1, n): x_0, x_1, .. Only status 0 (solved)
        is a success. The others are 1 (maxiter), 3 (callback), 4 (no step makes the value smaller; the message says
        whether f has a kink there), 5 (the gradient is 0, but x is no minimum) and 6 (a value or gradient is not
        finite). To detect 5, the search tries 10 random directions and, for at most 20 variables, the axes. A saddle
        point that descends in few other directions may remain undetected: use `classify_stationary_point`.

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
    tol, maxiter = finite("gradient_descent", "tol", tol), count("gradient_descent", "maxiter", maxiter, 0)
    problem = _Counted(fun, args, jac)
    x = np.array(x0, dtype=np.float64)
    path = [x]
    value, grad = problem.both(x)
    first, t = length(grad), None
    while True:
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            status, message = NOT_FINITE, "the value or the gradient is not finite"
            break
        if length(grad) <= tol * first / CONDITION:
            status, message = _judged(problem, path, value, grad, "the gradient is below tol / 100 times the first")
            break
        if len(path) > maxiter:
            status, message = STEPS_USED, STEPS_USED_UP + _at_kink(problem, path, grad)
            break
        t = _step_length(problem, step, len(path) - 1, x, value, grad, t)
        if t is None and length(grad) <= tol * first:
            short = "the gradient is below tol times the first, and rounding prevents a smaller one"
            status, message = _judged(problem, path, value, grad, short)
            break
        if t is None:
            hidden = float(grad @ grad) <= 1e3 * EPS * abs(value)  # rounding hides the decrease by the longest step
            status, message = STALLED, NO_STEP + ("" if hidden else _at_kink(problem, path, grad))
            break
        x = x - t * grad
        path.append(x)
        value, grad = problem.both(x)
        try:
            if callback is not None:
                callback(x.copy())
        except StopIteration:
            status, message = STOPPED, STOPPED_BY_CALLBACK
            break
    return OptimizeResult(
        x=x, fun=value, jac=grad, nit=len(path) - 1, nfev=problem.nfev, njev=problem.njev, success=status == SOLVED,
        status=status, message=message, path=np.array(path),
    )  # fmt: skip


def _judged(problem: "_Counted", path: list[Vector], value: float, grad: Vector, message: str) -> tuple[int, str]:
    """Return the status and the message at a point where the gradient is near 0."""
    x = path[-1]
    reach = max(length(x - path[0]), 0.1 * length(x)) or 1.0
    lowest, highest = values_nearby(problem.value, x, value, grad, reach)
    if lowest < 0:
        return NOT_A_MINIMUM, SADDLE
    if len(path) == 1:  # a flat function, such as a net of dead units, is not solved
        message = "the gradient is 0 at x0" if highest > 0 else "f is constant around x0, which gives no direction"
        return (SOLVED if highest > 0 else NOT_A_MINIMUM), message
    return SOLVED, message


def _at_kink(problem: "_Counted", path: list[Vector], grad: Vector) -> str:
    """Return an addition to the message if there is a kink within the last step or close to x, else ""."""
    x = path[-1]
    last = length(x - path[-2]) if len(path) > 1 else 0.0
    for reach in (2 * last, 1e-6 * (length(x) or 1.0)):
        if reach > 0 and has_kink(problem.value, x, reach * steepest_descent_direction(grad)):
            return ", because f has a kink at x: its slope jumps there"
    return ""


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


def _step_length(
    problem: _Counted, step: Any, k: int, x: Vector, value: float, grad: Vector, last: float | None
) -> float | None:
    if callable(step):
        return float(step(k))
    if not isinstance(step, str):
        return finite("gradient_descent", "step", step, zero=False)
    if step == "wolfe":
        from scipy.optimize import line_search

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a search that fails is told by its result
            # The first trial step is t = 1, then about the last one, or one of length 1.
            for former in (None, value + (last or 1 / length(grad)) * float(grad @ grad) / 2):
                found = line_search(
                    problem.value, problem.gradient, x, -grad, gfk=grad, old_fval=value, old_old_fval=former
                )[0]
                if found is not None:
                    break
        return None if found is None else float(found)
    if step != "armijo":
        raise ValueError(f"[gradient_descent] step is {step!r}, expected a number, a function, 'armijo' or 'wolfe'")
    t, slope = 1.0, float(grad @ grad)
    for _ in range(MOST_HALVINGS):
        if value - problem.value(x - t * grad) >= SUFFICIENT * t * slope:  # more than 0, however small the slope
            return t
        t *= SHRINK
    return None
