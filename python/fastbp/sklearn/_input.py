"""What comes in: sample weights, sparse rows, validation data."""

from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array

from .._mlp import MLP

Array = NDArray[Any]
BLOCK_NUMBERS = 4_000_000  # of a sparse X that are dense at a time


def dense(X: Any) -> Array:
    """Sparse rows as the core takes them, the only place where rows are made dense."""
    rows: Array = X.toarray() if issparse(X) else X
    return rows


def forward(net: MLP, X: Any) -> Array:
    """The net's outputs; of a sparse X only a block of rows is dense at a time."""
    if not issparse(X):
        return net.forward(X)
    rows = X.tocsr()
    outputs = np.empty((rows.shape[0], net.layer_sizes[-1]), net.dtype)
    step = max(1, BLOCK_NUMBERS // rows.shape[1])
    for begin in range(0, rows.shape[0], step):
        part = slice(begin, begin + step)
        net.forward(dense(rows[part]), out=outputs[part])
    return outputs


def weights_of(sample_weight: Any, rows: int, dtype: Any) -> Array | None:
    """One weight for each row, from one number or an array, or None; refused as scikit-learn refuses them."""
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
        raise ValueError("[fit] sample_weight has negative numbers, expected numbers >= 0")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def validation_parts(validation_data: Any) -> tuple[Any, Any, Any]:
    """X, y and the weights or None."""
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
        raise TypeError("[fit] validation_data is not a tuple (X, y) or (X, y, sample_weight)")
    X, y, *weight = validation_data
    return X, y, weight[0] if weight else None
