"""Split rows into those to train on and those to score, for early stopping."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from ._descent import Rows
from ._input import weighing_rows
from ._problem import Problem, Validation

LEAST_SCORED = 2  # rows: fewer have no R2
WAYS_OUT = "pass validation_data to fit, or set early_stopping=False"


def split(estimator: Any, problem: Problem, stream: Any) -> tuple[Rows, Validation]:
    """Return the rows to train on and the rows to score, drawn as in scikit-learn.

    If too few rows of either part have a weight above 0, the rows to score are drawn again from those that have one.
    """
    rows, weighs = np.arange(problem.X.shape[0]), weighing_rows(problem.weight)
    labels = problem.given["y"] if estimator._stratifies() else None
    trained, scored = _drawn(rows, estimator.validation_fraction, labels, stream)
    if len(scored) < LEAST_SCORED:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    if weighs is not None and not (weighs[trained].any() and weighs[scored].sum() >= LEAST_SCORED):
        scored = _drawn_from_weighing(rows[weighs], estimator.validation_fraction, labels, stream)
        trained = np.setdiff1d(rows, scored, assume_unique=True)
    weight = None if problem.weight is None else problem.weight[scored]
    return trained, Validation(problem.X[scored], problem.y[scored], weight)


def _drawn_from_weighing(rows: Rows, fraction: float, labels: Any, stream: Any) -> Rows:
    least = LEAST_SCORED + 1
    if len(rows) < least:
        raise ValueError(
            f"[fit] {len(rows)} rows have a weight above 0, expected at least {least} with early_stopping (one to "
            f"train on, {LEAST_SCORED} to validate with): give more rows a weight, {WAYS_OUT}"
        )
    count = min(max(math.ceil(fraction * len(rows)), LEAST_SCORED), len(rows) - 1)
    return _drawn(rows, count, None if labels is None else labels[rows], stream)[1]


def _drawn(rows: Rows, size: float, labels: NDArray[Any] | None, stream: Any) -> tuple[Rows, Rows]:
    try:
        trained, scored = train_test_split(rows, random_state=stream, test_size=size, stratify=labels)
    except ValueError as error:
        raise ValueError(
            f"[fit] early_stopping cannot split off rows to validate with: {str(error).rstrip('.')}. To fix it, change "
            f"validation_fraction or the data, {WAYS_OUT}"
        ) from None
    return trained, scored
