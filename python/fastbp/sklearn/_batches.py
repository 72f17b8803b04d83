"""One epoch as scikit-learn defines it: alpha is divided by the weight of each mini-batch."""

import numpy as np

from .._fit import check_state, run_steps
from .._mlp import MLP
from .._nonfinite import explained
from ._descent import FAR, Descent, Rows
from ._input import weighing_rows
from ._problem import Problem


class Batches:
    """The mini-batches of `count` rows of a training set, for a net whose l2 is alpha."""

    def __init__(self, net: MLP, descent: Descent, problem: Problem, count: int, size: int) -> None:
        self._net, self._data, self._size = net, problem.data, size
        self._data.float64 = "pass X as float64"
        self._descent, self._rule = descent, check_state("fit", net, descent.state)
        self._begins = np.arange(0, count, size)
        self._rows = np.diff(self._begins, append=count)
        self._weighs = weighing_rows(problem.weight)
        self._makes_step = np.ones(len(self._begins), bool)

    def epoch(self, order: Rows) -> float:
        """Train on the rows in this order; return the mean of the mini-batches' losses, each before its step.

        Mini-batches of weight 0 make no step and are left out of the mean.
        Raises FloatingPointError before the step that a loss which is not finite would make.
        """
        if self._weighs is not None:
            self._makes_step = np.logical_or.reduceat(self._weighs[order], self._begins)
        values = np.zeros(len(self._begins))
        state = self._descent.state
        try:
            run_steps(
                self._data.method, self._net, state, self._rule, self._data, order, self._size, False,
                self._descent.rates(self._makes_step), penalties_by_weight=True, values=values,
            )  # fmt: skip
        except FloatingPointError as error:
            first, when = state.step == FAR, f"step {state.step - FAR + 1}"
            raise explained(error, self._net, self._data, when, first, "use a smaller learning_rate_init") from None
        return float(values @ self._rows) / int(self._rows @ self._makes_step)
