"""What surrounds each epoch, or each iteration of L-BFGS: validation loss, callbacks, progress and the time limit."""

import copy
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from sklearn.exceptions import ConvergenceWarning

from .._mlp import MLP
from .._progress import ProgressBar, shows_bar
from .._warn import warn
from ._problem import Problem


class Rounds:
    """The rounds of one fit; a context, in which the progress bar is shown."""

    def __init__(self, estimator: Any, net: MLP, problem: Problem, context: Any) -> None:
        self._estimator, self._net, self._problem = estimator, net, problem
        self._context = context if getattr(estimator, "_skl_callbacks", None) else None
        self._round: Any = None
        self._done = 0
        self._deadline = time.monotonic() + (estimator.time_limit or float("inf"))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        shows = shows_bar(self._estimator.progress)
        self._bar = self._stack.enter_context(ProgressBar(shows, self._estimator.max_iter))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._round is not None:  # L-BFGS says only afterwards that there is no further iteration
            self._round.call_on_fit_task_end(estimator=self._estimator)
        self._stack.close()

    def begin(self) -> None:
        """Before a round."""
        if self._context is not None:
            self._round = self._context.subcontext(task_name="epoch")
            self._round.call_on_fit_task_begin(
                estimator=self._estimator, **self._problem.given, reconstruction_attributes=self._fitted
            )

    def end(self, loss: float) -> bool:
        """After a round with this loss; whether it was the last."""
        estimator, validation = self._estimator, self._problem.validation
        self._done += 1
        shown = {"loss": loss}
        if validation is not None:
            shown["val_loss"] = validation.loss(self._net)
            estimator.validation_loss_curve_.append(shown["val_loss"])
        self._bar.move(self._done, shown)
        stops = False
        if self._context is not None:
            stops = self._round.call_on_fit_task_end(
                estimator=estimator, **self._problem.given, reconstruction_attributes=self._fitted
            )
            self._round = None
        if time.monotonic() >= self._deadline:
            text = f"time_limit={estimator.time_limit} passed before the optimization has converged."
            warn(text, ConvergenceWarning)
            stops = True
        return stops

    def _fitted(self) -> dict[str, Any]:
        """What makes a copy of the estimator one that was fitted up to here."""
        net = copy.copy(self._net)
        return {"_net": net, "coefs_": list(net.weights), "intercepts_": list(net.biases)}
