"""One epoch as scikit-learn defines it: alpha is divided by the weight of each mini-batch."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from .._chunks import checked
from .._fit import _run_steps, check_state
from .._mlp import MLP
from ._descent import Descent, Rows


class Batches:
    """The mini-batches of one training set.

    The net's l2 is the same in all steps of a call of the core, scikit-learn's penalty alpha / (sum of the batch's
    weights) is not. So a call has batches of one weight: without sample weights all full ones, then a shorter last one.
    """

    def __init__(self, net: MLP, descent: Descent, X: Any, y: Any, weight: Any, alpha: float, size: int) -> None:
        self._net, self._data, self._alpha, self._size = net, checked("fit", net, X, y, weight), alpha, size
        self._descent, self._rule = descent, check_state("fit", net, descent.state)
        self._penalised = lru_cache(maxsize=2)(lambda l2: net._sharing(l2=l2))

    def epoch(self, order: Rows) -> float:
        """Train on the rows in this order; the mean over the rows of what each mini-batch's value was before its step.

        Raises FloatingPointError before the step that a loss which is not finite would make.
        """
        total, squares = 0.0, self._squares()
        for rows, weight in self._calls(order):
            steps = -(-len(rows) // self._size)
            l2, rates = self._alpha / weight, self._descent.rates(steps)
            loss, weights = _run_steps(
                "fit", self._penalised(l2), self._descent.state, self._rule, self._data, rows, self._size, False, rates
            )
            before, squares = squares, self._squares()
            # The sum over the steps as if the squares went straight from their value before to that afterwards.
            penalties = 0.5 * l2 * (steps * before + (steps - 1) / 2 * (squares - before))
            total += (loss / weights + penalties / steps) * len(rows)
        return total / len(order)

    def _calls(self, order: Rows) -> Iterator[tuple[Rows, float]]:
        """The rows of each call, and the weight of every mini-batch in it; one that weighs nothing makes no step."""
        n, size, weight = len(order), self._size, self._data.sample_weight
        if weight is None:
            full = n - n % size
            calls = [(order[:full], float(size)), (order[full:], float(n - full))]
        else:
            batches = [order[begin : begin + size] for begin in range(0, n, size)]
            calls = [(rows, float(weight[rows].sum())) for rows in batches]
        return ((rows, total) for rows, total in calls if total > 0)

    def _squares(self) -> float:
        return float(sum(np.vdot(w, w) for w in self._net.weights)) if self._alpha else 0.0
