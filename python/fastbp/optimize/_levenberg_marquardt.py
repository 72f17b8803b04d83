"""Least squares for small nets: Levenberg's and Marquardt's method, with J'J summed over blocks of rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._kinks import EPS, has_kink
from .._mlp import MLP
from .._numbers import count, finite
from .._objective import Objective
from ._outcomes import (
    AT_ROUNDING,
    NOT_A_MINIMUM,
    NOT_FINITE,
    SADDLE,
    SOLVED,
    STALLED,
    STEPS_USED,
    STEPS_USED_UP,
    STOPPED,
    STOPPED_BY_CALLBACK,
    SUCCESSES,
    length,
)

Vector = NDArray[np.float64]

BLOCK_NUMBERS = 2_000_000  # of the Jacobian, at a time
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-13, 1e12
ROUNDING = 100 * EPS  # a relative change of the value that rounding may cause
OTHER_UNIT = 10  # ratio of the first outputs to y above which their units are assumed to differ
SMALLEST_SIZE = 1e-150  # of y: squares of smaller numbers underflow
NEGATIVE = 64 * EPS  # a negative eigenvalue, relative to the largest, that rounding does not explain
REACHED = "the gradient is smaller than tol, relative to y"
NO_STEP = "no step makes the value smaller"
DENSE = 200  # largest number of parameters for which the whole Hessian is computed


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

    Each step solves (H + damping D) step = -gradient. H = J'J / N + l2 is the Gauss-Newton matrix, J the Jacobian of
    the outputs with respect to the parameters. D is the largest diagonal of H so far (Marquardt 1963,
    Moré 1978). The damping decreases after a step that lowers the value as the quadratic model predicts. It increases
    if the value does not fall (Nielsen 1999). J is never stored as a whole, but H is: P x P numbers.

    If the first outputs and y differ in size by more than a factor of 10 (root mean squares), the first step of a net
    with identity outputs solves for the last layer alone, by damped linear least squares from 0. The later steps then
    do not depend on the unit of y.

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
        The search ends when abs(grad_i) / sqrt(H_ii) <= tol * spread of y for every parameter i. The left side is the
        length of the residuals' projection on column i of the Jacobian (as a root mean square). A step along parameter
        i alone can lower the value by at most half its square. The spread is the standard deviation of y about the mean
        of each output (the root mean square over the outputs). If that is 0, it is the root mean square of y, and if y
        is 0, that of the first outputs. The units of y, X and the parameters do not matter.
    maxiter : int
        Number of accepted steps.
    callback : callable, optional
        ``callback(x)`` after each step; StopIteration ends the search.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x, fun (as `MLP.value`), jac, nit, nfev, njev, success, status, message. Two statuses are a success: 0
        (the tolerance is reached) and 2 (it is not, but rounding prevents a smaller value). The others are 1 (maxiter),
        3 (callback), 4 (no step makes the value smaller; the message says whether there is a kink, such as relu's), 5
        (the gradient is 0, but the Hessian has a negative eigenvalue: a saddle point) and 6 (the value or a derivative
        is not finite).

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
    scale, spread = np.zeros_like(x), problem.spread or np.sqrt(2 * value)
    nit = 0
    while True:
        matrix = problem.gauss_newton_matrix(x)
        if not (np.isfinite(value) and np.isfinite(grad).all() and np.isfinite(matrix).all()):
            place = problem.objective._place_of_nonfinite()
            status, message = NOT_FINITE, "the value or its gradient is not finite" + (place and f": {place}")
            break
        unsolved = _projection(matrix, grad)
        if unsolved <= tol * spread or value == 0:
            status, message = problem.judged(x, value, tol * spread, SOLVED, REACHED)
            break
        if nit == maxiter:
            status, message = STEPS_USED, STEPS_USED_UP
            break
        found = _last_layer_step(problem, x, value, matrix, damping) if nit == 0 else None
        if found is None:
            scale = np.maximum(scale, matrix.diagonal())
            found = _accepted_step(problem, x, value, grad, matrix, problem.floored(scale), damping)
        if found is None:
            status, message = _stalled(problem, x, value, grad, unsolved)
            break
        x, value, grad, damping = found
        nit += 1
        try:
            if callback is not None:
                callback(x.copy())
        except StopIteration:
            status, message = STOPPED, STOPPED_BY_CALLBACK
            break
    return OptimizeResult(
        x=x, fun=value, jac=grad, nit=nit, nfev=problem.nfev, njev=problem.njev, success=status in SUCCESSES,
        status=status, message=message,
    )  # fmt: skip


def _last_layer_step(
    problem: "_LeastSquares", x: Vector, value: float, matrix: Any, damping: float
) -> tuple[Vector, float, Vector, float] | None:
    """Solve for a linear last layer by damped least squares from 0.

    Return None if the outputs are of about the size of y, or if the value does not fall.
    """
    count, ratio = problem.linear, problem.output_size(x) / (problem.level or 1.0)
    if count == 0 or problem.level == 0 or 1 / OTHER_UNIT <= ratio <= OTHER_UNIT:
        return None
    block, there = matrix[-count:, -count:], x.copy()
    there[-count:] = 0
    grad = problem.value_and_grad(there)[1]
    diagonal = block.diagonal()
    there[-count:] = _damped_step(block, grad[-count:], damping * np.maximum(diagonal, EPS * diagonal.max()))[0]
    value_there, grad_there = problem.value_and_grad(there)
    return (there, value_there, grad_there, damping) if value_there < value else None


def _accepted_step(
    problem: "_LeastSquares", x: Vector, value: float, grad: Vector, matrix: Any, scale: Vector, damping: float
) -> tuple[Vector, float, Vector, float] | None:
    """Return the next parameters, value, gradient and damping; None if no step makes the value smaller."""
    growth = 2.0
    while True:
        step, promised = _damped_step(matrix, grad, damping * scale)
        there, grad_there = problem.value_and_grad(x + step)
        if there < value:  # False if it is nan
            gain = (value - there) / promised
            damping = max(damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), SMALLEST_DAMPING)
            return x + step, there, grad_there, damping
        if damping > LARGEST_DAMPING or promised <= EPS * value:
            return None
        damping, growth = damping * growth, 2 * growth


def _projection(matrix: Any, grad: Vector) -> float:
    """Return the largest projection of the residuals on a column of the Jacobian; see `tol`."""
    diagonal = matrix.diagonal()
    zero = diagonal == 0
    if grad[zero].any():
        return np.inf
    return float((np.abs(grad[~zero]) / np.sqrt(diagonal[~zero])).max(initial=0.0))


def _stalled(problem: "_LeastSquares", x: Vector, value: float, grad: Vector, unsolved: float) -> tuple[int, str]:
    """Return the status and the message if no step makes the value smaller."""
    residual = np.sqrt(2 * value)
    if unsolved <= max(np.sqrt(ROUNDING) * residual, ROUNDING * problem.level):
        return problem.judged(x, value, unsolved, AT_ROUNDING, NO_STEP + ", as far as rounding allows")
    message = NO_STEP
    direction = -grad / length(grad)
    if any(has_kink(problem.objective.fun, x, reach * (length(x) or 1.0) * direction) for reach in (1e-4, 1e-7)):
        message += ": the value has a kink there"
    return STALLED, message


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
        last = net.weights[-1].size + net.biases[-1].size
        self.linear = last if net.activations[-1][0] == "identity" else 0  # parameters in which the outputs are linear
        self._ends = np.cumsum([w.size + b.size for w, b in zip(net.weights, net.biases, strict=True)])[:-1]
        self._rows = np.flatnonzero(self._c.any(axis=1))  # a row of weight 0 contributes nothing, even if it holds nan
        self.spread, self.level = self._sizes_of(np.asarray(y, dtype=np.float64).reshape(shape))
        l2 = self._net._recipe["l2"]
        self._penalty = np.concatenate(
            [np.r_[np.full(w.size, l2), np.zeros(b.size)] for w, b in zip(net.weights, net.biases, strict=True)]
        )
        self.nfev = self.njev = 0

    def _sizes_of(self, y: Any) -> tuple[float, float]:
        """Return the spread of the targets about their means and their root mean square, weighted like the value."""
        y = np.where(self._c > 0, y, 0.0)
        size = float(np.abs(y).max())
        if 0 < size < SMALLEST_SIZE:
            text = f"the largest magnitude in y is {size:.3g}, whose square underflows in float64: scale y"
            raise ValueError(f"[levenberg_marquardt] {text}")
        if not np.isfinite(size) or size == 0:
            return 0.0, size
        unit, weight = y / size, self._c.sum(axis=0)
        mean = (self._c * unit).sum(axis=0) / np.where(weight > 0, weight, 1.0)
        level = size * float(np.sqrt((self._c * unit**2).sum()))
        spread = size * float(np.sqrt((self._c * (unit - mean) ** 2).sum()))
        return (spread if spread > ROUNDING * level else level) / np.sqrt(y.shape[1]), level

    def output_size(self, x: Vector) -> float:
        """Return the root mean square of the outputs."""
        self._net.params = x
        out = np.asarray(self._net.forward(self._X), dtype=np.float64).reshape(self._c.shape)
        return float(np.sqrt((self._c * np.where(self._c > 0, out, 0.0) ** 2).sum()))

    def floored(self, scale: Vector) -> Vector:
        """Return the scale, at least EPS times the largest of its layer, because dead units have 0."""
        layers = np.split(scale, self._ends)
        floors = [np.full(s.size, EPS * (s.max() or scale.max())) for s in layers]
        floored: Vector = np.maximum(scale, np.concatenate(floors))
        return floored

    def judged(self, x: Vector, value: float, unsolved: float, status: int, message: str) -> tuple[int, str]:
        """Return the status and the message given, or those of a saddle point, where the gradient is near 0.

        A saddle point has a negative eigenvalue of the Hessian, and a step along its eigenvector lowers the value by
        more than the tolerance on projections, `unsolved`, allows for.
        """
        with np.errstate(all="ignore"):
            direction = self._falling_direction(x)
            if direction is None:
                return status, message
            scale, left = length(x) or 1.0, 50 * unsolved**2 + ROUNDING * value
            steps = scale * 10.0 ** -np.arange(10)
            drops = np.array([[value - self.objective.fun(x + t * s * direction) for t in steps] for s in (1, -1)])
        # The value must fall near x too, not only far away: about a hundredth of the drop for a tenth of the step.
        falls = (drops[:, :-1] > left) & (drops[:, 1:] > 1e-3 * drops[:, :-1])
        return (NOT_A_MINIMUM, SADDLE) if falls.any() else (status, message)

    def _falling_direction(self, x: Vector) -> Vector | None:
        """Return the eigenvector of the Hessian's smallest eigenvalue; None if it is not negative or not found."""
        if x.size <= DENSE:
            hessian = np.array([self.objective.hessp(x, v) for v in np.eye(x.size)])
            eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
            return vectors[:, 0] if eigenvalues[0] < -NEGATIVE * eigenvalues[-1] else None
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        start = np.random.default_rng(0).standard_normal(x.size)
        operator = LinearOperator((x.size, x.size), matvec=lambda v: self.objective.hessp(x, v.ravel()), dtype=float)
        try:
            (low,), vectors = eigsh(operator, k=1, which="SA", v0=start, tol=1e-3, maxiter=100)
            (high,), _ = eigsh(operator, k=1, which="LA", v0=start, tol=1e-3, maxiter=100)
        except ArpackNoConvergence:
            return None
        return vectors[:, 0] if low < -NEGATIVE * high else None

    def value_and_grad(self, x: Vector) -> tuple[float, Vector]:
        self.nfev += 1
        with np.errstate(over="ignore"):
            return self.objective.fun_and_jac(x)

    def gauss_newton_matrix(self, x: Vector) -> Any:
        """J' c J / sum c + l2, summed over blocks of rows."""
        self.njev += 1
        self._net.params = x
        matrix = np.diag(self._penalty)
        block = max(1, BLOCK_NUMBERS // (self._c.shape[1] * x.size))
        for begin in range(0, len(self._rows), block):
            part = self._rows[begin : begin + block]
            jacobian = self._net.jacobian(self._X[part], wrt="params")
            jacobian[self._c[part] == 0] = 0  # also where an output of weight 0 is inf
            jacobian *= np.sqrt(self._c[part])[:, :, None]
            flat = jacobian.reshape(-1, x.size)
            matrix += flat.T @ flat
        return matrix
