"""Restore an estimator if a call fails."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

CURVES = ("loss_curve_", "validation_scores_", "validation_loss_curve_")


def restores_on_failure(method: Callable[..., Any]) -> Callable[..., Any]:
    """Restore every attribute of the estimator if the decorated method raises.

    The method works on copies of the lists, moments and private random streams that training changes in place. The
    state of a RandomState given as random_state is restored too, but not NumPy's global stream (None). Only
    available_if may be outside this decorator, because scikit-learn ends its callbacks through attributes.
    """

    @functools.wraps(method)
    def call(estimator: Any, *args: Any, **kwargs: Any) -> Any:
        before = vars(estimator).copy()
        random = before.get("random_state")
        drawn = random.get_state(legacy=False) if isinstance(random, np.random.RandomState) else None
        try:
            vars(estimator).update({name: list(before[name]) for name in CURVES if before.get(name) is not None})
            if before.get("_descent") is not None:
                estimator._descent = before["_descent"].copy(random)
            return method(estimator, *args, **kwargs)
        except BaseException:
            vars(estimator).clear()
            vars(estimator).update(before)
            if drawn is not None:
                random.set_state(drawn)
            raise

    return call
