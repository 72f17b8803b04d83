"""The solver that takes all rows at once: SciPy's L-BFGS."""

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from .._mlp import MLP
from .._warn import warn
from ._problem import Problem
from ._rounds import Rounds

STOPPED_BY_CALLBACK = 99  # SciPy's status


def minimise(estimator: Any, net: MLP, problem: Problem, rounds: Rounds) -> None:
    """Minimise by SciPy's L-BFGS-B; set net.params, n_iter_ and loss_.

    Raises ValueError if the final loss is not finite.
    """
    total = problem.X.shape[0] if problem.weight is None else float(problem.weight.sum(dtype=np.float64))
    if problem.weight is not None and problem.weight.ndim == 2:  # a row's weight is the mean over its outputs
        total /= problem.weight.shape[1]
    objective = net._sharing(l2=estimator.alpha / total).objective(problem.X, problem.y, problem.weight)

    def after_iteration(intermediate_result: Any) -> None:
        net.params = intermediate_result.x
        estimator.n_iter_ += 1
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {intermediate_result.fun:.8f}")
        if rounds.end(float(intermediate_result.fun)):
            raise StopIteration
        rounds.begin()

    estimator.n_iter_ = 0
    rounds.begin()
    found = minimize(
        objective.fun_and_jac, objective.x0, jac=True, method="L-BFGS-B", callback=after_iteration,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
    )  # fmt: skip
    net.params = found.x
    estimator.n_iter_, estimator.loss_ = min(found.nit, estimator.max_iter), float(found.fun)
    if not np.isfinite(estimator.loss_):
        raise ValueError(
            f"Solver produced a non-finite loss ({estimator.loss_}). The input data may contain large values and need "
            "to be preprocessed."
        )
    if found.status not in (0, STOPPED_BY_CALLBACK):
        warn(_failure(estimator, found), ConvergenceWarning)


def _failure(estimator: Any, found: Any) -> str:
    lines = [f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) (status={found.status}):", found.message]
    if estimator.n_iter_ == estimator.max_iter:
        lines.append(f"Increase the number of iterations to improve the convergence (max_iter={estimator.max_iter}).")
    elif found.nfev >= estimator.max_fun:
        lines.append(f"Increase the number of evaluations to improve the convergence (max_fun={estimator.max_fun}).")
    lines.append("You might also want to scale the data, with sklearn.preprocessing.StandardScaler for instance.")
    return "\n".join(lines)
