"""Least squares for small nets: Levenberg's and Marquardt's method, with J'J summed over blocks of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._mlp import MLP
from .._numbers import count, finite
from .._objective import Objective

Vector = NDArray[np.float64]

BLOCK_NUMBERS = 2_000_000  # of the Jacobian, at a time
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-13, 1e12
EPS = float(np.finfo(np.float64).eps)


def levenberg_marquardt(
    net: MLP,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    damping: float = 1e-3,
    tol: float = 1e-8,
    maxiter: int = 100,
    callback: Callable[[Vector], Any] | None = None,
) -> Any:
    """Minimise the squared error of a small net by damped Gauss-Newton steps, in float64.

    Each step solves (H + damping D) step = -gradient, with H = J'J / N + l2 the Gauss-Newton matrix, J the Jacobian of
    the outputs by the parameters and D the largest diagonal of H so far (Marquardt 1963, Moré 1978); the damping falls
    where a step does what the quadratic model promised and grows where the value does not fall (Nielsen 1999). J is
    never there as a whole, but H is: P x P numbers.

    Parameters
    ----------
    net : MLP
        With the squared error and without l1. Its parameters are the start; they are not written, set
        ``net.params = result.x`` yourself.
    X, y, sample_weight
        As for `MLP.value`.
    damping : float
        The first one.
    tol : float
        On the largest entry of the gradient.
    maxiter : int
        Steps, accepted ones.
    callback : callable, optional
        ``callback(x)`` after each step; StopIteration ends the search.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x, fun (as `MLP.value`), jac, nit, nfev, njev, success, status, message.

    Examples
    --------
    >>> import numpy as np, fastbp as fb
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> net = fb.MLP((1, 5, 1), loss="squared_error", activation="tanh", seed=0)
    >>> found = fb.optimize.levenberg_marquardt(net, X, np.sin(3 * X))
    >>> found.fun < 1e-6
    True
    """
    from scipy.optimize import OptimizeResult

    _check(net)
    damping = finite("levenberg_marquardt", "damping", damping, zero=False)
    tol, maxiter = finite("levenberg_marquardt", "tol", tol), count("levenberg_marquardt", "maxiter", maxiter, 0)
    problem = _LeastSquares(net, X, y, sample_weight)
    x = problem.objective.x0.copy()
    value, grad = problem.value_and_grad(x)
    scale = np.zeros_like(x)
    growth, nit, message, status = 2.0, 0, "the number of steps is used up", 1
    matrix = problem.gauss_newton_matrix(x)
    while True:
        if not (np.isfinite(value) and np.isfinite(grad).all()):
            message = "the value or its gradient is not finite"
            break
        if float(np.abs(grad).max()) <= tol:
            message, status = "the gradient is smaller than tol", 0
            break
        if nit == maxiter:
            break
        scale = np.maximum(scale, matrix.diagonal())
        step, promised = _damped_step(matrix, grad, damping * np.maximum(scale, EPS * scale.max()))
        there, grad_there = problem.value_and_grad(x + step)
        if not there < value:  # a nan too
            if damping > LARGEST_DAMPING or promised <= EPS * value:
                message, status = "no step makes the value smaller, as far as rounding or a kink allows", 2
                break
            damping, growth = damping * growth, 2 * growth
            continue
        gain = (value - there) / promised
        damping, growth = max(damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), SMALLEST_DAMPING), 2.0
        x, value, grad, nit = x + step, there, grad_there, nit + 1
        matrix = problem.gauss_newton_matrix(x)
        try:
            if callback is not None:
                callback(x.copy())
        except StopIteration:
            message, status = "the callback stopped it", 3
            break
    return OptimizeResult(
        x=x, fun=value, jac=grad, nit=nit, nfev=problem.nfev, njev=problem.njev, success=status in (0, 2),
        status=status, message=message,
    )  # fmt: skip


def _check(net: MLP) -> None:
    if not isinstance(net, MLP):
        raise TypeError(f"[levenberg_marquardt] net is {type(net).__name__}, expected an fb.MLP")
    if net.loss != "squared_error":
        raise ValueError(f"[levenberg_marquardt] the net's loss is {net.loss!r}, expected 'squared_error'")
    if net._recipe["l1"]:
        raise ValueError(f"[levenberg_marquardt] the net's l1 is {net._recipe['l1']}, expected 0: it has no squares")


def _damped_step(matrix: Any, grad: Vector, damping: Vector) -> tuple[Vector, float]:
    """The step, and by how much the model's value falls along it."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    damped = matrix.copy()
    damped[np.diag_indices_from(damped)] += damping
    try:
        factor = cho_factor(damped, overwrite_a=True, check_finite=False)
    except LinAlgError:  # rounding made it indefinite: no step, and more damping
        return np.full_like(grad, np.nan), np.inf
    step: Vector = -cho_solve(factor, grad, check_finite=False)
    return step, float(0.5 * (step * damping) @ step - 0.5 * grad @ step)


class _LeastSquares:
    """The value, its gradient and its Gauss-Newton matrix as functions of the parameters."""

    def __init__(self, net: MLP, X: Any, y: Any, sample_weight: Any) -> None:
        self._net = net._with_recipe(dtype=np.dtype(np.float64), device="cpu")
        self._X, y, sample_weight = net._on_host("levenberg_marquardt", X, y, sample_weight)
        self.objective = Objective(self._net, self._X, y, sample_weight, method="levenberg_marquardt")
        shape = (self._X.shape[0], net.layer_sizes[-1])
        c = np.ones(1) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        c = np.broadcast_to(c[:, None] if c.ndim == 1 else c, shape)
        self._c = c * shape[1] / c.sum()
        l2 = self._net._recipe["l2"]
        self._penalty = np.concatenate(
            [np.r_[np.full(w.size, l2), np.zeros(b.size)] for w, b in zip(net.weights, net.biases, strict=True)]
        )
        self.nfev = self.njev = 0

    def value_and_grad(self, x: Vector) -> tuple[float, Vector]:
        self.nfev += 1
        with np.errstate(over="ignore"):
            return self.objective.fun_and_jac(x)

    def gauss_newton_matrix(self, x: Vector) -> Any:
        """J' c J / sum c + l2, summed over blocks of rows."""
        self.njev += 1
        self._net.params = x
        matrix = np.diag(self._penalty)
        rows = max(1, BLOCK_NUMBERS // (self._c.shape[1] * x.size))
        for begin in range(0, self._X.shape[0], rows):
            part = slice(begin, begin + rows)
            jacobian = self._net.jacobian(self._X[part], wrt="params")
            jacobian *= np.sqrt(self._c[part])[:, :, None]
            flat = jacobian.reshape(-1, x.size)
            matrix += flat.T @ flat
        return matrix
