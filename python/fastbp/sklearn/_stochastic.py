"""The solvers that go by mini-batches: epochs until nothing improves any more."""

import copy
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._mlp import MLP
from .._warn import warn
from ._batches import Batches
from ._descent import Descent, Rows
from ._problem import Problem, Validation
from ._rounds import Rounds
from ._split import split

DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


class Course:
    """One fit by mini-batches; the estimator's fitted attributes are up to date after each epoch."""

    def __init__(self, estimator: Any, net: MLP, problem: Problem, descent: Descent, rounds: Rounds) -> None:
        self._estimator, self._net, self._descent, self._rounds = estimator, net, descent, rounds
        self._scored: Validation | None = problem.validation
        self._rows: Rows = np.arange(problem.X.shape[0])
        if estimator.early_stopping and self._scored is None:
            self._rows, self._scored = split(estimator, problem, descent.split_stream())
        size = self._batch_size()
        self._batches = Batches(net, descent, problem, len(self._rows), size)

    def run(self, incremental: bool) -> None:
        """All epochs, or one; with early stopping the best one's parameters at the end."""
        estimator = self._estimator
        estimator.n_iter_ = 0
        try:
            for _ in range(1 if incremental else estimator.max_iter):
                self._rounds.begin()
                stops = self._epoch()
                if self._rounds.end(estimator.loss_) or stops:
                    break
            else:
                if not incremental:
                    self._warn(
                        f"Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't converged yet."
                    )
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
        if estimator.early_stopping:
            if estimator.validation_scores_ and not np.isfinite(estimator.best_validation_score_):
                raise ValueError(DIVERGED)  # no epoch has a finite score
            self._net.params = estimator._best_params
            best = estimator._best_descent if estimator.warm_start == "exact" else None
            estimator._descent = best or self._descent

    def _epoch(self) -> bool:
        """One epoch; whether it was the last."""
        estimator, descent, failure = self._estimator, self._descent, None
        try:
            estimator.loss_ = self._batches.epoch(descent.next_order(self._rows, estimator.shuffle))
        except FloatingPointError as error:
            estimator.loss_, failure = float("nan"), error
        diverges = not np.isfinite(estimator.loss_)
        if diverges and not estimator.early_stopping:
            raise ValueError(DIVERGED) from failure
        estimator.n_iter_ += 1
        estimator.t_ += len(self._rows)
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if diverges:
            estimator.validation_scores_.append(float("nan"))
            self._warn("The loss is not finite; the weights are those of the best epoch before.")
            return True
        if self._improves():
            estimator._no_improvement_count = 0
        else:
            estimator._no_improvement_count += 1
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            descent.change_rate(float(estimator.learning_rate_init) / (estimator.t_ + 1) ** estimator.power_t)
        return estimator._no_improvement_count > estimator.n_iter_no_change and self._gives_up()

    def _improves(self) -> bool:
        """By more than tol: of the validation score with early stopping, else of the training loss."""
        estimator = self._estimator
        if not estimator.early_stopping:
            enough = not estimator.loss_ > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
            return enough
        assert self._scored is not None
        score = self._scored.score(estimator, self._net)
        estimator.validation_scores_.append(score)
        if estimator.verbose:
            print(f"Validation score: {score:f}")
        enough = not score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            estimator._best_params = self._net.params.copy()
            estimator._best_descent = copy.deepcopy(self._descent) if estimator.warm_start == "exact" else None
        return enough

    def _gives_up(self) -> bool:
        """Nothing has improved for too long: end, or go on with a smaller learning rate."""
        estimator, descent = self._estimator, self._descent
        what = "Validation score" if estimator.early_stopping else "Training loss"
        patience = f"for {estimator.n_iter_no_change} consecutive epochs."
        text = f"{what} did not improve more than tol={estimator.tol:f} {patience}"
        adapts = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        goes_on = adapts and descent.slow_down()
        if goes_on:
            estimator._no_improvement_count = 0
        if estimator.verbose:
            end = "Learning rate too small. Stopping." if adapts else "Stopping."
            print(text, f"Setting learning rate to {descent.lr:f}" if goes_on else end)
        return not goes_on

    def _batch_size(self) -> int:
        rows, size = len(self._rows), self._estimator.batch_size
        if isinstance(size, str):
            return min(200, rows)
        if size > rows:
            warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
        return int(min(size, rows))

    def _warn(self, text: str) -> None:
        warn(f"Stochastic Optimizer: {text}", ConvergenceWarning)
