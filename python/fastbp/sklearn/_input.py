"""Check sample weights, validation data and the kind of the targets."""

from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array

Array = NDArray[Any]


def weights_of(method: str, sample_weight: Any, rows: int, dtype: Any) -> Array | None:
    """Return one weight for each row, from one number or an array, or None; errors are scikit-learn's."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Number):
        weights: Array = np.full(rows, sample_weight, dtype)
    else:
        weights = check_array(sample_weight, ensure_2d=False, dtype=dtype, order="C", input_name="sample_weight")
    if weights.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array")
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}!")
    if (weights < 0).any():
        raise ValueError(f"[{method}] sample_weight has negative numbers, expected numbers >= 0")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def weighing_rows(weight: Array | None) -> NDArray[np.bool_] | None:
    """Return which rows have a weight above 0, or None if there are no weights."""
    if weight is None:
        return None
    positive: NDArray[np.bool_] = weight > 0
    return positive if positive.ndim == 1 else np.logical_or.reduce(positive, axis=1)


def validation_parts(validation_data: Any) -> tuple[Any, Any, Any]:
    """X, y and the weights or None."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise TypeError("[fit] validation_data is not a tuple (X, y) or (X, y, sample_weight)")
    X, y, *weight = validation_data
    return X, y, weight[0] if weight else None
