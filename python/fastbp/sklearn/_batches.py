"""One epoch as scikit-learn defines it: alpha is divided by the weight of each mini-batch."""

from typing import Any

import numpy as np

from .._chunks import checked
from .._fit import check_state, run_steps
from .._mlp import MLP
from ._descent import Descent, Rows


class Batches:
    """The mini-batches of `count` rows of a training set, for a net whose l2 is alpha."""

    def __init__(self, net: MLP, descent: Descent, X: Any, y: Any, weight: Any, count: int, size: int) -> None:
        self._net, self._data, self._size = net, checked("fit", net, X, y, weight), size
        self._descent, self._rule = descent, check_state("fit", net, descent.state)
        self._begins = np.arange(0, count, size)
        self._rows = np.diff(self._begins, append=count)
        self._makes_step = np.ones(len(self._begins), bool)

    def epoch(self, order: Rows) -> float:
        """Train on the rows in this order; the mean over the rows of what each mini-batch's value was before its step.

        Raises FloatingPointError before the step that a loss which is not finite would make.
        """
        weight = self._data.sample_weight
        if weight is not None:
            self._makes_step = np.add.reduceat(weight[order], self._begins) > 0
        values = np.zeros(len(self._begins))
        run_steps(
            "fit", self._net, self._descent.state, self._rule, self._data, order, self._size, False,
            self._descent.rates(self._makes_step), penalties_by_weight=True, values=values,
        )  # fmt: skip
        return float(values @ self._rows) / len(order)
